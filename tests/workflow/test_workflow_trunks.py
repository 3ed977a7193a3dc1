"""A small study by WSD through real Snakemake: trunks are trained once, and each budget ends as if it trained alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from checkouts import checkout, snakemake_kept_warm
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.files import MASK_FILE
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.pruning.masks import read_packed_masks
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.world import World
from training_world import unmeasured, untimed_metrics, weights
from words_study import BATCH, OVERLAY, write_text

pytestmark = pytest.mark.workflow

RETRAINED = [f"P1.02k-magnitude-0.5-R{label}-seed0" for label in ("512", "1.02k")]
SCRATCH = [f"S{label}-magnitude-0.5-seed0" for label in ("512", "1.02k")]
TRUNKS = [run.replace("-seed0", "-trunk-seed0") for run in RETRAINED + SCRATCH]
MATRIX = [{"methods": ["magnitude"], "ratios": [0.5], "retrain": [4 * BATCH, 8 * BATCH]}]


def ends_alone(study: Study, name: str, work: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Weights and metrics of a run that trains its whole plan by hand, in the working folder's study."""
    run, tokens = study.run(name), study.paths.tokens
    assert run.plan is not None
    assert run.trunk is None
    length = run.plan.sequence_length
    start = random_model(run.target.shape, length, run.plan.init_seed)
    work.mkdir()
    model = load_model(study.paths.model(run.start)) if run.start else start
    trainer = Trainer(
        TrainingTask(run.plan, model, Windows(TokenStore(tokens / "train"), length, run.plan.seed)),
        masks=read_packed_masks(study.paths.model(str(run.mask)) / MASK_FILE),
        validation=Windows(TokenStore(tokens / "validation"), length, EVALUATION_SEED),
        work=work,
        world=World(torch.device("cpu")),
    )
    trainer.train()
    return weights(trainer), untimed_metrics(trainer)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as a run of the study has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_trunks_are_trained_once_and_every_run_ends_as_if_it_had_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    folder = checkout(tmp_path / "checkout")
    monkeypatch.chdir(folder)
    write_text(folder / "data")
    configs = ["config/config.yaml", "config/smoke.yaml", "trunks.yaml", "alone.yaml"]
    Path("trunks.yaml").write_text(yaml.safe_dump(OVERLAY | {"study": "trunks", "matrix": MATRIX}))
    Path("alone.yaml").write_text(yaml.safe_dump({"training": {"share_trunks": False}}))
    made = snakemake_kept_warm(folder, "results/trunks/ledger.csv", "--configfile", *configs[1:3])
    assert made.returncode == 0, made.stdout + made.stderr

    printed = made.stdout + made.stderr
    assert [printed.count(f": Train {run}\n") for run in (*TRUNKS, *RETRAINED, *SCRATCH)] == [1] * 8
    assert sorted(path.parent.name for path in Path("results").rglob("state")) == sorted(TRUNKS)
    assert not list(Path("results").rglob("*-trunk-*/model"))
    assert not set(pd.read_csv("results/trunks/results.csv")["run"]) & set(TRUNKS)
    check_ledger(pd.read_csv("results/trunks/ledger.csv").set_index("run"))

    alone = Study(load_config([Path(config) for config in configs]).model_dump(mode="json"))
    for run in (*RETRAINED, *SCRATCH):
        expected, curve = ends_alone(alone, run, tmp_path / run)
        found = load_model(alone.paths.model(run)).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        recorded = [json.loads(line) for line in alone.paths.metrics(run).read_text().splitlines()]
        assert [r for r in unmeasured(recorded) if "loss" in r] == [r for r in curve if "loss" in r]
        assert unmeasured(recorded)[-1] == curve[-1]


def check_ledger(ledger: pd.DataFrame) -> None:
    """Of 4 and 8 steps, 3 and 6 are trunk: two budgets of a start cost 9 steps, where two runs alone cost 12."""
    assert set(ledger.index[ledger["phase"] == "trunk"]) == set(TRUNKS)
    for family in (RETRAINED, SCRATCH):
        assert ledger.loc[family, "tokens_seen"].tolist() == [4 * BATCH, 8 * BATCH]
        assert ledger.loc[family, "tokens_trunk"].tolist() == [3 * BATCH, 6 * BATCH]
        rows = ledger.loc[[*family, *(run.replace("-seed0", "-trunk-seed0") for run in family)]]
        assert rows["tokens_seen"].sum() - rows["tokens_trunk"].sum() == 9 * BATCH
        assert rows["flops"].sum() - rows["flops_trunk"].sum() == ledger.loc[family, "flops"].sum() * 9 // 12
        assert (rows["wall_seconds_trunk"] < rows["wall_seconds"]).all()
