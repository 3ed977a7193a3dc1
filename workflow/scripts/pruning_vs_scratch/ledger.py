"""The ledger: what each run and phase really read and spent."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError

COLUMNS_OF_A_MATCH = (
    "sequence_length", "global_batch_size", "peak_lr", "schedule", "precision", "seed",
)  # fmt: skip
"""What both sides of any pair share."""
COLUMNS_OF_AN_EQUAL_MATCH = ("tokens_planned", "tokens_seen", "window_start", "window_end", "steps")
"""What both sides of an equal-budget pair share on top of that."""
COLUMNS_OF_A_TRUNK = (
    "window_start", "sequence_length", "global_batch_size", "peak_lr", "objective", "precision", "seed",
)  # fmt: skip
"""What a run shares with the trunk that it continues from; the schedule's name differs."""


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One run and phase. Tokens and windows are integers; ``tokens_seen`` is counted by the loop that read them.

    A run may go on from the state of a trunk that several runs share (a row of its own, phase trunk). Its tokens,
    windows, steps, FLOPs and seconds are then those of all that its weights went through, as if it had trained alone,
    so that runs can be compared. The columns that end in ``_trunk`` say how much of that was spent in shared trunks.
    What a study really spent is the sum of a column over all rows, less the sum of its ``_trunk`` column.
    """

    run: str
    phase: str
    """pretrain, acquire, prune, retrain, scratch, rewind, trunk, sweep or shape_search. A published parent (acquire)
    was trained elsewhere: nothing of it was counted here, so its row has no tokens."""
    tokens_planned: int
    tokens_seen: int
    tokens_trunk: int = 0
    """Of the tokens seen, those that were seen in shared trunks."""
    tokens_distinct: int
    """Of the tokens seen, those of different windows: fewer where text was read in several passes."""
    window_start: int
    """First sequence that was read. Sequences of a training run are numbered from the parent's first one; those of
    calibration text, and of text on which masks are learned, are numbered by themselves."""
    window_end: int
    """One past the last sequence."""
    sequence_length: int
    global_batch_size: int
    """Sequences per step; for pruning that trains nothing, sequences run through the model together."""
    steps: int
    """Optimiser steps; none for pruning that trains nothing."""
    peak_lr: float | None
    schedule: str | None
    objective: str | None = None
    """What training minimises: ce, or kd with its numbers; none for pruning that trains nothing."""
    precision: str
    seed: int
    flops: int
    """Floating-point operations executed, masked weights included."""
    flops_trunk: int = 0
    """Of these, those that were executed in shared trunks."""
    flops_teacher: int = 0
    """Operations of a teacher's forward passes, in addition."""
    flops_teacher_trunk: int = 0
    """Of these, those that were executed in shared trunks."""
    wall_seconds: float
    wall_seconds_trunk: float = 0.0
    """Of these, those that were spent in shared trunks."""
    world_size: int
    spec_hash: str
    source_hash: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any], path: Path) -> "LedgerRow":
        """The row that a run's manifest, read from ``path``, holds.

        Raises:
            UserError: it has none, or one of another version.
        """
        try:
            return cls(**manifest["facts"]["ledger"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} has no row of the ledger in this version's form: another version wrote it; delete its folder "
                "and run again"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the columns."""
        return asdict(self)
