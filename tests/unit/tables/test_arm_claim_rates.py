"""Simulated arms with known true differences: how often each of D1 to D4 is supported or contradicted."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.tables import statistics
from pruning_vs_scratch.tables.arm_claims import arm_claims
from pruning_vs_scratch.tables.arms import ArmGroup
from pruning_vs_scratch.tables.gaps import GapGroup

SETTINGS = ClaimsConfig()
LEVEL = 1 - SETTINGS.confidence
STUDIES = 200
MOST_ERRORS = LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / STUDIES)
"""Share of wrong verdicts that the stated rate gives with a probability of 99.9 %."""
LEAST_POWER = 0.9
METHODS = {"minitron_depth": "depth", "minitron_width": "width", "wanda": "sparse"}
LAST = "wanda"
"""The method that differs from the others in one place."""
SHARES = (0.25, 0.5, 0.75)
SEQUENCES, NOISE, SEED_NOISE = 64, 0.006, 0.0002
PER_QUARTER = 0.01

Truth = Callable[[str, str, str, float], float]
"""True lead of a run over its baseline by arm, method, match and share; of arm "usual", the gap without distillation.
"""


def all_true(arm: str, method: str, match: str, share: float) -> float:
    """Every claim holds, each by some standard errors at least."""
    del method, match
    return {"usual": 0.1, "distilled": 0.05, "early": PER_QUARTER * (share - 1) / 0.25}.get(arm, 0.02)


def but(arm: str, value: float) -> Truth:
    """Everything holds, except that an arm of one method has another lead; of moments, another slope per quarter."""

    def truth(arm_: str, method: str, match: str, share: float) -> float:
        if (arm_, method) != (arm, LAST) or match == "flops":
            return all_true(arm_, method, match, share)
        return value * (share - 1) / 0.25 if arm == "early" else value

    return truth


def study(truth: Truth, seeds: int, rng: np.random.Generator) -> tuple[list[ArmGroup], list[GapGroup]]:
    """The arms of a study and what they vary: every model has its own noise on sequences and luck with seeds."""

    def loss(mean: float) -> np.ndarray:
        luck = rng.normal(0, SEED_NOISE, (seeds, 1)) if seeds > 1 else 0.0
        return mean + luck + rng.normal(0, NOISE, (seeds, SEQUENCES))

    names = tuple(map(str, range(seeds)))
    keys = [("distilled", match, 1.0) for match in ("tokens", "flops")]
    keys += [("gradual", "tokens", 1.0), ("joint", "tokens", 1.0), *(("early", "tokens", share) for share in SHARES)]
    arms, gaps = [], []
    for method, kind in METHODS.items():
        usual = loss(5 - truth("usual", method, "", 1.0))
        place = (method, kind, "unstructured", 0.5, 1000)
        gaps.append(GapGroup("equal", *place, tuple(range(seeds)), names, names, usual, loss(5), loss(4)))
        for arm, match, share in keys:
            baseline = loss(4.5) if arm == "distilled" else usual
            run = loss(
                (4.5 if arm == "distilled" else 5 - truth("usual", method, "", 1.0)) - truth(arm, method, match, share)
            )
            arms.append(
                ArmGroup(arm, match, *place, "", share, tuple(range(seeds)), names, names, run, baseline, usual)
            )
    return arms, gaps


def verdict_rates(truth: Truth, seeds: int = 1) -> dict[str, Counter[str]]:
    """Share of each verdict on each claim."""
    rng = np.random.default_rng(11)
    rates: dict[str, Counter[str]] = {}
    for _ in range(STUDIES):
        for claim in arm_claims(*study(truth, seeds, rng), SETTINGS):
            rates.setdefault(claim.id, Counter())[claim.verdict] += 1 / STUDIES
    return rates


@pytest.fixture(autouse=True)
def no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts rest on p-values; the bootstrap, which takes most of the time, is for the intervals alone."""
    monkeypatch.setattr(statistics, "_bootstrap_interval", lambda *_: (np.nan, np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_true_claims_are_supported(seeds: int) -> None:
    rates = verdict_rates(all_true, seeds)
    assert list(rates) == ["D1", "D2", "D3", "D4"]
    for claim, found in rates.items():
        assert found["supported"] >= LEAST_POWER, (claim, found)
        assert found["contradicted"] <= MOST_ERRORS, (claim, found)


ARMS = {"D1": "distilled", "D2": "gradual", "D3": "joint", "D4": "early"}


@pytest.mark.slow
@pytest.mark.parametrize("claim", ARMS)
def test_a_claim_that_is_false_for_one_method_is_contradicted(claim: str) -> None:
    rates = verdict_rates(but(ARMS[claim], -PER_QUARTER))
    assert rates[claim]["contradicted"] >= LEAST_POWER, rates[claim]
    assert rates[claim]["supported"] == 0, rates[claim]
    for other in ARMS.keys() - {claim}:
        assert rates[other]["supported"] >= LEAST_POWER, (other, rates[other])


@pytest.mark.slow
@pytest.mark.parametrize("claim", ARMS)
def test_a_claim_that_just_fails_for_one_method_is_rarely_decided(claim: str) -> None:
    """The worst case of a wrong "supported": all comparisons but the one on the bound are clear."""
    rates = verdict_rates(but(ARMS[claim], 0.0))[claim]
    assert rates["supported"] <= MOST_ERRORS, rates
    assert rates["contradicted"] <= MOST_ERRORS, rates


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_pure_noise_is_rarely_taken_for_a_difference(seeds: int) -> None:
    for claim, rates in verdict_rates(lambda *_: 0.0, seeds).items():
        assert rates["supported"] <= MOST_ERRORS, (claim, rates)
        assert rates["contradicted"] <= MOST_ERRORS, (claim, rates)


@pytest.mark.slow
def test_no_advantage_survives_where_there_was_none() -> None:
    """A gap that only distillation brings about is no survival: the comparison stays open."""
    rates = verdict_rates(but("usual", 0.0))["D1"]
    assert rates["supported"] <= MOST_ERRORS, rates
    assert rates["contradicted"] <= MOST_ERRORS, rates


def test_the_change_of_the_gap_by_distillation_is_shown_but_not_judged() -> None:
    claim = arm_claims(*study(all_true, 1, np.random.default_rng(0)), SETTINGS)[0]
    assert len(claim.shown) == len(claim.comparisons) == 2 * len(METHODS)
    changes = [contrast.estimate.mean for contrast in claim.shown]
    assert changes == pytest.approx([-0.05] * len(changes), abs=4 * NOISE / np.sqrt(SEQUENCES) * 2)
    assert all(row["decision"] == "not judged" for row in claim.to_dict()["comparisons"][len(changes) :])


def test_a_study_without_arms_has_no_further_claims() -> None:
    assert arm_claims([], study(all_true, 1, np.random.default_rng(0))[1], SETTINGS) == []
