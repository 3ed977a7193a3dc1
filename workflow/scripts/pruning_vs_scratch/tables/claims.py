"""The paper's claims C1 to C4 as tests with a verdict.

Every verdict is reached in the same way:

1. A claim is a family of comparisons. Each has an effect and a direction that the claim predicts.
2. Its p-value is twice the smaller of two one-sided p-values: one for the claim's direction, one against it.
3. Holm's correction over the family turns p-values into simultaneous decisions: "as claimed", "against", "open".
4. The claim is contradicted if any comparison contradicts it, supported if all support it, else inconclusive.

C4 is about the finest and the coarsest granularity, and about a trend between them; granularities in between are shown
but not judged individually.

The claims say "every", so one comparison against them is enough to contradict them. The reported effect is the one that
supports the claim least.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.statistics import (
    Estimate,
    Matrix,
    estimate_mean,
    holm,
    p_above,
    p_below,
    p_equivalent,
    slope_weights,
)

Verdict = Literal["supported", "contradicted", "inconclusive"]
Decision = Literal["as claimed", "against", "open", "not judged"]

STATEMENTS = {
    "C1": "At equal training tokens, a pruned model has a lower loss than the same target trained from scratch, "
    "for every method, ratio and budget.",
    "C2": "The advantage of pruning shrinks as the training budget grows.",
    "C3": "The advantage of pruning shrinks as the pruning ratio rises.",
    "C3-vanishing": "The advantage of pruning nearly vanishes at the highest pruning ratio.",
    "C4": "With the whole pipeline's tokens given to scratch, the finest pruning (unstructured sparsity) keeps an "
    "advantage, the coarsest (depth) is matched or surpassed, and the advantage rises with fineness.",
    "D1": "The advantage of a pruned start over a random one survives if both learn from the parent.",
    "D2": "Pruning in several steps with retraining between them gives a lower loss than pruning once, at the same "
    "tokens.",
    "D3": "One learning-rate schedule over pretraining, pruning and retraining gives a lower loss than a new schedule "
    "after pruning, at the same tokens.",
    "D4": "At the same tokens of the whole pipeline, the later the parent is pruned, the lower the loss.",
}
"""By claim; D1 to D4 are about what the paper leaves open (arm_claims.py)."""
PAPERS = ("C1", "C2", "C3", "C3-vanishing", "C4")
"""The claims that are the paper's."""
FALSIFIER = "Scratch at the full budget matches or beats every pruned model, at every granularity and ratio."
GAP = "gap (nats per token)"
RISE = "rise of the gap per step of fineness (nats per token)"
RATIO_STEP = 0.1
FINENESS = ("depth", "width", "N:M", "unstructured")
"""Granularities from the coarsest to the finest."""
COARSEST, FINEST = FINENESS[0], FINENESS[-1]
_NO_EQUAL = "the study compares nothing at equal training budgets"
_NO_BUDGETS = "a trend needs at least two budgets of one method and ratio, which the study does not have"
_NO_RATIOS = "a trend needs at least two ratios of one method at one budget, which the study does not have"


@dataclass(frozen=True)
class BudgetStep:
    """The change of a gap from one budget to the next, in nats per token per doubling."""

    start: int
    end: int
    change: float


@dataclass(frozen=True)
class Contrast:
    """A comparison or a trend with its tests: one member of a claim's family."""

    label: str
    quantity: str
    expected: str
    """What the claim predicts of the effect."""
    estimate: Estimate
    p_for: float
    """One-sided p-value: small if the effect is what the claim predicts."""
    p_against: float
    """One-sided p-value: small if the effect is the opposite."""
    room: float
    """Distance of the effect from the bound, positive on the claimed side."""
    runs: tuple[str, ...]
    premise: bool = True
    """False if there is no advantage to begin with, so that it cannot shrink."""
    steps: tuple[BudgetStep, ...] = ()
    """Changes between neighbouring budgets, for a trend over budgets."""

    @property
    def p_value(self) -> float:
        """Two-sided p-value."""
        return min(1.0, 2 * min(self.p_for, self.p_against))

    def decide(self, adjusted: float, level: float) -> Decision:
        """The decision at a family-wise level, given the Holm-adjusted p-value."""
        if adjusted >= level:
            return "open"
        if self.p_against < self.p_for:
            return "against"
        return "as claimed" if self.premise else "open"


