"""What a pruned start is worth in tokens of training from scratch.

A pruned model that was retrained on R tokens has some loss. D* is how many tokens the same target needs from random
weights to reach it, and D_T = D* - R the effective tokens transferred (Hernandez et al., "Scaling Laws for Transfer",
2102.01293, section 1.1). As a share of the parent's tokens P it says what the parent was worth: where the share exceeds
one, scratch with the whole pipeline's tokens falls behind, and where it does not, scratch catches up (C4).

D* comes from a power law through the scratch losses of the target at all its budgets. Its interval holds the noise of
the evaluation (sequences are resampled, the same for all runs) and what the laws of the study leave over: their
residuals, pooled, stand for the noise of single training runs and for laws that do not hold. Beyond twice the largest
budget, or below half of the smallest, nothing is stated but a bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.load import COLUMNS
from pruning_vs_scratch.tables.power_law import PARAMETERS, PowerLaws, fit_power_laws
from pruning_vs_scratch.tables.statistics import BOOTSTRAP_SEED, Matrix

FAR = 2.0
"""Farthest extrapolation, as a factor of the largest or smallest budget."""
RESAMPLES = 2000

Status = Literal[
    "within the data", "beyond the data", "below the data", "far beyond the data", "far below the data",
    "between two budgets", "one budget of scratch",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scratch:
    """A target trained from scratch on several budgets; seeds are averaged."""

    tokens: tuple[int, ...]
    """Budgets, rising."""
    losses: Matrix
    """Shape (budgets, sequences)."""


@dataclass(frozen=True, eq=False)
class Start:
    """A pruned model, retrained on some budget, beside its target from scratch."""

    method: str
    granularity: str
    pattern: str
    ratio: float
    budget: int
    losses: Matrix
    """Shape (sequences,)."""
    scratch: Scratch
    seeds: int


@dataclass(frozen=True)
class Misfit:
    """What the laws of a study leave over: a standard deviation in nats with its degrees of freedom."""

    deviation: float
    degrees: int


@dataclass(frozen=True)
class Worth:
    """D* with its interval; None where it is open."""

    status: Status
    tokens: float | None
    low: float | None
    high: float | None


def starts(groups: Sequence[GapGroup], tokens: Mapping[str, int]) -> list[Start]:
    """Every retrained model of a study; ``tokens`` says what each run was trained on."""
    found = []
    for key, members in _by_target(groups).items():
        scratch = _scratch(members, tokens)
        retrained = {group.budget: group for group in members}
        found += [
            Start(*key, budget, group.loss_retrained.mean(axis=0), scratch, len(group.seeds))
            for budget, group in sorted(retrained.items())
        ]
    return found


def _by_target(groups: Sequence[GapGroup]) -> dict[tuple[str, str, str, float], list[GapGroup]]:
    members: dict[tuple[str, str, str, float], list[GapGroup]] = {}
    for group in groups:
        if group.setting in ("equal", "full"):
            members.setdefault((group.method, group.granularity, group.pattern, group.ratio), []).append(group)
    return members


def _scratch(members: Sequence[GapGroup], tokens: Mapping[str, int]) -> Scratch:
    losses = {tokens[group.scratch[0]]: group.loss_scratch.mean(axis=0) for group in members}
    budgets = tuple(sorted(losses))
    return Scratch(budgets, np.stack([losses[budget] for budget in budgets]))


def pooled_misfit(laws: Sequence[Scratch]) -> Misfit | None:
    """The misfit of all laws with more budgets than parameters; None if there is none."""
    checked = [scratch for scratch in laws if len(scratch.tokens) > PARAMETERS]
    degrees = sum(len(scratch.tokens) - PARAMETERS for scratch in checked)
    if not degrees:
        return None
    squares = sum(fit_power_laws(scratch.tokens, scratch.losses.mean(axis=1)).squares[0] for scratch in checked)
    return Misfit(float(np.sqrt(squares / degrees)), degrees)


def worth(start: Start, misfit: Misfit | None, confidence: float) -> Worth:
    """How many tokens from scratch reach the loss of a retrained model."""
    budgets = start.scratch.tokens
    if len(budgets) == 1:
        return Worth("one budget of scratch", None, None, None)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    sequences = len(start.losses)
    weights = rng.multinomial(sequences, np.full(sequences, 1 / sequences), RESAMPLES) / sequences
    scratch, pruned = weights @ start.scratch.losses.T, weights @ start.losses
    if len(budgets) < PARAMETERS:
        return _between(start, scratch - pruned[:, None], confidence)
    if misfit is not None:
        spread = misfit.deviation * np.sqrt(misfit.degrees / rng.chisquare(misfit.degrees, RESAMPLES))
        scratch = scratch + spread[:, None] * rng.normal(size=scratch.shape)
        pruned = pruned + spread * rng.normal(size=pruned.shape)
    point = law_of(start.scratch).tokens([start.losses.mean()])[0]
    return _bounded(point, fit_power_laws(budgets, scratch).tokens(pruned), budgets, confidence)


def law_of(scratch: Scratch) -> PowerLaws:
    """The law through the mean losses of a target."""
    return fit_power_laws(scratch.tokens, scratch.losses.mean(axis=1))


def _bounded(point: float, resampled: Matrix, budgets: Sequence[int], confidence: float) -> Worth:
    """A point and its interval, as far as they lie within reach of the data."""
    least, most = budgets[0] / FAR, budgets[-1] * FAR
    ordered = np.sort(resampled)
    low, high = (float(ordered[round(q * (len(ordered) - 1))]) for q in ((1 - confidence) / 2, (1 + confidence) / 2))
    status = _status(point, budgets)
    return Worth(
        status,
        point if least <= point <= most else None,
        None if low < least else min(low, most),
        None if high > most else max(high, least),
    )


def _status(point: float, budgets: Sequence[int]) -> Status:
    if point > budgets[-1]:
        return "far beyond the data" if point > budgets[-1] * FAR else "beyond the data"
    if point < budgets[0]:
        return "far below the data" if point < budgets[0] / FAR else "below the data"
    return "within the data"


def _between(start: Start, above: Matrix, confidence: float) -> Worth:
    """Two budgets fix no law: D* lies between them if scratch passes the loss there, and the interval is no narrower.

    ``above``, of shape (resamples, 2), is how far scratch lies above the pruned model.
    """
    first, last = start.scratch.tokens
    surely_worse, surely_better = (above > 0).mean(axis=0), (above < 0).mean(axis=0)
    low = last if surely_worse[1] >= confidence else first if surely_worse[0] >= confidence else None
    high = first if surely_better[0] >= confidence else last if surely_better[1] >= confidence else None
    before, after = start.scratch.losses.mean(axis=1) - start.losses.mean()
    if before > 0 >= after:
        share = before / (before - after)
        return Worth("between two budgets", float(first * (last / first) ** share), low, high)
    return Worth("beyond the data" if after > 0 else "below the data", None, low, high)


def transfer_table(groups: Sequence[GapGroup], runs: pd.DataFrame, settings: ClaimsConfig) -> pd.DataFrame:
    """A row per method, pattern, ratio and retraining budget (load.COLUMNS); open ends are empty."""
    facts = runs.set_index("run")
    found = starts(groups, {str(run): int(tokens) for run, tokens in facts["tokens_train"].items()})
    distinct = {id(start.scratch): start.scratch for start in found}
    misfit = pooled_misfit(list(distinct.values()))
    parent = facts.loc[facts["role"] == "parent", "tokens_train"].max()
    given = runs["tokens_parent"].max()
    tokens = float(given) if pd.notna(given) and given > 0 else float(parent)
    rows = [_row(start, misfit, tokens or None, settings) for start in found]
    return pd.DataFrame(rows, columns=list(COLUMNS["transfer.csv"]))


def _row(start: Start, misfit: Misfit | None, parent: float | None, settings: ClaimsConfig) -> dict[str, Any]:
    found = worth(start, misfit, settings.confidence)
    ends = {"": found.tokens, "_low": found.low, "_high": found.high}
    transferred = {end: None if value is None else value - start.budget for end, value in ends.items()}
    shares = {end: None if value is None or parent is None else value / parent for end, value in transferred.items()}
    return {
        "method": start.method, "granularity": start.granularity, "pattern": start.pattern, "ratio": start.ratio,
        "budget": start.budget, "loss_retrained": start.losses.mean(), "status": found.status,
        **{f"scratch_tokens{end}": value for end, value in ends.items()},
        **{f"transferred{end}": value for end, value in transferred.items()},
        "tokens_parent": parent,
        **{f"share{end}": value for end, value in shares.items()},
        "budgets": len(start.scratch.tokens), "most_tokens": start.scratch.tokens[-1],
        "misfit": None if misfit is None else misfit.deviation, "seeds": start.seeds, "sequences": len(start.losses),
        "dataset": settings.dataset, "confidence": settings.confidence,
    }  # fmt: skip
