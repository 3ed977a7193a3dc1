"""Every figure, in the order in which they are shown, which study has it, and its tables. No matplotlib here.

The rules, the report, the plan and archives take the figures of a study from ``figures_of``; README and the drawing
itself from ``FIGURES``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from pruning_vs_scratch.pruning.catalogue import methods
from pruning_vs_scratch.study.evaluation import task_requests
from pruning_vs_scratch.study.runs import Arm
from pruning_vs_scratch.study.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pruning_vs_scratch.tables.load import Tables

LAW_BUDGETS, WORTH_BUDGETS = 3, 2
"""Budgets that a power law needs, and those from scratch between which a pruned start is worth something."""


class Drawing(Protocol):
    """A module of this folder that draws one figure."""

    def data(self, tables: "Tables") -> "pd.DataFrame":
        """Exactly what is drawn."""

    def draw(self, tables: "Tables", study: str) -> "Figure":
        """The figure."""


def _always(study: Study) -> bool:
    """Every study compares something at equal budgets."""
    del study
    return True


def _has_full_budgets(study: Study) -> bool:
    return any(pair.setting == "full" for pair in study.pairs)


def _has_tasks(study: Study) -> bool:
    return bool(task_requests(study.config, study.paths))


def _scores_blocks(study: Study) -> bool:
    facts = [methods().get(str(study.run(name).method)) for name in study.pruned_runs]
    return any(fact is not None and fact.importance for fact in facts)


def _searches_shapes(study: Study) -> bool:
    return bool(study.candidates)


def _has_arm(*arms: Arm) -> Callable[[Study], bool]:
    return lambda study: any(pair.arm in arms for pair in study.arms)


def _rewinds(study: Study) -> bool:
    return any(pair.setting == "rewind" for pair in study.pairs)


def _fits_laws(study: Study) -> bool:
    return _most_budgets(study, "equal") >= LAW_BUDGETS


def _compares_budgets(study: Study) -> bool:
    return _most_budgets(study, "equal", "full") >= WORTH_BUDGETS


def _most_budgets(study: Study, *settings: str) -> int:
    """The most budgets at which a method at a ratio is compared with scratch."""
    budgets: dict[tuple[str, str, float], set[tuple[str, int]]] = {}
    for pair in study.pairs:
        if pair.setting in settings:
            budgets.setdefault((pair.method, pair.pattern, pair.ratio), set()).add((pair.setting, pair.budget))
    return max(map(len, budgets.values()), default=0)


@dataclass(frozen=True)
class StudyFigure:
    """One figure: ``name`` is that of its files, of its module and of its caption."""

    name: str
    further: tuple[str, ...] = ()
    """Tables that it is drawn from beyond those of every figure."""

    needs: Callable[[Study], bool] = _always
    """Whether a study has data for it, which is known from the configuration."""

    @property
    def tables(self) -> tuple[str, ...]:
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
        StudyFigure("answer"),
        StudyFigure("token_budget"),
        StudyFigure("full_budget", needs=_has_full_budgets),
        StudyFigure("ratio"),
        StudyFigure("transfer", ("tables/transfer.csv", "tables/reported.csv"), _compares_budgets),
        StudyFigure("crossover", ("tables/crossover.csv",), _fits_laws),
        StudyFigure("tasks", ("tables/task_gaps.csv", "tables/items.parquet"), _has_tasks),
        StudyFigure("training_curves", ("tables/curves.parquet", "tables/pairs.csv")),
        StudyFigure("importance", ("tables/importance.parquet",), _scores_blocks),
        StudyFigure("shape_search", ("tables/shape_search.csv",), _searches_shapes),
        StudyFigure("objectives", ("tables/arms.csv",), _has_arm("distilled")),
        StudyFigure("schedules", ("tables/arms.csv",), _has_arm("gradual", "joint")),
        StudyFigure("moments", ("tables/arms.csv",), _has_arm("early")),
        StudyFigure("lottery", needs=_rewinds),
        StudyFigure("pareto", ("efficiency.csv", "tables/losses.parquet")),
        StudyFigure("reported", ("tables/reported.csv", "tables/task_gaps.csv", "tables/items.parquet")),
    )
}
"""By name."""


def figures_of(study: Study) -> dict[str, StudyFigure]:
    """The figures for which a study has data, by name."""
    return {name: figure for name, figure in FIGURES.items() if figure.needs(study)}


def needed_tables(figures: Iterable[StudyFigure]) -> list[str]:
    """What some figures together are drawn from, sorted."""
    return sorted({table for figure in figures for table in figure.tables})
