"""Losses of candidates on the windows so far, in a file, so that a killed scoring step resumes where it stopped.

The file is JSON with a hash of itself and a key that identifies the losses; a file with another key is not used. Sums
are written with all their digits, so that a resumed step ends with the same bits.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from pruning_vs_scratch.artifacts import is_sealed, sealed
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.pruning.facts import Candidate

log = logging.getLogger(__name__)


class Pass(BaseModel):
    """Losses of some candidates in a model of some blocks."""

    model_config = ConfigDict(extra="forbid")

    blocks: list[int]
    candidates: list[Candidate]
    sums: list[float]
    """The sum for each candidate over the windows so far, in nats."""
    windows: NonNegativeInt = 0
    flops: NonNegativeInt = 0


class FinishedLosses:
    """The finished losses, in memory and, if a path is given, in a file."""

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self._path = path
        self._key = key
        self._passes = [] if path is None or not path.exists() else _read(path, key)

    def of(self, blocks: Sequence[int], candidates: Sequence[Candidate]) -> Pass:
        """The finished losses of some candidates in a model of some blocks; changes take effect when they are saved."""
        asked = Pass(blocks=list(blocks), candidates=list(candidates), sums=[0.0] * len(candidates))
        for found in self._passes:
            if (found.blocks, found.candidates) == (asked.blocks, asked.candidates):
                return found
        self._passes.append(asked)
        return asked

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self._path is not None:
            passes = [each.model_dump() for each in self._passes]
            write_json(self._path, sealed({"key": self._key, "passes": passes}))


def _read(path: Path, key: str) -> list[Pass]:
    """The passes in a file; none, with a warning, if it is damaged or belongs to something else."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if not is_sealed(values):
            raise ValueError("it has changed since it was written")
        if values["key"] != key:
            raise ValueError("it is of another checkpoint, text, option or version")
        passes = [Pass.model_validate(each) for each in values["passes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        log.warning("%s is not continued (%s): all losses are taken from the beginning", path.name, error)
        return []
    log.info("%s: %d windows are finished", path.name, sum(each.windows for each in passes))
    return passes
