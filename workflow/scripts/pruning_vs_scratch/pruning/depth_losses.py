"""Language-model losses without runs of blocks, for many runs in one pass over the blocks.

The hidden states before a run are the whole model's, so one pass over the blocks serves all candidates: a candidate is
born of the whole model's states where its run begins, waits while the run goes by, and moves on behind it. Each block
comes to the device once for a chunk of windows; a chunk is as large as the host buffer holds with all candidates side
by side.
"""

from collections.abc import Sequence

import torch
from torch import nn

from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.facts import Candidate

States = list[torch.Tensor]
"""Hidden states of each batch of a chunk, on the host."""


def losses(
    stream: CalibrationStream, candidates: Sequence[Candidate], task: str, blocks: Sequence[int] | None = None
) -> dict[Candidate, float]:
    """Language-model loss of each candidate, in nats per token.

    ``blocks`` are those that the model is taken to have (default: all); candidates count their positions.
    """
    present = range(stream.shape.layers) if blocks is None else blocks
    sums = dict.fromkeys(candidates, 0.0)
    fitting = stream.buffer_bytes // (stream.bytes_per_window * (len(candidates) + 1))
    chunk = max(1, fitting // len(stream.hidden[stream.batches[0]]))
    for first in range(0, len(stream.batches), chunk):
        batches = stream.batches[first : first + chunk]
        for candidate, states in _last_states(stream, candidates, batches, present, task).items():
            sums[candidate] += sum(map(stream.language_model_loss, batches, states))
    return {candidate: total / stream.predicted_tokens for candidate, total in sums.items()}


def _last_states(
    stream: CalibrationStream,
    candidates: Sequence[Candidate],
    batches: Sequence[slice],
    present: Sequence[int],
    task: str,
) -> dict[Candidate, States]:
    """Hidden states that enter the final norm, for each candidate."""
    whole = [stream.hidden[batch] for batch in batches]
    last_start = max(start for _, start in candidates)
    states: dict[Candidate, States] = {}
    for position, block in enumerate(stream.model.blocks(task, present)):
        states |= {(run, start): whole for run, start in candidates if start == position}
        for run, start in states:
            if start + run <= position:
                states[run, start] = _run_all(stream, block, states[run, start])
        if position < last_start:
            whole = _run_all(stream, block, whole)
    return states | {(run, start): whole for run, start in candidates if start == len(present)}


def _run_all(stream: CalibrationStream, block: nn.Module, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
    return [stream.run(block, states).cpu() for states in hidden]
