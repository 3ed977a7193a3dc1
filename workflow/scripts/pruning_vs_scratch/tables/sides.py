"""Both sides of a method over their budgets: its pruned models, and their target from scratch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_vs_scratch.tables.gaps import GapGroup, series_label
from pruning_vs_scratch.tables.power_law import PARAMETERS, PowerLaws, fit_power_laws
from pruning_vs_scratch.tables.statistics import Matrix

JUDGED = ("equal", "full")
"""Settings whose runs count; rewound baselines start from different weights."""


@dataclass(frozen=True, eq=False)
class Series:
    """Models of one kind, trained on several budgets; seeds are averaged."""

    tokens: tuple[int, ...]
    """Budgets in ascending order."""
    losses: Matrix
    """Losses of shape (budgets, sequences)."""
    runs: tuple[str, ...]
    """The run of the first seed for each budget."""

    @property
    def law(self) -> PowerLaws:
        """The law through the mean losses."""
        return fit_power_laws(self.tokens, self.losses.mean(axis=1))

    @property
    def has_law(self) -> bool:
        """Whether its budgets determine a law."""
        return len(self.tokens) >= PARAMETERS

    @property
    def checks_law(self) -> bool:
        """Whether it has more budgets than a law has parameters, so that the fit can be checked."""
        return len(self.tokens) > PARAMETERS


@dataclass(frozen=True, eq=False)
class Sides:
    """A method at a ratio."""

    method: str
    granularity: str
    pattern: str
    ratio: float
    retrained: Series
    """The pruned models by retraining tokens."""
    scratch: Series
    """The target from scratch, at equal and at full budgets."""
    equal: tuple[GapGroup, ...]
    """Comparisons at equal budgets, by budget."""
    full: tuple[GapGroup, ...]
    seeds: int
    """Smallest number of seeds of any budget."""
    extra: int | None
    """Tokens of a full budget beyond retraining; None without one."""

    @property
    def label(self) -> str:
        """For people: 'Wanda 2:4 0.5'."""
        return f"{series_label(self.method, self.pattern)} {self.ratio:g}"


def all_sides(groups: Sequence[GapGroup], runs: pd.DataFrame) -> list[Sides]:
    """Every method of a study at each of its ratios, in the order of the comparisons; ``runs`` is runs.csv."""
    members: dict[tuple[str, str, str, float], list[GapGroup]] = {}
    for group in groups:
        if group.setting in JUDGED:
            members.setdefault((group.method, group.granularity, group.pattern, group.ratio), []).append(group)
    tokens = runs.set_index("run")["tokens_train"].astype(int)
    return [_sides(key, found, tokens) for key, found in members.items()]


def _sides(key: tuple[str, str, str, float], members: Sequence[GapGroup], tokens: pd.Series) -> Sides:
    ordered = sorted(members, key=lambda group: group.budget)
    equal, full = (tuple(group for group in ordered if group.setting == setting) for setting in JUDGED)
    retrained = {group.budget: (group.loss_retrained, group.retrained[0]) for group in ordered}
    scratch = {tokens[group.scratch[0]]: (group.loss_scratch, group.scratch[0]) for group in ordered}
    extra = tokens[full[-1].scratch[0]] - full[-1].budget if full else None
    seeds = min(len(group.seeds) for group in ordered)
    return Sides(*key, _series(retrained), _series(scratch), equal, full, seeds, extra)


def _series(models: Mapping[int, tuple[Matrix, str]]) -> Series:
    budgets = tuple(sorted(models))
    losses = np.stack([models[budget][0].mean(axis=0) for budget in budgets])
    return Series(budgets, losses, tuple(models[budget][1] for budget in budgets))
