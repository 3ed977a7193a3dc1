"""Every figure of a study, in the order in which they are shown, and what each is drawn from. No matplotlib here.

The rules, the report, the plan, archives, README and the drawing itself take the figures from ``FIGURES``.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pruning_vs_scratch.tables.load import Tables


class Drawing(Protocol):
    """A module of this folder that draws one figure."""

    def data(self, tables: "Tables") -> "pd.DataFrame":
        """Exactly what is drawn."""

    def draw(self, tables: "Tables", study: str) -> "Figure":
        """The figure."""


@dataclass(frozen=True)
class StudyFigure:
    """One figure: ``name`` is that of its files, of its module and of its caption."""

    name: str
    further: tuple[str, ...] = ()
    """Tables that it is drawn from beyond those of every figure."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Tables that it is drawn from: files under the study's results folder."""
        return ("tables/gaps.csv", "tables/runs.csv", *self.further)

    @property
    def caption(self) -> str:
        """What the report says of it: a file under the folder workflow, which Snakemake reads as a template."""
        return f"report/figures/{self.name}.rst"

    @property
    def drawing(self) -> Drawing:
        """What draws it; matplotlib is imported for it."""
        return cast(Drawing, import_module(f"{__package__}.{self.name}"))


FIGURES: dict[str, StudyFigure] = {
    figure.name: figure
    for figure in (
        StudyFigure("token_budget"),
        StudyFigure("full_budget"),
        StudyFigure("ratio"),
        StudyFigure("transfer", ("tables/transfer.csv", "tables/reported.csv")),
        StudyFigure("crossover", ("tables/crossover.csv",)),
        StudyFigure("granularity"),
        StudyFigure("tasks", ("tables/task_gaps.csv", "tables/items.parquet")),
        StudyFigure("training_curves", ("tables/curves.parquet", "tables/pairs.csv")),
        StudyFigure("importance", ("tables/importance.parquet",)),
        StudyFigure("shape_search", ("tables/shape_search.csv",)),
        StudyFigure("pareto", ("efficiency.csv", "tables/losses.parquet")),
        StudyFigure("reported", ("tables/reported.csv", "tables/task_gaps.csv")),
    )
}
"""By name."""


def needed_tables() -> list[str]:
    """What all figures together are drawn from, sorted."""
    return sorted({table for figure in FIGURES.values() for table in figure.needs})
