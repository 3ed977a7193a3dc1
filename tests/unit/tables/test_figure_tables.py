"""The tables that only figures read: training curves, importance of blocks, and the paper's numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import PRUNING_FILE, write_json, write_text
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.curves import curve_table, thinned
from pruning_vs_scratch.tables.importance import importance_table
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.reported import reported_table
from studies import Values

REPORTED = REPOSITORY / "config/reported.csv"


@pytest.fixture
def study(smoke: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return Study(smoke)


def record(study: Study) -> None:
    """Metrics of every run: three steps of 1,000 tokens, and a validation at the last."""
    steps = [{"step": step, "tokens": 1000 * step, "loss": 6.0 - step} for step in (1, 2, 3)]
    lines = [json.dumps(line) for line in [*steps, {"step": 3, "validation_loss": 3.5}]]
    for run in study.trained_runs:
        write_text(study.paths.metrics(run), "".join(f"{line}\n" for line in lines))


def test_curves_hold_every_trained_run(study: Study) -> None:
    record(study)
    table = curve_table(study)
    assert tuple(table.columns) == COLUMNS["curves.parquet"]
    assert list(table["run"].unique()) == study.trained_runs
    for _, curve in table.groupby("run"):
        assert list(curve["tokens"]) == [1000, 2000, 3000, 3000]
        assert list(curve["loss"]) == [5, 4, 3, 3.5]
        assert list(curve["kind"]) == ["training"] * 3 + ["validation"]


@pytest.mark.parametrize("damage", ["", '{"step": 1, "tok', '{"step": 1}\n', None])
def test_a_damaged_record_is_named(study: Study, damage: str | None) -> None:
    record(study)
    broken = study.paths.metrics(study.trained_runs[1])
    broken.unlink() if damage is None else write_text(broken, damage)
    with pytest.raises(UserError, match=f"cannot read {broken}"):
        curve_table(study)


@pytest.mark.parametrize("steps", [0, 1, 200, 201, 1000, 12345])
def test_a_thinned_curve_is_short_and_keeps_its_mean(steps: int) -> None:
    curve = pd.DataFrame({"tokens": np.arange(1.0, steps + 1), "loss": np.linspace(6, 3, steps)})
    short = thinned(curve)
    assert len(short) == min(steps, 200)
    assert short["tokens"].is_monotonic_increasing
    if steps % 200 == 0 and steps:
        assert short["loss"].mean() == pytest.approx(curve["loss"].mean())


def prune(study: Study) -> None:
    """Records and scores of the structured runs of the smallest study, whose parent has four blocks."""
    for name in study.pruned_runs:
        method = study.run(name).method
        scores = {"loss_without_1": [9.0] * 4, "loss_without_2": [5.0, 6.0, 7.0]} if method == "minitron_depth" else {}
        dropped = {"blocks": [0, 1]} if scores else {}
        facts = {"scores": scores, "dropped": dropped, "parent": {"layers": 4}}
        write_json(study.paths.model(name) / PRUNING_FILE, facts)
    path = study.paths.scores("P16.4k-seed0", "minitron_width")
    path.parent.mkdir(parents=True)
    channels = np.tile(np.arange(101.0), (4, 1))
    save_file({"ffn": channels, "heads": 2 * channels, "hidden": np.ones(8)}, path)


def test_importance_has_scores_and_removed_blocks(study: Study) -> None:
    prune(study)
    table = importance_table(study)
    assert tuple(table.columns) == COLUMNS["importance.parquet"]
    depth = table[table["measure"] == "loss_without"]
    assert list(depth["value"][:3]) == [5, 6, 7]
    assert np.isnan(depth["value"].iloc[3])
    assert list(depth["removed"]) == [True, True, False, False]
    for measure, factor in {"neuron_importance": 1, "attention_importance": 2}.items():
        rows = table[table["measure"] == measure]
        assert rows[["low", "value", "high"]].to_numpy().tolist() == [[10 * factor, 50 * factor, 90 * factor]] * 4
    assert set(table["method"]) == {"minitron_depth", "minitron_width"}


def test_damaged_scores_are_named(study: Study) -> None:
    prune(study)
    path = study.paths.scores("P16.4k-seed0", "minitron_width")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=f"cannot read ffn of {path}"):
        importance_table(study)


def reported_value(**facts: object) -> float:
    table = reported_table(REPORTED)
    for column, value in facts.items():
        table = table[table[column] == value]
    return float(table["value"].item())


def test_the_papers_numbers_are_those_of_the_paper() -> None:
    table = reported_table(REPORTED)
    assert tuple(table.columns) == COLUMNS["reported.csv"]
    assert len(table) == 78
    depth = {"figure": "fig1-left", "method": "minitron_depth"}
    assert reported_value(**depth, setting="scratch", budget_b=50) == 2.64
    assert reported_value(**depth, setting="pruned", budget_b=50) == 2.54
    assert reported_value(**depth, setting="gap", budget_b=10) == 0.39
    assert reported_value(figure="fig1-right", method="sparsegpt_unstructured", setting="pruned") == 67.5
    assert reported_value(figure="table2", setting="scratch", budget_b=250) == 9.01
    accuracies = {"flap": (66.5, 65.1), "wanda_unstructured": (68.1, 67.2)}
    for method, (pruned, scratch) in accuracies.items():
        facts = {"method": method, "quantity": "avg_acc", "precision": "secondary"}
        assert reported_value(**facts, setting="pruned", budget_b=50) == pruned
        assert reported_value(**facts, setting="scratch", budget_b=250) == scratch
    assert reported_value(setting="meta_parent", quantity="c4_ppl") == 9.916
    assert table["precision"].value_counts().to_dict() == {
        "preliminary": 32, "labelled": 22, "read_off": 18, "secondary": 6,
    }  # fmt: skip
    assert set(table.loc[table["precision"] == "read_off", "figure"]) == {"fig1-left"}
    assert table["budget_b"].isna().sum() == (table["setting"] == "meta_parent").sum() == 4


@pytest.mark.parametrize(("before", "after", "message"), [
    ("read_off", "guessed", "line 2: precision is 'guessed'; it must be one of labelled, read_off, secondary, prelim"),
    ("scratch,", "sratch,", "line 2: setting is 'sratch'; it must be one of pruned, scratch, gap, parent, meta_parent"),
    ("val_loss", "loss", "line 2: quantity is 'loss'; it must be val_loss, avg_acc, CORPUS_ppl or TASK_acc"),
    ("minitron_depth,0.5,30", ",0.5,30", "line 3: method is ''; all but parent and meta_parent have one"),
    ("parent,,0,200", "parent,flap,0,200", "line 26: method is 'flap'; all but parent and meta_parent have one"),
    ("3.09", "three", "line 2: value is 'three', which is not a number"),
    ("3.09", "", "line 2: value is '', which is not a number"),
    ("3.09", "inf", "line 2: value is 'inf', which is not a number"),
    ("0.5,10,val_loss,3.09", "half,10,val_loss,3.09", "line 2: ratio is 'half', which is not a number"),
    ("0.5,10,val_loss,3.09", "0.5,,val_loss,3.09", "line 2: budget_b is '', which is not a number"),
    ("10,val_loss,3.09", "10,val_loss,3.09,1", "line 2: 9 values, not 8"),
    ("0.5,30,val_loss,2.81", "0.50,10.0,val_loss,2.81", "line 3: repeats line 2; keep one of them"),
    ("\nfig1-left,gap", "\n\nfig1-left,other", "line 13: setting is 'other'"),
    ("3.09,read_off", '3.09,"read_off', "cannot read .*reported.csv"),
    ("precision", "accuracy", "lacks the columns precision"),
])  # fmt: skip
def test_reported_numbers_with_a_mistake_are_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "reported.csv"
    write_text(path, REPORTED.read_text(encoding="utf-8").replace(before, after, 1))
    with pytest.raises(UserError, match=message):
        reported_table(path)


def test_reported_numbers_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*reported\.csv"):
        reported_table(tmp_path / "reported.csv")
