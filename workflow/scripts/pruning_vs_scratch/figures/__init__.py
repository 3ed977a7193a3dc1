"""The study's figures, drawn from stored tables alone. No torch here."""

from typing import Protocol

import pandas as pd
from matplotlib.figure import Figure

from pruning_vs_scratch.figures import (
    crossover,
    full_budget,
    granularity,
    importance,
    pareto,
    ratio,
    reported,
    shape_search,
    tasks,
    token_budget,
    training_curves,
    transfer,
)
from pruning_vs_scratch.tables.load import Tables


class Drawing(Protocol):
    """A module that draws one figure."""

    def data(self, tables: Tables) -> pd.DataFrame:
        """Exactly what is drawn."""

    def draw(self, tables: Tables, study: str) -> Figure:
        """The figure."""


FIGURES: dict[str, Drawing] = {
    "token_budget": token_budget,
    "full_budget": full_budget,
    "ratio": ratio,
    "transfer": transfer,
    "crossover": crossover,
    "granularity": granularity,
    "tasks": tasks,
    "training_curves": training_curves,
    "importance": importance,
    "shape_search": shape_search,
    "pareto": pareto,
    "reported": reported,
}
"""Every figure by the name of its files."""
