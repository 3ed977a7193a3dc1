"""Language-model losses without runs of blocks, for many runs in one pass over the blocks.

The hidden states before a run are the whole model's, so one pass over the blocks serves all candidates: a candidate
starts from the whole model's states where its run begins, waits while the run passes, and moves on after it. Some
windows pass at a time, as placement.py decides; the losses after each of these passes are kept, and saved where a
killed process will find them when it resumes (finished_losses.py).
"""

from collections.abc import Sequence

import torch
from torch import nn

from pruning_vs_scratch.counting import Count
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.facts import Candidate
from pruning_vs_scratch.pruning.placement import side_by_side

States = list[torch.Tensor]
"""Hidden states of each batch of a pass."""


def losses(
    stream: CalibrationStream, candidates: Sequence[Candidate], task: str, blocks: Sequence[int] | None = None
) -> dict[Candidate, float]:
    """Language-model loss of each candidate, in nats per token.

    ``blocks`` are those that the model is assumed to have (default: all); candidates count their positions. Sums are
    taken batch by batch, so that they do not depend on how many pass at a time.
    """
    present = range(stream.shape.layers) if blocks is None else blocks
    way = side_by_side(
        len(candidates) + 1,
        stream.bytes_per_window * len(stream.hidden[stream.batches[0]]),
        stream.batch_size,
        stream.model.bytes_of_blocks,
        stream.buffers,
        blocks_at_hand=not stream.model.reads_files,
    )
    if way.blocks_on_device:
        stream.model.keep_blocks()
    finished = stream.finished.of(present, candidates)
    stream.flops += finished.flops
    starts = range(finished.windows, stream.sequences, way.windows)
    with Count(task, len(starts) * len(present)) as count:
        for first in starts:
            batches = [batch for batch in stream.batches if first <= batch.start < first + way.windows]
            before = stream.flops
            states = _last_states(stream, candidates, batches, present, count, on_device=way.states_on_device)
            for number, candidate in enumerate(candidates):
                for batch, hidden in zip(batches, states.pop(candidate), strict=True):
                    finished.sums[number] += stream.language_model_loss(batch, hidden)
            finished.windows, finished.flops = batches[-1].stop, finished.flops + stream.flops - before
            stream.finished.save()
    return {
        candidate: total / stream.predicted_tokens for candidate, total in zip(candidates, finished.sums, strict=True)
    }


def _last_states(
    stream: CalibrationStream,
    candidates: Sequence[Candidate],
    batches: Sequence[slice],
    present: Sequence[int],
    count: Count,
    *,
    on_device: bool,
) -> dict[Candidate, States]:
    """Hidden states that enter the final norm, for each candidate."""

    def moved_on(block: nn.Module, hidden: States) -> States:
        leaving = [stream.run(block, states) for states in hidden]
        return leaving if on_device else [stream.on_host(states) for states in leaving]

    whole = [stream.hidden[batch] for batch in batches]
    last_start = max(start for _, start in candidates)
    states: dict[Candidate, States] = {}
    for position, index in enumerate(present):
        block = stream.model.block(index)
        states |= {(run, start): whole for run, start in candidates if start == position}
        for run, start in states:
            if start + run <= position:
                states[run, start] = moved_on(block, states[run, start])
        if position < last_start:
            whole = moved_on(block, whole)
        count.update()
    return states | {(run, start): whole for run, start in candidates if start == len(present)}
