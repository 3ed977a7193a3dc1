"""The gap table: how much lower the loss of a pruned and retrained model is than that of its scratch baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import label_of
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import COLUMNS, GROUP, Tables
from pruning_vs_scratch.tables.statistics import Matrix, estimate_mean, p_different


@dataclass(frozen=True, eq=False)
class GapGroup:
    """One comparison: the same method, target and budget, over all seeds. Losses have shape (seeds, sequences)."""

    setting: str
    method: str
    granularity: str
    pattern: str
    ratio: float
    budget: int
    seeds: tuple[int, ...]
    retrained: tuple[str, ...]
    scratch: tuple[str, ...]
    loss_retrained: Matrix
    loss_scratch: Matrix
    loss_parent: Matrix

    @property
    def differences(self) -> Matrix:
        """Loss of scratch minus loss of pruned, in nats per token: positive where pruning is better."""
        return self.loss_scratch - self.loss_retrained

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs compared."""
        return (*self.retrained, *self.scratch)

    @property
    def series(self) -> str:
        """Readable label of method and pattern."""
        return series_label(self.method, self.pattern)

    @property
    def label(self) -> str:
        """Readable label of the whole comparison."""
        return f"{self.series} {self.ratio:g}, {token_label(self.budget)} tokens"


def series_label(method: str, pattern: str) -> str:
    """'ShortGPT', 'Wanda', 'Wanda 2:4'."""
    label = label_of(method)
    return f"{label} {pattern}" if ":" in pattern else label


def gap_groups(tables: Tables, dataset: str) -> list[GapGroup]:
    """Every comparison of the study with its losses on one corpus: depth, width, then sparse.

    Raises:
        UserError: a run of a pair was not evaluated, lacks sequences, or has losses that are not finite.
    """
    pairs = tables.pairs.sort_values([*GROUP, "seed"])
    if pairs.empty:
        return []
    names = sorted({*pairs["retrained"], *pairs["scratch"], *pairs["parent"]})
    losses = loss_matrix(tables, dataset, names)
    groups = [_group(key, rows, losses) for key, rows in pairs.groupby(list(GROUP))]
    return sorted(groups, key=_place)


def _place(group: GapGroup) -> tuple[Any, ...]:
    """Sort key: the order of tables and figures."""
    family = ("depth", "width", "sparse", "hybrid").index(group.granularity)
    return group.setting, family, group.method, ":" in group.pattern, group.pattern, group.ratio, group.budget


def _group(key: Any, rows: pd.DataFrame, losses: pd.DataFrame) -> GapGroup:
    facts = dict(zip(GROUP, key, strict=True))
    return GapGroup(
        **facts,
        seeds=tuple(rows["seed"]),
        retrained=tuple(rows["retrained"]),
        scratch=tuple(rows["scratch"]),
        loss_retrained=losses.loc[rows["retrained"]].to_numpy(),
        loss_scratch=losses.loc[rows["scratch"]].to_numpy(),
        loss_parent=losses.loc[rows["parent"]].to_numpy(),
    )


def loss_matrix(tables: Tables, dataset: str, names: Sequence[str]) -> pd.DataFrame:
    """Losses of the named runs on one corpus: one row per run, one column per evaluation sequence.

    Raises:
        UserError: a run was not evaluated, lacks sequences, or has losses that are not finite.
    """
    losses = tables.losses
    chosen = losses[(losses["dataset"] == dataset) & losses["run"].isin(names)]
    problems = list(_loss_problems(chosen, dataset, names))
    if problems:
        raise UserError(
            f"the evaluations in {tables.folder / 'losses.parquet'} are not complete:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return chosen.pivot(index="run", columns="sequence", values="loss")


def _loss_problems(losses: pd.DataFrame, dataset: str, names: Sequence[str]) -> Iterator[str]:
    expected = set(losses["sequence"])
    by_run = dict(list(losses.groupby("run")))
    for name in names:
        rows = by_run.get(name)
        if rows is None:
            yield f"run {name} has no losses on {dataset!r}: evaluate it again, or correct claims.dataset"
        elif not np.isfinite(rows["loss"]).all():
            bad = int((~np.isfinite(rows["loss"])).sum())
            yield f"run {name} has {bad} losses on {dataset!r} that are not finite: its training diverged; see its log"
        elif len(rows) != len(expected) or set(rows["sequence"]) != expected:
            yield (
                f"run {name} has {len(rows)} losses on {dataset!r} where other runs have {len(expected)}: "
                "evaluate it again"
            )


def gap_table(groups: Sequence[GapGroup], settings: ClaimsConfig) -> pd.DataFrame:
    """One row per comparison, in order: losses, gap, intervals, unadjusted two-sided p-value (load.COLUMNS)."""
    rows = [_gap_row(group, settings) for group in groups]
    return pd.DataFrame(rows, columns=list(COLUMNS["gaps.csv"]))


def _gap_row(group: GapGroup, settings: ClaimsConfig) -> dict[str, Any]:
    gap = estimate_mean(group.differences, settings)
    retrained = estimate_mean(group.loss_retrained, settings)
    scratch = estimate_mean(group.loss_scratch, settings)
    return {
        **{key: getattr(group, key) for key in GROUP},
        "loss_retrained": retrained.mean,
        "loss_retrained_low": retrained.low,
        "loss_retrained_high": retrained.high,
        "loss_scratch": scratch.mean,
        "loss_scratch_low": scratch.low,
        "loss_scratch_high": scratch.high,
        "loss_parent": group.loss_parent.mean(),
        "gap": gap.mean,
        "low": gap.low,
        "high": gap.high,
        "p_value": p_different(gap),
        "seeds": gap.seeds,
        "sequences": gap.sequences,
        "retrained": ";".join(group.retrained),
        "scratch": ";".join(group.scratch),
        "dataset": settings.dataset,
        "confidence": settings.confidence,
        "margin": settings.equivalence_margin,
    }
