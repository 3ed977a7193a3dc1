"""pvs plan: what it writes and prints, without torch, and how it words bad input."""

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figure_world import texts
from job_graphs import plan_of
from program import pvs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.figures import plan as figure
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.planning.text import hours, size, span

Values = dict[str, Any]


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return pvs(folder, "plan", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the project's configuration and nothing else."""
    (tmp_path / "config").mkdir()
    for file in (REPOSITORY / "config").glob("*.*"):
        (tmp_path / "config" / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.slow
def test_the_command_writes_the_plan_and_its_figure_and_prints_it(folder: Path) -> None:
    result = call(folder, "paper")
    assert result.returncode == 0, result.stderr
    written = (folder / "results/paper/plan.md").read_text()
    assert result.stdout.startswith(written)
    long = pd.read_csv(folder / "results/paper/plan.csv", dtype=str)
    assert set(long["part"]) == {
        "job", "stage", "ledger", "run", "study", "budget", "chain", "shared", "storage", "rate",
    }  # fmt: skip
    exact = long[(long["part"] == "ledger") & (long["item"] == "pretrain") & (long["quantity"] == "flops")]
    assert exact["value"].tolist() == ["12145205440413696000000"]
    assert {path.suffix for path in (folder / "figures/paper").iterdir()} == {".csv", ".pdf", ".png"}
    assert str(folder) not in written + long.to_csv()


def test_a_plan_is_of_a_study_and_what_goes_over_it(folder: Path) -> None:
    result = call(folder, "paper", "paper-meta")
    assert result.stdout.startswith("# Plan of study paper-meta on h100"), result.stderr
    assert "train Meta-" in result.stdout
    assert "pretrain" not in result.stdout


def test_the_command_needs_no_torch(folder: Path) -> None:
    code = """
import runpy, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "snakemake"):
            raise ImportError(f"{name} is not needed here")
sys.meta_path.insert(0, NoTorch())
sys.argv = ["pvs", "plan", "smoke"]
runpy.run_module("pruning_vs_scratch", run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


OWN_BUDGET = {"study": "own", "parent": {"tokens": 1000}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["papr"], ["no study 'papr'", "did you mean 'paper'? There are: demo, demo-gemma3, ", ", own, "]),
        (["paper", "--device", "h1000"], ["'h1000'", "did you mean 'h100'?"]),
        (["paper", "--device", "cpu"], ["in bf16", "'cpu'"]),
        (["own"], ["parent.tokens: 1000 tokens is not a multiple", "nearest: 768 or 1536"]),
        (["smoke", "--throughput", "broken.csv"], ["broken.csv has the columns a, b"]),
    ],
    ids=["study", "device", "precision", "budget", "table"],
)
def test_bad_input_is_answered_in_one_message_and_nothing_is_written(
    folder: Path, arguments: list[str], words: list[str]
) -> None:
    (folder / "config/own.yaml").write_text(yaml.safe_dump(OWN_BUDGET))
    (folder / "broken.csv").write_text("a,b\n1,2\n")
    result = call(folder, *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert [word for word in words if word not in result.stderr] == []
    assert not (folder / "results").exists()


# Words and the figure


def test_hours_and_bytes_are_given_to_three_digits() -> None:
    assert [hours(value) for value in (279_471.2, 12.345, 0.02, 0.0004, 0)] == ["279,471", "12.3", "0.02", "<0.01", "0"]
    assert [span(value) for value in (1182.4, 2.834, 0.57, 0.01, 0.0003, 1e-9, 0)] == [
        "1,182 h", "2.83 h", "34 min", "36 s", "1 s", "<1 s", "0",
    ]  # fmt: skip


def test_more_devices_end_sooner_and_the_longest_chain_is_the_least(folder: Path) -> None:
    found = {}
    for devices in (1, 2, 1000):
        result = call(folder, "smoke", "--devices", str(devices))
        assert f"on {devices} core{'s' * (devices > 1)}: " in result.stdout
        table = pd.read_csv(folder / "results/smoke/plan.csv", dtype=str).set_index(["part", "quantity"])
        found[devices] = float(table.loc[("study", "hours"), "value"])
        chain = table.loc[("chain", "hours"), "value"].astype(float).sum()
    assert found[1] > found[2] > found[1000] == pytest.approx(chain)
    assert [size(value) for value in (5.876e12, 193e9, 999)] == ["5.88 TB", "193 GB", "999 B"]


@pytest.mark.parametrize("study", ["demo", "smoke", "demo-wsd", "paper"])
def test_the_stages_are_drawn_without_overlap_and_with_their_jobs(
    study: str, study_values: Callable[[str], Values]
) -> None:
    plan = plan_of(study_values(study))
    with style.settings("column"):
        drawn = figure.draw(plan)
        FigureCanvasAgg(drawn).draw()
    drawn.set_label("column")
    boxes = texts(drawn)
    width, height = drawn.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), f"{one.get_text()!r} overlaps {other.get_text()!r}"
    shown = {text.get_text().split("\n")[0]: text.get_text() for text, _ in boxes}
    for stage in plan.stages.itertuples():
        assert f"\n{stage.jobs} job" in shown[str(stage.stage)]
    title = drawn.texts[0].get_text().replace("\n", " ")
    spent = plan.stages.set_index("stage")["core_hours" if plan.device == "cpu" else "gpu_hours"]
    assert title.startswith(f"Stage {spent.idxmax()} takes {spent.max() / spent.sum():.0%} of ")
    assert title.endswith(f"the longest chain of jobs lasts {hours(plan.chain['hours'].sum())} hours")
    assert f"Study {plan.study.name}, before it is run" in {text.get_text() for text in drawn.texts}


def test_a_study_in_which_pruned_models_are_scored_again_is_drawn_too(smoke: Values) -> None:
    chain = {"chains": [["minitron_depth@0.5", "minitron_width@0.5"]], "retrain": [4096]}
    plan = plan_of(smoke | {"matrix": [chain]})
    assert {("score", "prune"), ("prune", "score")} <= set(zip(plan.links["stage"], plan.links["next"], strict=True))
    assert figure.data(plan).set_index("stage")["column"]["prune"] > 0
    assert [stage for stage in plan.chain["stage"] if stage in ("score", "prune")] == ["score", "prune"] * 2


def test_an_arrow_that_a_chain_of_arrows_replaces_is_left_out() -> None:
    assert figure.direct({"a": {"b", "c"}, "b": {"c"}}) == {"a": {"b"}, "b": {"c"}}
    assert figure.depths("abc", {"a": {"b", "c"}, "b": {"c"}}) == {"a": 0, "b": 1, "c": 2}
