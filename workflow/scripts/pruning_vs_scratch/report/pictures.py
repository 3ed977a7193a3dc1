"""The figures of a study as the page holds them."""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import StudyFigure

CAPTIONS = REPOSITORY / "workflow"
"""Where the captions lie that the catalogue names."""
SCALE = 0.6
"""How large a figure is shown, so that its type is as large as the page's."""
PNG_SIZE = slice(16, 24)
"""Bytes of a PNG that hold its width and height in pixels."""


@dataclass(frozen=True)
class Picture:
    """A figure, its bytes included."""

    name: str
    caption: str
    data: str
    """The PNG, as an address that holds it."""
    width: int
    """As it is shown, in the pixels of a page, where there is room."""
    height: int

    @property
    def title(self) -> str:
        """The figure's name in words."""
        return self.name.replace("_", " ").capitalize()


def pictures(folder: Path, figures: Mapping[str, StudyFigure]) -> tuple[list[Picture], Sequence[str]]:
    """Figures of a study that have data, in their order, and the names of those that have none.

    Raises:
        UserError: a figure is missing, or no figure has data.
    """
    found = [figure for figure in figures.values() if _has_data(folder, figure)]
    if not found:
        raise UserError(f"no figure in {folder} has data: draw the study's figures first")
    return [_picture(folder, figure) for figure in found], [
        name for name, figure in figures.items() if figure not in found
    ]


def _has_data(folder: Path, figure: StudyFigure) -> bool:
    """Whether a figure shows anything: its data are next to it, below one line of headings."""
    path = folder / f"{figure.name}.csv"
    try:
        with path.open(encoding="utf-8") as lines:
            return sum(bool(line.strip()) for line, _ in zip(lines, range(2), strict=False)) == 2
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}): draw the study's figures again") from error


def _picture(folder: Path, figure: StudyFigure) -> Picture:
    path = folder / f"{figure.name}.png"
    try:
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[PNG_SIZE])
        caption = (CAPTIONS / figure.caption).read_text(encoding="utf-8").strip()
    except (OSError, struct.error) as error:
        raise UserError(f"cannot read {path} ({error}): draw the study's figures again") from error
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(figure.name, caption, address, round(SCALE * width), round(SCALE * height))
