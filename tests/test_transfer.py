"""Power laws of the loss, and what a pruned start is worth in tokens from scratch, on losses of known laws."""

import numpy as np
import pytest
from scipy import optimize

from pruning_vs_scratch.tables.power_law import fit_power_laws
from pruning_vs_scratch.tables.transfer import Scratch, Start, Worth, pooled_misfit, worth

BUDGETS = (100_000, 300_000, 500_000, 2_500_000, 5_000_000)
SEQUENCES, TARGETS = 48, 6


def law(tokens: float) -> float:
    return float(2.5 + 1.2 * (tokens / 1e6) ** -0.35)


def losses(rng: np.random.Generator, difficulty: np.ndarray, mean: float, noise: float) -> np.ndarray:
    """Losses of one run: of its own level, on sequences that all runs share."""
    return mean + rng.normal(0, noise) + difficulty + rng.normal(0, 0.05, SEQUENCES)


def study(seed: int, noise: float, bend: float = 0.0) -> tuple[list[Start], list[float]]:
    """Retrained models of several targets, each with the budget at which scratch truly reaches its loss.

    ``bend`` is how far the truth swings around a power law.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 0.3, SEQUENCES)
    starts, truths = [], []
    for target in range(TARGETS):

        def truth(tokens: float, phase: int = target) -> float:
            return law(tokens) + bend * np.sin(1.5 * np.log(tokens) + phase)

        scratch = np.stack([losses(rng, difficulty, truth(budget), noise) for budget in BUDGETS])
        reached = float(np.exp(rng.uniform(np.log(BUDGETS[0] * 1.2), np.log(BUDGETS[-1] * 1.5))))
        pruned = losses(rng, difficulty, truth(reached), noise)
        starts.append(Start("wanda", "sparse", "unstructured", 0.5, 1000, pruned, Scratch(BUDGETS, scratch), 1))
        truths.append(reached)
    return starts, truths


def found(starts: list[Start]) -> Worth:
    return worth(starts[0], pooled_misfit([start.scratch for start in starts]), 0.95)


def holds(interval: Worth, tokens: float) -> bool:
    return (interval.low or 0.0) <= tokens <= (interval.high or np.inf)


@pytest.mark.parametrize("bend", [0.0, 0.02], ids=["power law", "no power law"])
def test_the_interval_holds_the_true_budget_as_often_as_it_says(bend: float) -> None:
    """At least 0.95 less three standard errors of 200 simulations; the law may be wrong."""
    hits = [holds(found(starts), truths[0]) for starts, truths in (study(seed, 0.005, bend) for seed in range(200))]
    assert np.mean(hits) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)


def test_intervals_are_wider_where_the_law_is_wrong() -> None:
    def width(bend: float) -> float:
        intervals = [found(study(seed, 0.003, bend)[0]) for seed in range(40)]
        return float(np.median([np.log(i.high / i.low) for i in intervals if i.low and i.high]))

    assert width(0.03) > 1.3 * width(0.0)


def test_the_grid_finds_the_least_squares_of_a_general_optimiser() -> None:
    """Sums of squares agree to 0.5 %, or are smaller."""
    tokens = np.asarray(BUDGETS, dtype=float)
    for seed in range(20):
        values = np.array([law(t) for t in tokens]) + np.random.default_rng(seed).normal(0, 0.01, len(tokens))

        def residuals(parameters: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return parameters[0] + parameters[1] * (tokens / 1e6) ** -parameters[2] - values

        best = optimize.least_squares(residuals, [2.0, 1.0, 0.3], bounds=([0, 0, 0.01], [9, 9, 4]))
        assert fit_power_laws(tokens, values).squares[0] <= 2 * best.cost * 1.005 + 1e-9


def test_a_law_is_inverted_where_it_reaches_a_loss_and_open_where_not() -> None:
    laws = fit_power_laws(BUDGETS, [[law(t) for t in BUDGETS]] * 2)
    reached = laws.tokens([law(1.7e6), 1.0])
    assert reached[0] == pytest.approx(1.7e6, rel=0.01)
    assert reached[1] == np.inf
    with pytest.raises(ValueError, match="needs 3 different budgets"):
        fit_power_laws([1, 2, 2], [1.0, 2.0, 2.0])


def start_of(budgets: tuple[int, ...], scratch: list[float], pruned: float) -> Start:
    constant = np.linspace(-0.1, 0.1, SEQUENCES)
    stored = Scratch(budgets, np.stack([value + constant for value in scratch]))
    return Start("shortgpt", "depth", "dense", 0.5, 10, pruned + constant, stored, 1)


def test_one_budget_of_scratch_says_nothing() -> None:
    assert worth(start_of((10,), [4.0], 3.5), None, 0.95) == Worth("one budget of scratch", None, None, None)


@pytest.mark.parametrize(
    ("pruned", "expected"),
    [
        (3.5, Worth("between two budgets", pytest.approx(200.0), 100, 400)),
        (2.5, Worth("beyond the data", None, 400, None)),
        (4.5, Worth("below the data", None, None, 100)),
    ],
)
def test_two_budgets_of_scratch_give_a_bracket(pruned: float, expected: Worth) -> None:
    assert worth(start_of((100, 400), [4.0, 3.0], pruned), None, 0.95) == expected


def test_nothing_is_stated_far_beyond_the_data() -> None:
    budgets = (100, 200, 400)
    scratch = [law(1e4 * t) for t in budgets]
    far = worth(start_of(budgets, scratch, law(1e4 * 2000)), None, 0.95)
    assert (far.status, far.tokens, far.low, far.high) == ("far beyond the data", None, 800.0, None)
    near = worth(start_of(budgets, scratch, law(1e4 * 600)), None, 0.95)
    assert near.status == "beyond the data"
    assert near.tokens == pytest.approx(600, rel=0.05)
