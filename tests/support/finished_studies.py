"""Studies whose runs all left a manifest, and scores of their runs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.study import Run, Study
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.tables.ledger import ledger_table, verified_pairs
from synthetic_tables import item_table

PARENT, PRUNED = "P16.4k-seed0", "P16.4k-minitron_depth-0.5-seed0"
RETRAINED, SCRATCH = "P16.4k-minitron_depth-0.5-R8.19k-seed0", "S8.19k-depth-0.5-seed0"
FULL = "S25.6k-depth-0.5-full-seed0"
SPARSE = "P16.4k-wanda-0.5-2of4-seed0"
MASKED_WEIGHTS = 1000
WEIGHT_BYTES = 48


def finished(values: dict[str, Any]) -> Study:
    """A study whose runs are all made, in the working folder."""
    study = Study(values)
    for number, run in enumerate(study.recorded_runs.values()):
        facts: dict[str, Any] = {"ledger": ledger_row(study, run).to_dict()}
        facts |= {"validation_loss": 4 + number / 10} if run.plan else {}
        facts |= {"masked_weights": MASKED_WEIGHTS if run.mask else 0} if run.pruning else {}
        facts |= {"checkpoint_bytes": WEIGHT_BYTES} if run.role != "trunk" else {}
        write_json(study.paths.manifest(run.name), {"schema": 1, "facts": facts})
    return study


def ledger_row(study: Study, run: Run) -> LedgerRow:
    plan, calibration = run.plan, study.config.pruning.calibration
    tokens = (plan or run.pruning).tokens  # type: ignore[union-attr]
    teacher = study.parent_of(run).target.shape
    return LedgerRow(
        run=run.name,
        phase=plan.phase if plan else "prune",
        tokens_planned=tokens,
        tokens_seen=tokens,
        tokens_distinct=tokens,
        tokens_trunk=study.run(run.trunk).plan.tokens if run.trunk else 0,  # type: ignore[union-attr]
        window_start=plan.window_start if plan else 0,
        window_end=plan.window_end if plan else calibration.sequences,
        sequence_length=study.config.training.sequence_length,
        global_batch_size=study.config.training.global_batch_size,
        steps=plan.steps if plan else 0,
        peak_lr=plan.peak_learning_rate if plan else None,
        schedule=plan.schedule.label if plan else None,
        objective=plan.objective if plan else None,
        precision="fp32",
        seed=run.seed,
        flops=training_flops(study.recorded_runs, run.name),
        flops_teacher=teacher.forward_flops(plan.sequences, plan.sequence_length) if plan and plan.distillation else 0,
        wall_seconds=1.5,
        world_size=1,
        spec_hash="a" * 64,
        source_hash="b" * 64,
    )


def scores(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Losses of two corpora, and items of two tasks of different size, for every run."""
    rng = np.random.default_rng(0)
    losses = [
        {"run": run, "dataset": dataset, "sequence": i, "loss": loss, "mode": "heldout"}
        for run in study.runs
        for dataset, count in {"test": 16, "milton": 8}.items()
        for i, loss in enumerate(rng.normal(4, 0.5, count))
    ]
    items = [
        item_table(run, task, rng.integers(0, 2, count))
        for run in study.runs
        for task, count in {"scramble": 6, "last_word": 10}.items()
    ]
    return pd.DataFrame(losses), pd.concat(items, ignore_index=True)


def refused(study: Study, run: str, **changes: Any) -> str:
    """The message when a run's ledger row says otherwise than the others."""
    ledger = ledger_table(study)
    for column, changed in changes.items():
        ledger.loc[ledger["run"] == run, column] = changed
    with pytest.raises(UserError, match="the ledger shows runs that are not matched") as error:
        verified_pairs(study, ledger)
    return str(error.value)