@dataclass(frozen=True)
class Claim:
    """A tested claim."""

    id: str
    comparisons: tuple[Contrast, ...]
    adjusted: tuple[float, ...]
    decisions: tuple[Decision, ...]
    verdict: Verdict
    reason: str
    confidence: float
    falsification: dict[str, str] | None = None
    shown: tuple[Contrast, ...] = ()
    """Comparisons that the claim says nothing about."""

    @property
    def weakest(self) -> Contrast:
        """The comparison that supports the claim least."""
        return min(self.comparisons, key=lambda comparison: comparison.room)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for claims.json; effect and interval are null if nothing could be compared."""
        known = bool(self.comparisons)
        everything = (*self.comparisons, *self.shown)
        estimates = [comparison.estimate for comparison in everything]
        seeds = min((estimate.seeds for estimate in estimates), default=0)
        extra = {"falsification": self.falsification} if self.falsification else {}
        return {
            "id": self.id,
            "statement": STATEMENTS[self.id],
            "verdict": self.verdict,
            "reason": self.reason,
            "effect": self.weakest.estimate.mean if known else None,
            "low": self.weakest.estimate.low if known else None,
            "high": self.weakest.estimate.high if known else None,
            "effect_is": f"{self.weakest.quantity}, {self.weakest.label}" if known else None,
            "confidence": self.confidence,
            "test": test_name(seeds) if everything else None,
            "covers": coverage(seeds) if everything else None,
            "seeds": seeds,
            "sequences": min((estimate.sequences for estimate in estimates), default=0),
            "comparisons": [_comparison_dict(*row) for row in self._rows()],
            "runs": sorted({run for comparison in everything for run in comparison.runs}),
            **extra,
        }

    def _rows(self) -> Iterator[tuple[Contrast, float | None, Decision]]:
        yield from zip(self.comparisons, self.adjusted, self.decisions, strict=True)
        yield from ((comparison, None, "not judged") for comparison in self.shown)


def _comparison_dict(comparison: Contrast, adjusted: float | None, decision: Decision) -> dict[str, Any]:
    return {
        "label": comparison.label,
        "quantity": comparison.quantity,
        "expected": comparison.expected,
        "effect": comparison.estimate.mean,
        "low": comparison.estimate.low,
        "high": comparison.estimate.high,
        "p_value": comparison.p_value,
        "p_holm": adjusted,
        "decision": decision,
        "premise": comparison.premise,
        "steps": [asdict(step) for step in comparison.steps],
        "seeds": comparison.estimate.seeds,
        "sequences": comparison.estimate.sequences,
        "runs": list(comparison.runs),
    }


def test_name(seeds: int) -> str:
    """The test behind the p-values."""
    if seeds == 1:
        return "paired t test over evaluation sequences, Holm-adjusted; interval: BCa bootstrap"
    return "paired t test with crossed seed and sequence effects (Satterthwaite), Holm-adjusted; interval: same t"


def coverage(seeds: int) -> str:
    """What the intervals cover."""
    if seeds == 1:
        return "evaluation sequences only: with one seed, seed variance is not estimated"
    return f"evaluation sequences and {seeds} seeds, each a whole pipeline with its own parent"


def above(label: str, estimate: Estimate, runs: tuple[str, ...], bound: float = 0.0) -> Contrast:
    """The claim predicts a gap above the bound."""
    p_for, p_against = p_above(estimate, bound), p_below(estimate, bound)
    room = estimate.mean - bound
    return Contrast(label, GAP, f"> {bound:g}", estimate, p_for, p_against, room, runs)


def below(label: str, estimate: Estimate, runs: tuple[str, ...], bound: float) -> Contrast:
    """The claim predicts a gap below the bound."""
    p_for, p_against = p_below(estimate, bound), p_above(estimate, bound)
    room = bound - estimate.mean
    return Contrast(label, GAP, f"< {bound:g}", estimate, p_for, p_against, room, runs)


def within(label: str, estimate: Estimate, runs: tuple[str, ...], margin: float) -> Contrast:
    """The claim predicts a gap between -margin and +margin (TOST)."""
    p_against = min(p_above(estimate, margin), p_below(estimate, -margin))
    p_for = p_equivalent(estimate, margin)
    room = margin - abs(estimate.mean)
    return Contrast(label, GAP, f"within ±{margin:g}", estimate, p_for, p_against, room, runs)


def not_judged(label: str, estimate: Estimate, runs: tuple[str, ...]) -> Contrast:
    """A gap that the claim says nothing about; its p-values test against zero."""
    return Contrast(label, GAP, "–", estimate, p_above(estimate, 0.0), p_below(estimate, 0.0), estimate.mean, runs)


def state_claims(
    study: str,
    groups: Sequence[GapGroup],
    settings: ClaimsConfig,
    times_read: float = 1.0,
    further: Sequence[Claim] = (),
) -> dict[str, Any]:
    """All claims of a study, for claims.json: the paper's, which are about single methods (chains are shown but not
    judged), and ``further`` ones.

    ``times_read`` is the largest number of times that training text was read.

    Raises:
        UserError: budgets or ratios of one method were run with different seeds.
    """
    claims = (_advantage, _budget_trend, _ratio_trend, _vanishing, _full_budget)
    single = [group for group in groups if group.granularity != "hybrid"]
    found = [*(claim(single, settings) for claim in claims), *further]
    return {
        "study": study,
        "dataset": settings.dataset,
        "margin": settings.equivalence_margin,
        "times_read": times_read,
        "claims": [claim.to_dict() for claim in found],
    }


def _advantage(groups: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    comparisons = [
        above(group.label, estimate_mean(group.differences, settings), group.runs)
        for group in _in_setting(groups, "equal")
    ]
    return judge("C1", comparisons, settings, "" if comparisons else _NO_EQUAL)


def _budget_trend(groups: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    comparisons = [
        replace(
            _trend(
                f"{members[0].series} {members[0].ratio:g}",
                "change of the gap per doubling of tokens (nats per token)",
                members,
                np.log2([group.budget for group in members]),
                settings,
            ),
            steps=_steps(members),
        )
        for members in _series(groups, lambda group: (group.method, group.pattern, group.ratio))
    ]
    return judge("C2", comparisons, settings, "" if comparisons else _NO_BUDGETS)


def _steps(members: Sequence[GapGroup]) -> tuple[BudgetStep, ...]:
    """Changes between neighbouring budgets, which show if a trend ends."""
    return steps_between({group.budget: float(group.differences.mean()) for group in members})


def steps_between(gaps: Mapping[int, float]) -> tuple[BudgetStep, ...]:
    """The changes per doubling between neighbouring budgets, from the gaps by budget."""
    return tuple(
        BudgetStep(start, end, (gaps[end] - gaps[start]) / float(np.log2(end / start)))
        for start, end in pairwise(sorted(gaps))
    )


def _ratio_trend(groups: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    comparisons = [
        _trend(
            f"{members[0].series}, {token_label(members[0].budget)} tokens",
            f"change of the gap per {RATIO_STEP:g} of ratio (nats per token)",
            members,
            np.array([group.ratio for group in members]) / RATIO_STEP,
            settings,
        )
        for members in _ratio_series(groups)
    ]
    return judge("C3", comparisons, settings, "" if comparisons else _NO_RATIOS)


def _vanishing(groups: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    highest = [members[-1] for members in _ratio_series(groups)]
    margin = settings.equivalence_margin
    comparisons = [
        within(group.label, estimate_mean(group.differences, settings), group.runs, margin) for group in highest
    ]
    return judge("C3-vanishing", comparisons, settings, "" if comparisons else _NO_RATIOS)


def _full_budget(groups: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    full = _in_setting(groups, "full")
    margin = settings.equivalence_margin
    found = [(group, estimate_mean(group.differences, settings)) for group in full]
    finest = [above(g.label, e, g.runs) for g, e in found if _kind(g) == FINEST]
    coarsest = [below(g.label, e, g.runs, margin) for g, e in found if _kind(g) == COARSEST]
    between = [not_judged(g.label, e, g.runs) for g, e in found if _kind(g) not in (FINEST, COARSEST)]
    trends = [_rise(members, settings) for members in _at_one_ratio(full)]
    missing = _missing_granularity(full)
    matched = [below(g.label, e, g.runs, margin) for g, e in found]
    falsification = _falsification(matched, missing, settings)
    claim = judge("C4", [*finest, *coarsest, *trends], settings, missing)
    claim = replace(claim, falsification=falsification, shown=tuple(between))
    if missing:
        return claim
    reason = f"{claim.reason}; {_parts(claim.decisions, len(finest), len(coarsest))}"
    if falsification["met"] != "yes":
        return replace(claim, reason=reason)
    reason += "; the paper's own condition for falsifying the claim is met"
    return replace(claim, verdict="contradicted", reason=reason)


def _kind(group: GapGroup) -> str:
    """One of FINENESS."""
    return kind_of(group.granularity, group.pattern)


def kind_of(granularity: str, pattern: str) -> str:
    """The member of FINENESS for a granularity and its pattern."""
    if granularity != "sparse":
        return granularity
    return "N:M" if ":" in pattern else "unstructured"


def _at_one_ratio(full: Sequence[GapGroup]) -> list[list[GapGroup]]:
    """The comparisons of each ratio and retraining budget, where there is more than one granularity."""
    together: dict[tuple[float, int], list[GapGroup]] = {}
    for group in full:
        together.setdefault((group.ratio, group.budget), []).append(group)
    return [members for members in together.values() if len({_kind(group) for group in members}) > 1]


def _rise(members: Sequence[GapGroup], settings: ClaimsConfig) -> Contrast:
    """The slope of the gap on the rank in FINENESS, over methods; the claim predicts that it is positive."""
    label = f"ratio {members[0].ratio:g}, {token_label(members[0].budget)} tokens, {len(members)} methods"
    ranks = np.array([FINENESS.index(_kind(group)) for group in members], dtype=float)
    estimate = estimate_mean(_slopes(label, members, ranks), settings)
    runs = tuple(run for group in members for run in group.runs)
    return Contrast(
        label, RISE, "> 0", estimate, p_above(estimate, 0.0), p_below(estimate, 0.0), estimate.mean, runs
    )  # fmt: skip


def _parts(decisions: Sequence[Decision], finest: int, coarsest: int) -> str:
    """The result of each part of the claim."""
    cuts = (decisions[:finest], decisions[finest : finest + coarsest], decisions[finest + coarsest :])
    kept, matched, rising = (f"{part.count('as claimed')} of {len(part)}" for part in cuts)
    return (
        f"unstructured sparsity keeps an advantage in {kept}, depth pruning is matched or surpassed in {matched}, "
        f"and the gap rises with fineness in {rising}"
    )


def _missing_granularity(full: Sequence[GapGroup]) -> str:
    kinds = {_kind(group) for group in full}
    if not kinds:
        return "the study has no scratch baselines at the full pipeline budget"
    if FINEST not in kinds:
        return "the study has no unstructured sparse model at the full pipeline budget, which the claim is about"
    if COARSEST not in kinds:
        return "the study has no depth model at the full pipeline budget, which the claim is about"
    return ""


def _falsification(matched: Sequence[Contrast], missing: str, settings: ClaimsConfig) -> dict[str, str]:
    """The paper's condition as written; met only if every gap is shown to be below the margin."""
    margin = f"{settings.equivalence_margin:g} nats per token"
    if missing:
        return {"condition": FALSIFIER, "met": "undecided", "reason": missing}
    _, decisions = _decisions(matched, settings)
    below_margin, above_margin = decisions.count("as claimed"), decisions.count("against")
    counts = (
        f"of {len(decisions)} gaps, {below_margin} are shown to be below the margin of {margin} and "
        f"{above_margin} above it"
    )
    met = "yes" if below_margin == len(decisions) else "no" if above_margin else "undecided"
    return {"condition": FALSIFIER, "met": met, "reason": counts}


