"""Scores that are not finite are refused: a mean would leave them out, or hide what happened. No torch here."""

from typing import TYPE_CHECKING

from pruning_vs_scratch.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("run", "dataset", "sequence", "task", "item")
"""Columns that say which window or item a score is of."""


def require_finite(scores: "pd.DataFrame", of: str) -> None:
    """Check the losses or scores of a table of windows or items (columns ``loss`` or ``score``).

    Raises:
        UserError: some are infinite or missing; says how many, and where the first one stands.
    """
    column = "loss" if "loss" in scores else "score"
    wrong = scores[~scores[column].abs().lt(float("inf"))]
    if wrong.empty:
        return
    first = wrong.iloc[0]
    where = ", ".join(f"{name} {first[name]}" for name in PLACE if name in first)
    raise UserError(
        f"{of}: {len(wrong)} of {len(scores)} values of {column} are not finite, the first at {where}: the "
        "model's weights are damaged, or its training diverged"
    )
