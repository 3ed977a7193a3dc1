"""A small study with every arm through real Snakemake, to its claims, figures and report."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from checkouts import checkout, snakemake_kept_warm
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.study import Study
from words_study import BATCH, OVERLAY, write_text

pytestmark = pytest.mark.workflow

BUDGET = 4 * BATCH
TARGETS = {"depth": [{"ratio": 0.25, "layers": 3}, {"ratio": 0.5, "layers": 2}]}
SPARSE = {"ratios": [0.5], "retrain": [BUDGET], "gradual": [{"ratios": [0.25, 0.5], "retrain": [BUDGET]}]}
ARMS = SPARSE | {
    "full": [BUDGET],
    "rewind": [BUDGET],
    "distilled": {"tokens": [BUDGET], "flops": [BUDGET]},
    "joint": [BUDGET],
    "early": [{"shares": [0.5], "retrain": [BUDGET]}],
}
MATRIX = [
    {"methods": ["minitron_depth"]} | ARMS,
    {"methods": ["wanda"], "rewind": [BUDGET]} | SPARSE,
    {"methods": ["random"], "ratios": [0.5], "retrain": [BUDGET]},
]
CALIBRATION = {"calibration": {"sequences": 4, "sequence_length": 32}}
MATCHED = {
    ("distilled", "tokens"): 1,
    ("distilled", "flops"): 1,
    ("gradual", "tokens"): 2,
    ("joint", "tokens"): 1,
    ("early", "tokens"): 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the finished study."""
    folder = checkout(tmp_path_factory.mktemp("arms") / "checkout")
    write_text(folder / "data")
    overlay = OVERLAY | {
        "study": "arms",
        "targets": TARGETS,
        "matrix": MATRIX,
        "corpus": OVERLAY["corpus"] | {"passes": 2},
        "pruning": CALIBRATION,
    }
    (folder / "arms.yaml").write_text(yaml.safe_dump(overlay))
    made = snakemake_kept_warm(folder, "results/arms/report.html", "--configfile", "config/smoke.yaml", "arms.yaml")
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture
def study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study, in whose folder the test works."""
    monkeypatch.chdir(folder)
    configs = map(Path, ["config/config.yaml", "config/smoke.yaml", "arms.yaml"])
    return Study(load_config(list(configs)).model_dump(mode="json"))


def test_the_accounting_of_every_arm_is_closed(study: Study) -> None:
    pairs = pd.read_csv(study.paths.tables / "arm_pairs.csv", keep_default_na=False)
    assert pairs.groupby(["arm", "match"]).size().to_dict() == MATCHED
    assert (pairs["tokens_run"] == pairs["tokens_baseline"]).all()
    alike = pairs[pairs["arm"].isin(["distilled", "joint"])]
    assert (alike["flops_run"] == alike["flops_baseline"]).all()
    by_flops = pairs[pairs["match"] == "flops"]
    assert (by_flops["flops_run"] <= by_flops["flops_usual"]).all()
    assert (by_flops["tokens_run"] < by_flops["tokens_usual"]).all()
    whole = pairs[pairs["arm"] != "distilled"]
    assert (whole["tokens_run"] == 8 * BATCH + BUDGET).all()
    ledger = pd.read_csv(study.paths.results / "ledger.csv").set_index("run")
    for pair in study.arms:
        taught = ledger.loc[[pair.run, pair.baseline], "flops_teacher"]
        assert (taught > 0).all() == (pair.arm == "distilled")
    assert ledger.loc["P1.02kof1.54k-seed0", "tokens_trunk"] == 6 * BATCH


def test_every_arm_has_its_verdict_figure_and_printed_table(study: Study) -> None:
    claims = json.loads((study.paths.results / "claims.json").read_text())["claims"]
    assert [claim["id"] for claim in claims][-4:] == ["D1", "D2", "D3", "D4"]
    compared = {claim["id"]: len(claim["comparisons"]) for claim in claims}
    assert [compared[name] for name in ("D1", "D2", "D3", "D4")] == [4, 2, 1, 1]
    figures = figures_of(study)
    assert {"objectives", "schedules", "moments", "lottery"} <= figures.keys()
    for name in figures:
        assert (study.paths.figures / f"{name}.png").stat().st_size > 0
    drawn = pd.read_csv(study.paths.figures / "lottery.csv")
    assert drawn.groupby("start").size().to_dict() == {"pruned": 3, "rewound": 2, "scratch": 3}
    printed = (study.paths.published / "arms.md").read_text()
    assert "gradual, 0.25 then 0.5" in printed
    page = study.paths.report.read_text()
    assert all(f"claim-{name}" in page for name in ("d1", "d2", "d3", "d4"))
