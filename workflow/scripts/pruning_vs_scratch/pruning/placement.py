"""Where hidden states of calibration text and their blocks are stored. Arithmetic only: no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Buffers:
    """How many bytes hidden states may use."""

    host: int
    """Limit on the host; beyond it, states of the text are kept in a file."""
    device: int = 0
    """Limit on a GPU, including blocks that stay there; 0 if blocks run on the CPU."""

    def keep_on_device(self, states: int) -> bool:
        """Whether states of this size stay on the device between two blocks."""
        return 0 < states <= self.device


def pinned_bytes(size: int) -> int:
    """What torch allocates for pinned memory of a size: it rounds up to a power of two."""
    return 1 << (size - 1).bit_length()


@dataclass(frozen=True)
class SideBySide:
    """How candidates pass through the blocks together, some windows at a time."""

    blocks_on_device: bool
    """Each block is read once and stays."""
    states_on_device: bool
    windows: int
    """Windows that pass at a time, in whole batches: a multiple of the batch size."""


def side_by_side(
    sets: int, batch_bytes: int, batch_size: int, all_blocks: int, buffers: Buffers, *, blocks_at_hand: bool
) -> SideBySide:
    """The placement that reads blocks from files as rarely as the buffers allow.

    ``sets`` of hidden states live at a time, each of ``batch_bytes`` for a batch; ``all_blocks`` is the size of the
    blocks on the device. Blocks that stay there, or that are in the host's memory, cost nothing to pass through again,
    so one batch passes at a time: results can then be saved most often.
    """
    stay = buffers.keep_on_device(all_blocks)
    room = Buffers(buffers.host, buffers.device - (all_blocks if stay else 0))
    on_device = room.keep_on_device(sets * batch_bytes)
    fitting = (room.device if on_device else room.host) // (sets * batch_bytes)
    return SideBySide(stay, on_device, batch_size * (1 if stay or blocks_at_hand else max(1, fitting)))
