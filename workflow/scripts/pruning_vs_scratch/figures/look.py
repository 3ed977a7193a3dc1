"""A style file: the user's settings for the look of figures. Anything else stays as it is."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
from matplotlib.colors import is_color_like
from matplotlib.font_manager import get_font_names
from matplotlib.lines import Line2D
from pydantic import Field, ValidationError, field_validator

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.config.figures import FigureSize
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.pruning.catalogue import methods
from pruning_vs_scratch.tables.load import Tables

GENERIC_FONTS = ("serif", "sans-serif", "monospace")
OF_SIZE = "font.size"
"""The one Matplotlib setting that ``size`` determines, since the room for text depends on it."""
ByMethod = dict[str, str]
"""Values by method ('wanda'), or by method and pattern ('wanda 2:4'), which takes precedence."""


class Look(Section):
    """The settings of a style file."""

    font: str | None = None
    """An installed font family, or serif, sans-serif, monospace."""
    size: FigureSize | None = None
    """column: for print. talk: for slides."""
    panel_width: Annotated[float, Field(ge=2.5, le=10)] | None = None
    """Inches, at the size of a column."""
    colours: ByMethod = {}
    """As Matplotlib takes them: '#0072B2', 'black'."""
    markers: ByMethod = {}
    """As Matplotlib takes them: 'o', 's', '^'."""
    labels: ByMethod = {}
    """Names of methods."""
    matplotlib: dict[str, Any] = {}
    """Other Matplotlib settings, as in a matplotlibrc file: {axes.grid: true}."""

    @field_validator("font")
    @classmethod
    def _installed(cls, font: str | None) -> str | None:
        known = [*GENERIC_FONTS, *get_font_names()]
        if font is not None and font not in known:
            raise ValueError(f"the font {font!r} is not installed; {nearest(font, known)}")
        return font

    @field_validator("colours")
    @classmethod
    def _colours(cls, colours: ByMethod) -> ByMethod:
        if wrong := [colour for colour in colours.values() if not is_color_like(colour)]:
            raise ValueError(f"{wrong[0]!r} is not a colour; write '#0072B2' or a name such as 'black'")
        return colours

    @field_validator("markers")
    @classmethod
    def _markers(cls, markers: ByMethod) -> ByMethod:
        known = {str(marker) for marker, name in Line2D.markers.items() if name != "nothing"}
        if wrong := [marker for marker in markers.values() if marker not in known]:
            raise ValueError(f"{wrong[0]!r} is not a marker; write one such as 'o', 's', '^', 'D'")
        return markers

    @field_validator("matplotlib")
    @classmethod
    def _settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name, value in settings.items():
            if name == OF_SIZE:
                raise ValueError(f"{OF_SIZE} follows from size: set size, or panel_width")
            if name not in mpl.rcParams:
                raise ValueError(f"Matplotlib has no setting {name!r}; {nearest(name, _similar(name))}")
            try:
                mpl.rcParams.validate[name](value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name} cannot be {value!r} ({error})") from error
        return settings

    def require_known(self, tables: Tables) -> None:
        """Refuse names of methods that neither the catalogue nor the study has.

        Raises:
            UserError: names the first, with the nearest valid one.
        """
        named = [key.partition(" ")[0] for values in (self.colours, self.markers, self.labels) for key in values]
        if named:
            refuse_unknown(named, {*methods(), *tables.gaps["method"].dropna()}, "the style file")


USUAL = Look()
"""Figures without a style file."""


def refuse_unknown(named: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse unknown names of methods.

    Raises:
        UserError: names the first, with the nearest valid one.
    """
    for method in named:
        if method not in known:
            raise UserError(f"{where} names an unknown method {method!r}; {nearest(method, known)}")


def _similar(name: str) -> list[str]:
    """The Matplotlib settings of the same group, or the groups."""
    groups = {known.partition(".")[0]: None for known in mpl.rcParams}
    group = name.partition(".")[0]
    return [known for known in mpl.rcParams if known.partition(".")[0] == group] if group in groups else list(groups)


def read_look(path: Path) -> Look:
    """The settings in a style file.

    Raises:
        UserError: it is missing or not YAML, or has an unknown key or an invalid value; says which.
    """
    if not path.exists():
        raise UserError(f"no style file {path}: correct --style")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, such as font: serif")
    try:
        return Look.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in explained(error, Look))) from error
