"""Claims D1 to D4 on what the paper leaves open, with verdicts reached as for C1 to C4 (claims.py)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables.arms import ArmGroup
from pruning_vs_scratch.tables.claims import Claim, Contrast, above, judge, not_judged, require_same_seeds
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.statistics import Estimate, Matrix, estimate_mean, p_above, p_below, slope_weights

QUARTER = 0.25
ONE_STEP_MINUS_SEVERAL = "loss of one step minus loss of several (nats per token)"
RESTART_MINUS_JOINT = "loss of a new schedule minus loss of one for all (nats per token)"
PER_QUARTER = "change of the loss per quarter of the parent's tokens (nats per token)"
CHANGE_BY_DISTILLATION = "change of the gap by distillation of both sides (nats per token)"


def arm_claims(arms: Sequence[ArmGroup], gaps: Sequence[GapGroup], settings: ClaimsConfig) -> list[Claim]:
    """The claims about the arms that a study has; none without arms.

    Raises:
        UserError: the comparisons of one trend were run with different seeds.
    """
    found = [
        _distillation(_of("distilled", arms), gaps, settings),
        _lead("D2", ONE_STEP_MINUS_SEVERAL, _of("gradual", arms), settings),
        _lead("D3", RESTART_MINUS_JOINT, _of("joint", arms), settings),
        _moment(_of("early", arms), settings),
    ]
    return [claim for claim in found if claim.comparisons]


def _of(arm: str, arms: Sequence[ArmGroup]) -> list[ArmGroup]:
    return [group for group in arms if group.arm == arm]


def _distillation(arms: Sequence[ArmGroup], gaps: Sequence[GapGroup], settings: ClaimsConfig) -> Claim:
    """The gap between two distilled sides; without an advantage by language modelling, none can survive."""
    usual = {(gap.method, gap.pattern, gap.ratio, gap.budget): gap for gap in gaps if gap.setting == "equal"}
    contrasts, changes = [], []
    for arm in arms:
        before = usual[arm.key].differences
        advantage = p_above(estimate_mean(before, settings), 0.0) < (1 - settings.confidence) / 2
        contrasts.append(replace(_above(arm, settings), premise=advantage))
        change = estimate_mean(arm.differences - before, settings)
        changes.append(replace(not_judged(arm.label, change, arm.compared), quantity=CHANGE_BY_DISTILLATION))
    return replace(judge("D1", contrasts, settings), shown=tuple(changes))


def _lead(name: str, quantity: str, arms: Sequence[ArmGroup], settings: ClaimsConfig) -> Claim:
    return judge(name, [replace(_above(arm, settings), quantity=quantity) for arm in arms], settings)


def _above(arm: ArmGroup, settings: ClaimsConfig) -> Contrast:
    return above(arm.label, estimate_mean(arm.differences, settings), arm.compared)


def _moment(arms: Sequence[ArmGroup], settings: ClaimsConfig) -> Claim:
    """The slope of the loss on the share of the parent's tokens at pruning; the last share is all of them."""
    series: dict[tuple[str, str, float, int], list[ArmGroup]] = {}
    for arm in arms:
        series.setdefault(arm.key, []).append(arm)
    return judge("D4", [_slope(members, settings) for members in series.values()], settings)


def _slope(members: Sequence[ArmGroup], settings: ClaimsConfig) -> Contrast:
    require_same_seeds(members[0].series, {group.seeds for group in members})
    losses: list[Matrix] = [*(group.loss_run for group in members), members[0].loss_usual]
    shares = np.array([*(group.share for group in members), 1.0])
    slopes: Matrix = np.tensordot(slope_weights(shares / QUARTER), np.stack(losses), axes=1)
    estimate: Estimate = estimate_mean(slopes, settings)
    return Contrast(
        members[0].series,
        PER_QUARTER,
        "< 0",
        estimate,
        p_for=p_below(estimate, 0.0),
        p_against=p_above(estimate, 0.0),
        room=-estimate.mean,
        runs=tuple(run for group in members for run in group.compared),
    )
