"""How fast a device works: a table of measured and published rates, each with its source."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.errors import UserError, nearest_of_all
from pruning_vs_scratch.tables.write import write_csv

SHIPPED = Path("config/throughput.csv")
"""Rates that come with the project."""
USER = Path("config/throughput.user.csv")
"""Your own rates, ignored by git; they take precedence over the shipped ones."""

Work = Literal["train", "forward", "extract", "train_tokenizer", "tokenize"]
Unit = Literal["TFLOP/s", "tokens/s"]
PROCESSOR = "cpu"
"""The device of work without a GPU: one core."""
AUTO: tuple[Precision, ...] = ("bf16", "fp32")
"""What ``precision: auto`` may become: the first that the table has for a device."""


class Rate(Section):
    """One row: the sustained throughput of a device for a kind of work and a model size."""

    device: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    """A GPU such as h100, or cpu: one core."""
    precision: Precision | None = None
    """Arithmetic; none for text."""
    work: Work
    params_from: int = 0
    """Fewest parameters to which the row applies."""
    params_below: PositiveInt | None = None
    """Parameters from which on it does not apply; none: no bound."""
    rate: Annotated[float, Field(gt=0)]
    """Rate of one device."""
    unit: Unit
    kind: Literal["measured", "published", "assumed"]
    source: Annotated[str, Field(min_length=1)]

    def serves(self, device: str, precision: str | None, work: str, params: int) -> bool:
        """Whether the row applies to that work."""
        within = self.params_from <= params and (self.params_below is None or params < self.params_below)
        return (self.device, self.precision, self.work) == (device, precision, work) and within


COLUMNS: tuple[str, ...] = tuple(Rate.model_fields)


class ThroughputTable:
    """Rates in order of precedence."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self.rates = rates

    @classmethod
    def read(cls, files: Iterable[Path]) -> "ThroughputTable":
        """Read tables; of two rows that apply, that of the earlier file counts.

        Raises:
            UserError: a table is missing, or a table or row is invalid.
        """
        files = list(files)
        for file in files:
            if not file.exists() and file != USER:
                refuse_elsewhere(file)
                raise UserError(f"no throughput table {file}: correct --throughput")
        return cls([rate for file in files for rate in read_rates(file)])

    def require_device(self, device: str) -> None:
        """Refuse a device without any rate.

        Raises:
            UserError: names the nearest, all of them, and how to add one.
        """
        devices = sorted({rate.device for rate in self.rates})
        if device not in devices:
            raise UserError(
                f"unknown device {device!r}; {nearest_of_all(device, devices)}. "
                f"To add one, run a study on it, then pvs rates STUDY --device NAME, or write its rates into {USER}"
            )

    def find(self, device: str, precision: str | None, work: Work, params: int = 0) -> Rate:
        """The first row that applies.

        Raises:
            UserError: none applies; says what is missing, and how to add it.
        """
        for rate in self.rates:
            if rate.serves(device, precision, work, params):
                return rate
        self.require_device(device)
        raise UserError(self._missing(device, precision, work, params))

    def precision(self, device: str, configured: str) -> str:
        """The arithmetic of training on a device: the configured one, or with ``auto`` the best in the table."""
        if configured != "auto":
            return configured
        known = {rate.precision for rate in self.rates if (rate.device, rate.work) == (device, "train")}
        return next((precision for precision in AUTO if precision in known), AUTO[-1])

    def _missing(self, device: str, precision: str | None, work: str, params: int) -> str:
        what = f"{work} in {precision} of {params / 1e6:,.4g}M parameters" if precision else work
        text = f"no rate for {what} on {device!r} in {SHIPPED} or {USER}"
        rows = [rate for rate in self.rates if (rate.device, rate.work) == (device, work)]
        has = ", ".join(_span(rate) for rate in rows) or "nothing of this work"
        return f"{text}; rates for this device: {has}. Add a row, or measure: pvs rates STUDY --device DEVICE"


def _span(rate: Rate) -> str:
    below = f"{rate.params_below / 1e6:,.4g}M" if rate.params_below else "any"
    return f"{rate.precision} {rate.params_from / 1e6:,.4g}M to {below}"


def read_rates(file: Path) -> list[Rate]:
    """The rows of one table; none if there is no such file.

    Raises:
        UserError: a row is not valid; names its line and what is wrong.
    """
    if not file.exists():
        return []
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is no table of rates: {str(error).strip()}") from error
    if list(table.columns) != list(COLUMNS):
        raise UserError(f"{file} has the columns {', '.join(table.columns)}; they must be {', '.join(COLUMNS)}")
    rows = [{str(key): value for key, value in row.items() if value != ""} for row in table.to_dict("records")]
    return [Rate.from_option(f"{file}, line {line}", row) for line, row in enumerate(rows, start=2)]


def write_rates(rates: Iterable[Rate], file: Path) -> None:
    """Write a table that ``read_rates`` reads."""
    table = pd.DataFrame([rate.model_dump() for rate in rates], columns=list(COLUMNS), dtype=object)
    write_csv(file, table)
