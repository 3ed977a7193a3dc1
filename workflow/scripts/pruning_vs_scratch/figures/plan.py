"""A study before it is run: its stages as a graph, with jobs and hours; the longest chain is marked."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pruning_vs_scratch.figures import findings, style, words
from pruning_vs_scratch.planning.jobs import STAGES
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.text import LEAST_HOURS, hours
from pruning_vs_scratch.planning.throughput import PROCESSOR
from pruning_vs_scratch.tables.load import records

ROW_INCHES, MARGIN_INCHES = 0.62, 0.95
"""Height of a box with the room around it, and of title and legend."""
PANELS = 2
BOW = -0.35
"""How far an arrow over several columns bends upwards, as a share of its length."""
CHAIN, OTHER = style.COLOURS[1], "#666666"
Links = Mapping[str, set[str]]
"""By stage, the stages that need it."""


def data(plan: Plan) -> pd.DataFrame:
    """What is drawn: a row a stage, with its place, its hours, whether it is in the longest chain, and what follows."""
    # The second step of a chain is scored on what the first left: drawn are the links onwards alone.
    onwards = plan.links[plan.links["stage"].map(STAGES.index) < plan.links["next"].map(STAGES.index)]
    links = direct({str(stage): set(rows["next"]) for stage, rows in onwards.groupby("stage")})
    columns = depths(plan.stages["stage"], links)
    in_chain = plan.chain.groupby("stage")["hours"].sum()
    return plan.stages.assign(
        column=[columns[stage] for stage in plan.stages["stage"]],
        chain_hours=[in_chain.get(stage, 0.0) for stage in plan.stages["stage"]],
        next=[";".join(sorted(links.get(stage, set()), key=STAGES.index)) for stage in plan.stages["stage"]],
    )


def direct(links: Links) -> dict[str, set[str]]:
    """The links that no chain of other links replaces."""

    def reached(stage: str) -> set[str]:
        following = links.get(stage, set())
        return following.union(*map(reached, following))

    return {
        stage: following - set().union(*(reached(other) for other in following)) for stage, following in links.items()
    }


def depths(stages: Iterable[str], links: Links) -> dict[str, int]:
    """How many stages lie before each, on the longest way to it."""
    before = {stage: [first for first, following in links.items() if stage in following] for stage in stages}

    def depth(stage: str) -> int:
        return max((depth(first) + 1 for first in before[stage]), default=0)

    return {stage: depth(stage) for stage in before}


def draw(plan: Plan) -> Figure:
    """Stages from left to right, in the order in which they need each other."""
    drawn = data(plan)
    rows = int(drawn["column"].value_counts().max())
    figure = style.new_figure(PANELS, rows * ROW_INCHES + MARGIN_INCHES)
    axes = figure.subplots()
    places = _places(drawn)
    boxes = {
        row["stage"]: _box(axes, places[row["stage"]], _words(row), CHAIN if row["chain_hours"] else OTHER)
        for row in records(drawn)
    }
    for row in records(drawn):
        for following in filter(None, row["next"].split(";")):
            _arrow(axes, boxes[row["stage"]], boxes[following])
    axes.set_xlim(-0.5, drawn["column"].max() + 0.5)
    axes.set_ylim(-rows / 2, rows / 2)
    axes.set_axis_off()
    marked = style.entry("longest chain of jobs", color=CHAIN, marker="s", linestyle="")
    style.legend(figure, [marked], _note(plan), columns=1)
    unit, name = ("core_hours", "core-hours") if plan.device == PROCESSOR else ("gpu_hours", "GPU-hours")
    found = findings.plan(drawn, unit, name, plan.device)
    style.head(figure, found, f"Study {plan.study.name}, before it is run")
    return figure


def _places(drawn: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Centres: a column for each depth, its stages one below the other around the middle."""
    places = {}
    for column, rows in drawn.groupby("column"):
        for i, stage in enumerate(rows["stage"]):
            places[str(stage)] = (float(str(column)), (len(rows) - 1) / 2 - i)
    return places


def _words(row: dict[str, Any]) -> str:
    spent, unit = (row["gpu_hours"], "GPU-h") if row["gpu_hours"] else (row["core_hours"], "core-h")
    told = f"\n{hours(spent)} {unit}" if spent >= LEAST_HOURS else ""
    return f"{row['stage']}\n{words.plural(row['jobs'], 'job')}{told}"


def _box(axes: Axes, place: tuple[float, float], words: str, colour: str) -> Text:
    look = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "linewidth": style.scaled(1.2)}
    return axes.text(*place, words, ha="center", va="center", fontsize=style.small_points(), bbox=look, zorder=3)


def _arrow(axes: Axes, start: Text, end: Text) -> None:
    """From one box to another; over more than one column in a bow, around what is in between."""
    (left, _), (right, _) = start.get_position(), end.get_position()
    look = {
        "arrowstyle": "-|>", "color": OTHER, "linewidth": style.scaled(0.8), "shrinkA": 0, "shrinkB": 1,
        "patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(),
        "connectionstyle": f"arc3,rad={BOW if right - left > 1 else 0.0}",
    }  # fmt: skip
    axes.annotate("", xy=end.get_position(), xytext=start.get_position(), arrowprops=look, zorder=1)


def _note(plan: Plan) -> str:
    kinds = ", ".join(dict.fromkeys(plan.rates["kind"]))
    return (
        "An arrow: jobs of the right stage need files of the left. However many devices there are, the study takes at "
        f"least as long as its longest chain. Rates: {kinds}."
    )
