"""The stored tables of a study. Everything here works without a model, a GPU or torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.errors import UserError

GROUP = ("setting", "method", "granularity", "pattern", "ratio", "budget")
"""Columns that identify a comparison; its seeds are averaged."""
ARM_GROUP = ("arm", "match", "method", "granularity", "pattern", "ratio", "budget", "steps", "share")
"""Columns that identify a comparison of an arm; its seeds are averaged."""
SKIPPING_ZEROS = "_skipping_zeros"
"""Suffix of the speed metrics of a 2:4 model that are measured with 2:4 kernels."""

COLUMNS = {
    "runs.csv": (
        "run", "role", "method", "granularity", "pattern", "target_ratio", "params_nonzero", "tokens_parent",
        "tokens_prune", "tokens_train", "tokens_distinct", "tokens_total", "seed",
    ),
    "pairs.csv": (*GROUP, "retrained", "scratch", "parent", "seed"),
    "losses.parquet": ("run", "dataset", "sequence", "loss", "mode"),
    "items.parquet": (
        "run", "task", "metric", "shots", "in_domain", "split", "item", "score", "cluster", "chance",
    ),
    "gaps.csv": (
        *GROUP, "loss_retrained", "loss_retrained_low", "loss_retrained_high", "loss_scratch", "loss_scratch_low",
        "loss_scratch_high", "loss_parent", "gap", "low", "high", "p_value", "seeds", "sequences", "retrained",
        "scratch", "dataset", "confidence", "margin",
    ),
    "crossover.csv": (
        "method", "granularity", "pattern", "ratio", "kind", "budget", "measured", "low", "high", "fitted",
        "fitted_low", "fitted_high", "residual", "status", "reason", "crossover_tokens", "crossover_low",
        "crossover_high", "misfit", "seeds", "sequences", "dataset", "confidence",
    ),
    "transfer.csv": (
        "method", "granularity", "pattern", "ratio", "budget", "loss_retrained", "status", "scratch_tokens",
        "scratch_tokens_low", "scratch_tokens_high", "transferred", "transferred_low", "transferred_high",
        "tokens_parent", "share", "share_low", "share_high", "budgets", "least_tokens", "most_tokens",
        "misfit", "seeds", "sequences", "dataset", "confidence",
    ),
    "arm_pairs.csv": (
        *ARM_GROUP, "run", "baseline", "usual", "seed", "tokens_run", "tokens_baseline", "tokens_usual",
        "tokens_prune_run", "tokens_prune_baseline", "flops_run", "flops_baseline", "flops_usual", "params_mean_run",
        "params_mean_baseline",
    ),
    "arms.csv": (
        *ARM_GROUP, "loss_run", "loss_run_low", "loss_run_high", "loss_baseline", "loss_baseline_low",
        "loss_baseline_high", "loss_usual", "loss_usual_low", "loss_usual_high", "gap", "low", "high", "p_value",
        "seeds", "sequences", "run", "baseline", "dataset", "confidence", "margin", "tokens_run", "tokens_baseline",
        "tokens_usual", "tokens_prune_run", "tokens_prune_baseline", "flops_run", "flops_baseline", "flops_usual",
        "params_mean_run", "params_mean_baseline",
    ),
    "task_gaps.csv": (
        *GROUP, "dataset", "metric", "split", "accuracy_retrained", "accuracy_scratch", "chance", "difference", "low",
        "high", "p_value", "items", "clusters", "seeds",
    ),
    "curves.parquet": ("run", "kind", "tokens", "loss"),
    "importance.parquet": ("run", "method", "ratio", "seed", "measure", "block", "value", "low", "high", "removed"),
    "shape_search.csv": (
        "target", "ratio", "hidden_size", "ffn_size", "heads", "params_decoder", "validation_loss", "tokens_seen",
        "flops", "run", "chosen",
    ),
    "reported.csv": ("figure", "setting", "method", "ratio", "budget_b", "quantity", "value", "precision"),
    "efficiency.csv": ("run", "metric", "value"),
}  # fmt: skip
"""The columns that readers rely on."""


@dataclass(frozen=True)
class Tables:
    """One study's tables, each read when first asked for.

    Raises:
        UserError: a table is missing, unreadable, or lacks a column.
    """

    folder: Path
    methods: frozenset[str] | None = None
    """Methods of the study to include; all if None."""

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: role, target, parameters, tokens."""
        return self._read("runs.csv")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row per matched pair (study.runs.Pair)."""
        return self._read("pairs.csv")

    @cached_property
    def losses(self) -> pd.DataFrame:
        """One row per run, corpus and evaluation sequence: mean nats per token."""
        return self._read("losses.parquet")

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row per run, task, metric, shots and item: score 0 or 1. Empty if the study evaluates no tasks."""
        return self._read_if_there("items.parquet")

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """One row per comparison, seeds averaged, in the order in which to show them (tables.gaps)."""
        return self._read("gaps.csv")

    @cached_property
    def crossover(self) -> pd.DataFrame:
        """One row per method, ratio and budget that was run, and per point of its fitted curve (tables.crossover)."""
        return self._read("crossover.csv")

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """One row per method, ratio and budget: what the pruned start is worth in tokens (tables.transfer)."""
        return self._read("transfer.csv")

    @cached_property
    def arm_pairs(self) -> pd.DataFrame:
        """One row per comparison of an arm and seed (study.runs.ArmPair), with costs. Empty in a study without arms."""
        return self._read_if_there("arm_pairs.csv").fillna({"steps": ""})

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per comparison of an arm, seeds averaged (tables.arms). Empty in a study without arms."""
        return self._read_if_there("arms.csv").fillna({"steps": ""})

    @cached_property
    def task_gaps(self) -> pd.DataFrame:
        """One row per comparison and task: accuracy of pruned minus scratch (tables.task_gaps)."""
        return self._read("task_gaps.csv")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per trained run, kind of loss and point of its curve (tables.curves)."""
        return self._read("curves.parquet")

    @cached_property
    def importance(self) -> pd.DataFrame:
        """One row per pruned parent, measure and block (tables.importance)."""
        return self._read("importance.parquet")

    @cached_property
    def shape_search(self) -> pd.DataFrame:
        """One row per candidate of a shape search (tables.chosen_shapes); none without a search."""
        return self._read("shape_search.csv")

    @cached_property
    def reported(self) -> pd.DataFrame:
        """One row per number of the paper, with budgets in billions of tokens (tables.reported)."""
        return self._read("reported.csv")

    @cached_property
    def efficiency(self) -> pd.DataFrame:
        """One row per run and metric: size and cost. The file is one folder up, with the results."""
        return self._read("efficiency.csv", self.folder.parent)

    def _read_if_there(self, name: str) -> pd.DataFrame:
        """A table that only some studies have; without rows in the others."""
        if not (self.folder / name).exists():
            return pd.DataFrame(columns=list(COLUMNS[name]))
        return self._read(name)

    def _read(self, name: str, folder: Path | None = None) -> pd.DataFrame:
        path = (folder or self.folder) / name
        try:
            table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        except FileNotFoundError as error:
            refuse_elsewhere(path)
            raise UserError(f"{path} is missing: run the workflow up to its tables first") from error
        except (ValueError, OSError) as error:
            raise UserError(f"cannot read {path} ({error}): delete it and run its step again") from error
        missing = [column for column in COLUMNS[name] if column not in table.columns]
        if missing:
            raise UserError(f"{path} lacks the columns {', '.join(missing)}: delete it and run its step again")
        return table if self.methods is None or name == "reported.csv" else self._seen(table)

    def _seen(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the chosen methods, and those without a method, such as the parent's."""
        if "method" not in table.columns:
            return table
        return table[table["method"].isna() | table["method"].isin(self.methods or ())].reset_index(drop=True)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each as a dictionary."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def times_read(runs: pd.DataFrame) -> float:
    """Largest average number of times that any run read its training text; 1 without repetition."""
    trained = runs[runs["tokens_distinct"] > 0]
    return float((trained["tokens_train"] / trained["tokens_distinct"]).max()) if len(trained) else 1.0
