"""The figures of an archive that the user wants: which, of which methods, and in which style."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.figures import style
from pruning_vs_scratch.figures.catalogue import FIGURES, figures_of
from pruning_vs_scratch.figures.look import USUAL, Look, refuse_unknown
from pruning_vs_scratch.figures.save import save
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.load import Tables


@dataclass(frozen=True)
class Restyle:
    """What differs from the figures that a study draws; by default nothing."""

    figures: Sequence[str] = ()
    """Figures to draw; if empty, all that the study has."""
    methods: Sequence[str] = ()
    """Methods to show; if empty, all."""
    look: Look = USUAL

    def of(self, study: Study) -> Self:
        """The same with the names of the figures to draw for a study."""
        return replace(self, figures=self.figures or tuple(figures_of(study)))

    def draw(self, folder: Path, study: str, out: Path, size: FigureSize) -> None:
        """Draw the figures from a study's tables, at its size unless the style sets another.

        Raises:
            UserError: the study lacks a method.
        """
        tables, look = Tables(folder), self.look
        look.require_known(tables)
        if self.methods:
            refuse_unknown(self.methods, set(tables.gaps["method"].dropna()), f"--methods for study {study}")
            look = style.as_in_all(tables.gaps, look)
            tables = Tables(folder, frozenset(self.methods))
        for name in self.figures:
            save(FIGURES[name], tables, study, out, size, look)
