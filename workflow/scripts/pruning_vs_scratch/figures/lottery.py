"""What the weights are worth, and what the structure or mask alone: pruned, rewound, from scratch, and random masks."""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pruning_vs_scratch.figures import choose, findings, rows, style
from pruning_vs_scratch.tables.load import Tables, records

ROW_INCHES = 0.32
KEYS = ["method", "pattern", "granularity", "ratio", "budget"]
RANDOM = "random"
"""The method whose masks know nothing of the weights."""
STARTS: dict[str, dict[str, Any]] = {
    "pruned": {"marker": "o", "markerfacecolor": None},
    "rewound": {"marker": "^", "markerfacecolor": "white"},
    "scratch": {"marker": "s", "markerfacecolor": "white"},
}
LABELS = {
    "pruned": "structure or mask, with the trained weights",
    "rewound": "with the parent's initial weights",
    "scratch": "with other random weights",
}
"""What of the parent each model starts from."""

COLUMNS = [
    "row", *KEYS, "start", "loss", "low", "high", "seeds", "sequences", "dataset", "confidence", "runs",
]  # fmt: skip


def data(tables: Tables) -> pd.DataFrame:
    """What is drawn: a row per method, ratio, budget and start, of comparisons that were rewound, and of random masks
    of their ratios and budgets. ``row`` counts the comparisons from the top.
    """
    gaps = choose.measured(tables, "equal", "rewind")
    rewound = gaps[gaps["setting"] == "rewind"]
    equal = gaps[gaps["setting"] == "equal"]
    kin = ["pattern", "ratio", "budget"]
    compared = pd.MultiIndex.from_frame(equal[KEYS]).isin(pd.MultiIndex.from_frame(rewound[KEYS]))
    alike = pd.MultiIndex.from_frame(equal[kin]).isin(pd.MultiIndex.from_frame(rewound[kin]))
    equal = equal[compared | ((equal["method"] == RANDOM) & alike)]
    parts = [
        _side(equal, "retrained", "pruned"),
        _side(rewound, "scratch", "rewound"),
        _side(equal, "scratch", "scratch"),
    ]
    found = choose.coarsest_first(pd.concat(parts, ignore_index=True))
    return found.assign(row=found.groupby(KEYS, sort=False).ngroup()).reindex(columns=COLUMNS)


def _side(gaps: pd.DataFrame, side: str, start: str) -> pd.DataFrame:
    losses = {end: gaps[f"loss_{side}{suffix}"] for end, suffix in (("loss", ""), ("low", "_low"), ("high", "_high"))}
    return gaps.assign(**losses, runs=gaps[side], start=start)


def draw(tables: Tables, study: str) -> Figure:
    """A row per comparison, with a marker per start."""
    drawn = data(tables)
    figure = style.new_figure(2, 1.1 + ROW_INCHES * (drawn["row"].nunique() or 4))
    axes = figure.subplots()
    if drawn.empty:
        style.say_nothing_to_draw(axes, "This study rewinds no weights.")
    else:
        _draw_rows(axes, drawn, style.series_styles(tables.gaps))
        style.explain(figure, drawn, _handles(), _note(drawn), columns=3)
    style.name_study(figure, tables, study, findings.lottery(drawn), drawn)
    return figure


def _draw_rows(axes: Axes, drawn: pd.DataFrame, styles: style.Styles) -> None:
    for row in records(drawn):
        look = STARTS[row["start"]] | {"color": styles[(row["method"], row["pattern"])].colour}
        axes.plot([row["loss"]], [row["row"]], linestyle="none", **look)
    random = dict.fromkeys(drawn.loc[drawn["method"] == RANDOM, "row"], "random mask")
    rows.label(axes, rows.names(drawn) | random)
    axes.set_xlabel(f"loss on {drawn['dataset'].iloc[0]} (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(style.MOST_TICKS))
    style.row_grid(axes)


def _handles() -> list[Artist]:
    return [
        style.entry(LABELS[start], color=style.PARENT_COLOUR, linestyle="", **look) for start, look in STARTS.items()
    ]


def _note(drawn: pd.DataFrame) -> str:
    shared = "Intervals of losses, which are mostly shared, are in the figure's data."
    return f"{rows.shared(drawn, 'All trained on')}{shared}"
