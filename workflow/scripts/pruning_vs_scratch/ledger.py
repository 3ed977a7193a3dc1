"""The ledger: what each run and phase really read and spent."""

from dataclasses import asdict, dataclass
from typing import Any

COLUMNS_OF_A_MATCH = (
    "sequence_length", "global_batch_size", "peak_lr", "schedule", "precision", "seed",
)  # fmt: skip
"""What both sides of any pair share."""
COLUMNS_OF_AN_EQUAL_MATCH = ("tokens_planned", "tokens_seen", "window_start", "window_end", "steps")
"""What both sides of an equal-budget pair share on top of that."""


@dataclass(frozen=True)
class LedgerRow:
    """One run and phase. Tokens and windows are integers; ``tokens_seen`` is counted by the loop that read them."""

    run: str
    phase: str
    """pretrain, prune, retrain, scratch or rewind."""
    tokens_planned: int
    tokens_seen: int
    window_start: int
    window_end: int
    sequence_length: int
    global_batch_size: int
    """Sequences a step; for pruning that trains nothing, sequences run through the model together."""
    steps: int
    """Optimiser steps; none for pruning that trains nothing."""
    peak_lr: float | None
    schedule: str | None
    precision: str
    seed: int
    flops: int
    """Floating-point operations executed, masked weights included."""
    wall_seconds: float
    world_size: int
    spec_hash: str
    source_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the columns."""
        return asdict(self)