def _in_setting(groups: Sequence[GapGroup], setting: str) -> list[GapGroup]:
    return [group for group in groups if group.setting == setting]


def _series(groups: Sequence[GapGroup], key: Callable[[GapGroup], Any]) -> list[list[GapGroup]]:
    """Equal-budget groups that share a key, where there are at least two, in the order of the groups."""
    series: dict[Any, list[GapGroup]] = {}
    for group in _in_setting(groups, "equal"):
        series.setdefault(key(group), []).append(group)
    return [members for members in series.values() if len(members) > 1]


def _ratio_series(groups: Sequence[GapGroup]) -> list[list[GapGroup]]:
    return _series(groups, lambda group: (group.method, group.pattern, group.budget))


def _trend(label: str, quantity: str, members: Sequence[GapGroup], x: Matrix, settings: ClaimsConfig) -> Contrast:
    """The slope of the gap on x, one per sequence; the claim predicts that it is negative."""
    estimate = estimate_mean(_slopes(label, members, x), settings)
    start = estimate_mean(members[0].differences, settings)
    return Contrast(
        label,
        quantity,
        "< 0",
        estimate,
        p_for=p_below(estimate, 0.0),
        p_against=p_above(estimate, 0.0),
        room=-estimate.mean,
        runs=tuple(run for group in members for run in group.runs),
        premise=p_above(start, 0.0) < (1 - settings.confidence) / 2,
    )


