"""Stored tables of studies that figures are drawn from in tests, and what is seen on a figure."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.figures.catalogue import FIGURES
from pruning_vs_scratch.tables.arms import arm_groups, arm_table
from pruning_vs_scratch.tables.crossover import crossover_table
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.task_gaps import task_gap_table
from pruning_vs_scratch.tables.transfer import transfer_table
from synthetic_arms import write_arms
from synthetic_tables import BUDGETS, SEARCH, write_figure_tables, write_tables

SETTINGS = ClaimsConfig(resamples=200)
STUDIES: dict[str, dict[str, Any]] = {
    "whole": {"search": SEARCH},
    "seeds": {"seeds": (0, 1, 2), "search": SEARCH[:3]},
    "one_budget": {"budgets": BUDGETS[:1]},
    "one_ratio": {"ratios": [0.5]},
    "five_budgets": {"budgets": [10 * 10**9, 30 * 10**9, 50 * 10**9, 250 * 10**9, 500 * 10**9]},
    "no_full": {"full": False, "items": False, "methods": [("shortgpt", "dense")]},
    "sparse": {"methods": [("wanda", "unstructured")]},
    "width": {"methods": [("minitron_width", "dense")]},
    "holes": {"lost": 2},
    "unmatched": {"lost": None},
    "arms": {"arms": True, "rewind": True, "budgets": BUDGETS[:1]},
}
"""Options of each study. ``lost``: comparisons without a value; None: there are no comparisons."""


def stored(folder: Path, *, lost: int | None = 0, arms: bool = False, **options: Any) -> Tables:
    """Write all tables that figures read."""
    tables = write_tables(folder, noise=0.05, **{"items": True} | options)
    write_figure_tables(folder, tables)
    if arms:
        tables = write_arms(folder, noise=0.05)
        arm_table(arm_groups(tables, "test"), tables.arm_pairs, SETTINGS).to_csv(folder / "arms.csv", index=False)
    groups = [] if lost is None else gap_groups(tables, "test")
    gaps, task_gaps = gap_table(groups, SETTINGS), task_gap_table(groups, tables.items, SETTINGS)
    gaps.loc[gaps.index < (lost or 0), ["loss_retrained", "gap", "low", "high"]] = None
    task_gaps.loc[task_gaps.index < (lost or 0), ["accuracy_retrained", "difference", "low", "high"]] = None
    crossovers = crossover_table(groups, tables.runs, SETTINGS)
    crossovers.loc[crossovers.index < (lost or 0), ["measured", "residual"]] = None
    transfers = transfer_table(groups, tables.runs, SETTINGS)
    transfers.loc[transfers.index < (lost or 0), ["loss_retrained", "scratch_tokens"]] = None
    transfers.to_csv(folder / "transfer.csv", index=False)
    crossovers.to_csv(folder / "crossover.csv", index=False)
    gaps.to_csv(folder / "gaps.csv", index=False)
    task_gaps.to_csv(folder / "task_gaps.csv", index=False)
    return Tables(folder)


def drawn(name: str, tables: Tables, size: FigureSize = "column") -> Figure:
    with style.settings(size):
        figure = FIGURES[name].drawing.draw(tables, "demo")
        FigureCanvasAgg(figure).draw()
    figure.set_label(size)
    return figure


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is seen, with its box in pixels."""
    with style.settings(figure.get_label()):  # where ticks go depends on the size of their type
        return _texts(figure)


def _texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    found = list(figure.texts)
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        found += [*axes.texts, axes.title]
        if axes.axison:
            found += [axes.xaxis.label, axes.yaxis.label]
            found += tick_labels(axes)
    return [(text, text.get_window_extent()) for text in found if text.get_text() and text.get_visible()]


def tick_labels(axes: Any) -> list[Text]:
    labels = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        labels += [
            tick.label1
            for tick in axis.get_major_ticks()
            if low <= tick.get_loc() <= high and tick.label1.get_visible()
        ]
    return labels


def words(figure: Figure) -> str:
    """Everything that is written on a figure, without the breaks of lines."""
    return " ".join(text.get_text() for text, _ in texts(figure)).replace("\n", " ")


def points(axes: Any) -> list[tuple[float, float]]:
    """The markers of all intervals."""
    return [(float(x), float(y)) for container in axes.containers for x, y in container.lines[0].get_xydata()]


def columns_of(rows: pd.DataFrame, *names: str) -> list[tuple[float, ...]]:
    return [tuple(float(row[name]) for name in names) for _, row in rows.iterrows()]


WITHOUT_TORCH = """
import runpy, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{name} is not needed here")

sys.meta_path.insert(0, NoTorch())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
