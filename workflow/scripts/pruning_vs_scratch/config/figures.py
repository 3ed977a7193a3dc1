"""How figures look."""

from typing import Literal

from pruning_vs_scratch.config.base import Section

FigureSize = Literal["column", "talk"]


class FiguresConfig(Section):
    """How figures look."""

    size: FigureSize = "column"
    """column: panels as wide as a journal's column. talk: larger panels, type and lines, for slides."""