def _slopes(label: str, members: Sequence[GapGroup], x: Matrix) -> Matrix:
    """The slope of the gap on x for each seed and sequence.

    Raises:
        UserError: the members were run with different seeds.
    """
    require_same_seeds(label, {group.seeds for group in members})
    gaps = np.stack([group.differences for group in members])
    slopes: Matrix = np.tensordot(slope_weights(x), gaps, axes=1)
    return slopes


def require_same_seeds(label: str, seeds: set[tuple[int, ...]]) -> None:
    """Refuse to combine comparisons over different seeds.

    Raises:
        UserError: names the comparisons and their seeds.
    """
    if len(seeds) > 1:
        raise UserError(
            f"the comparisons of {label} were run with different seeds ({', '.join(map(str, sorted(seeds)))}): "
            "run the missing ones, then make the tables again"
        )


def _decisions(
    comparisons: Sequence[Contrast], settings: ClaimsConfig
) -> tuple[tuple[float, ...], tuple[Decision, ...]]:
    """Holm-adjusted p-values of a family, and what they decide."""
    adjusted = tuple(float(p) for p in holm([comparison.p_value for comparison in comparisons]))
    level = 1 - settings.confidence
    return adjusted, tuple(c.decide(p, level) for c, p in zip(comparisons, adjusted, strict=True))


def judge(name: str, comparisons: Sequence[Contrast], settings: ClaimsConfig, lacking: str = "") -> Claim:
    """Verdict on a family; ``lacking`` names what the study lacks for one, if anything."""
    adjusted, decisions = _decisions(comparisons, settings)
    verdict, reason = _verdict(decisions, comparisons)
    if lacking:
        verdict, reason = "inconclusive", lacking
    return Claim(name, tuple(comparisons), adjusted, decisions, verdict, reason, settings.confidence)


def _verdict(decisions: Sequence[Decision], comparisons: Sequence[Contrast]) -> tuple[Verdict, str]:
    claimed, against = decisions.count("as claimed"), decisions.count("against")
    reason = f"{claimed} of {len(decisions)} comparisons support it, {against} contradict it"
    undecided = len(decisions) - claimed - against
    if undecided:
        reason += f", {undecided} are undecided"
    absent = sum(not comparison.premise for comparison in comparisons)
    if absent:
        reason += f"; {absent} have no advantage to begin with"
    if against:
        return "contradicted", reason
    return ("inconclusive" if undecided else "supported"), reason
