"""state.json of a training state: the counters, the hashes of the other files, and a hash of itself."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from pruning_vs_scratch.artifacts import SEAL, is_sealed, sealed
from pruning_vs_scratch.files import STATE_FILE, FileFacts, write_json


@dataclass
class TrainState:
    """Counters of a run in progress."""

    step: int = 0
    """Optimiser steps done."""
    tokens_seen: int = 0
    """Tokens that went through the forward pass, over all processes."""
    seconds: float = 0.0
    """Wall time over all attempts."""
    tokens_trunk: int = 0
    """Tokens seen in shared trunks, before this run continued from there."""
    seconds_trunk: float = 0.0
    """Wall time spent in shared trunks."""
    loader: dict[str, Any] = field(default_factory=dict)
    """State of a loader whose batches are not a pure function of the step."""
    metrics: FileFacts | None = None
    """The metrics of all steps up to this one."""


class StateFile(BaseModel):
    """The content of the file. A state of an earlier version of this project has no hashes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    spec: str
    """Hash of the plan."""
    step: NonNegativeInt
    tokens_seen: NonNegativeInt
    seconds: NonNegativeFloat
    tokens_trunk: NonNegativeInt
    seconds_trunk: NonNegativeFloat
    loader: dict[str, Any]
    metrics: FileFacts | None = None
    files: dict[str, FileFacts] = {}
    """Size and hash of the other files of the folder, by name."""
    sha256: str | None = None
    """Hash of the rest of this file."""

    @property
    def state(self) -> TrainState:
        """The counters."""
        return TrainState(**self.model_dump(exclude={"spec", "files", SEAL}))


class Damage(Exception):
    """A state has changed since it was written; says how."""


def write_state_file(folder: Path, spec: str, state: TrainState, files: dict[str, FileFacts]) -> None:
    """Write the file into a state's folder."""
    write_json(folder / STATE_FILE, sealed({"spec": spec, **asdict(state), "files": files}))


def read_state_file(folder: Path) -> StateFile:
    """Read the file of a state's folder.

    Raises:
        Damage: it is missing, or has changed since it was written.
    """
    try:
        values = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        found = StateFile.model_validate(values)
    except FileNotFoundError as error:
        raise Damage(f"{STATE_FILE} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise Damage(f"{STATE_FILE} is not of the expected form ({where}: {first['msg']})") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Damage(f"{STATE_FILE} cannot be read ({error})") from error
    if (found.files or found.metrics or found.sha256) and not is_sealed(values):
        raise Damage(f"{STATE_FILE} has changed since it was written")
    return found
