"""Writing a figure: PDF, PNG and the plotted data, whole or not at all, and the same bytes each time."""

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.figures.catalogue import StudyFigure
from pruning_vs_scratch.figures.look import USUAL, Look
from pruning_vs_scratch.files import atomic_file
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.write import write_csv

METADATA: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
"""Otherwise each drawing would differ in its date or in Matplotlib's version."""


def save(
    figure: StudyFigure, tables: Tables, study: str, folder: Path, size: FigureSize = "column", look: Look = USUAL
) -> None:
    """Draw a figure of the study's tables and write it as .pdf, .png and .csv to a folder."""
    drawing = figure.drawing
    write(drawing.data(tables), lambda: drawing.draw(tables, study), figure.name, folder, size, look)


def write(
    data: pd.DataFrame, draw: Callable[[], Figure], name: str, folder: Path, size: FigureSize = "column",
    look: Look = USUAL,
) -> None:  # fmt: skip
    """Write ``name``.csv with the plotted data, and .pdf and .png of what ``draw`` makes at that size, in that look."""
    write_csv(folder / f"{name}.csv", data)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph that it embeds
    with style.settings(size, look):
        figure = draw()
        for kind, metadata in METADATA.items():
            with atomic_file(folder / f"{name}.{kind}") as temporary:
                figure.savefig(temporary, format=kind, metadata=metadata)
