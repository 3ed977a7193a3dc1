"""Comparisons of the arms that the paper leaves open: what each side lost, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import loss_matrix, series_label
from pruning_vs_scratch.tables.load import ARM_GROUP, COLUMNS, Tables, records
from pruning_vs_scratch.tables.statistics import Matrix, estimate_mean, p_different

COSTS = (
    "tokens_run", "tokens_baseline", "tokens_usual", "tokens_prune_run", "tokens_prune_baseline", "flops_run",
    "flops_baseline", "flops_usual", "params_mean_run", "params_mean_baseline",
)  # fmt: skip
"""Columns of arm_pairs.csv that are the same for every seed."""
SIDES = ("run", "baseline", "usual")
MATCHES = {"tokens": "equal tokens", "flops": "equal FLOPs"}


@dataclass(frozen=True, eq=False)
class ArmGroup:
    """One comparison over all seeds. Losses have shape (seeds, sequences)."""

    arm: str
    match: str
    method: str
    granularity: str
    pattern: str
    ratio: float
    budget: int
    steps: str
    share: float
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    baselines: tuple[str, ...]
    loss_run: Matrix
    loss_baseline: Matrix
    loss_usual: Matrix

    @property
    def differences(self) -> Matrix:
        """Loss of the baseline minus loss of the run, in nats per token: positive where the run is better."""
        return self.loss_baseline - self.loss_run

    @property
    def compared(self) -> tuple[str, ...]:
        """The runs compared."""
        return (*self.runs, *self.baselines)

    @property
    def key(self) -> tuple[str, str, float, int]:
        """The comparison of the matrix that it varies."""
        return self.method, self.pattern, self.ratio, self.budget

    @property
    def series(self) -> str:
        """Readable label of method, ratio and budget."""
        return f"{series_label(self.method, self.pattern)} {self.ratio:g}, {token_label(self.budget)} tokens"

    @property
    def label(self) -> str:
        """Readable label of the comparison."""
        details = {
            "distilled": MATCHES[self.match],
            "gradual": self.steps.replace("+", " then "),
            "early": f"pruned at {self.share:.0%}",
        }
        return f"{self.series}, {details[self.arm]}" if self.arm in details else self.series


def arm_groups(tables: Tables, dataset: str) -> list[ArmGroup]:
    """Every comparison of the arms with its losses on one corpus, in the order of the study; none without arms.

    Raises:
        UserError: a run was not evaluated, lacks sequences, or has losses that are not finite.
    """
    pairs = tables.arm_pairs
    if pairs.empty:
        return []
    losses = loss_matrix(tables, dataset, sorted({*pairs["run"], *pairs["baseline"], *pairs["usual"]}))
    return [_group(key, rows, losses) for key, rows in pairs.groupby(list(ARM_GROUP), sort=False)]


def _group(key: Any, rows: pd.DataFrame, losses: pd.DataFrame) -> ArmGroup:
    rows = rows.sort_values("seed")
    run, baseline, usual = (losses.loc[rows[side]].to_numpy() for side in SIDES)
    return ArmGroup(
        **dict(zip(ARM_GROUP, key, strict=True)),
        seeds=tuple(rows["seed"]),
        runs=tuple(rows["run"]),
        baselines=tuple(rows["baseline"]),
        loss_run=run,
        loss_baseline=baseline,
        loss_usual=usual,
    )


def arm_table(groups: Sequence[ArmGroup], pairs: pd.DataFrame, settings: ClaimsConfig) -> pd.DataFrame:
    """One row per comparison: losses and their intervals, the difference, and the costs of both sides
    (load.COLUMNS).
    """
    costs = {row["run"]: row for row in records(pairs)}
    rows = [_row(group, costs[group.runs[0]], settings) for group in groups]
    return pd.DataFrame(rows, columns=list(COLUMNS["arms.csv"]))


def _row(group: ArmGroup, costs: dict[str, Any], settings: ClaimsConfig) -> dict[str, Any]:
    gap = estimate_mean(group.differences, settings)
    row: dict[str, Any] = {key: getattr(group, key) for key in ARM_GROUP}
    for side in SIDES:
        loss = estimate_mean(getattr(group, f"loss_{side}"), settings)
        row |= {f"loss_{side}": loss.mean, f"loss_{side}_low": loss.low, f"loss_{side}_high": loss.high}
    return row | {
        "gap": gap.mean,
        "low": gap.low,
        "high": gap.high,
        "p_value": p_different(gap),
        "seeds": gap.seeds,
        "sequences": gap.sequences,
        "run": ";".join(group.runs),
        "baseline": ";".join(group.baselines),
        "dataset": settings.dataset,
        "confidence": settings.confidence,
        "margin": settings.equivalence_margin,
        **{name: costs[name] for name in COSTS},
    }
