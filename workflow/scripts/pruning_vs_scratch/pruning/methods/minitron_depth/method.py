"""Minitron depth pruning (Sreenivas et al., "LLM Pruning and Distillation in Practice", 2408.11796, section 2.2).

One contiguous run of blocks goes: the one without which the language-model loss is lowest. The hidden states before a
run are the whole model's, so one pass over the blocks serves all candidates: a candidate is born of the whole model's
states where its run begins, waits while the run goes by, and moves on behind it. Each block comes to the device once
for a chunk of windows; a chunk is as large as the host buffer holds with all candidates side by side.
Option ``criterion: closest``, of this study's authors: the run goes whose removal leaves the loss nearest to the
whole model's.
"""

from collections.abc import Sequence

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.llama import block_index
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import Request, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.minitron_depth.facts import Candidate, MinitronDepthOptions, depth_candidates
from pruning_vs_scratch.study.shape import ModelShape

States = list[torch.Tensor]
"""Hidden states of each batch of a chunk, on the host."""


def losses(stream: CalibrationStream, candidates: Sequence[Candidate]) -> dict[Candidate, float]:
    """Language-model loss of each candidate, in nats per token."""
    sums = dict.fromkeys(candidates, 0.0)
    fitting = stream.buffer_bytes // (stream.bytes_per_window * (len(candidates) + 1))
    chunk = max(1, fitting // len(stream.hidden[stream.batches[0]]))
    for first in range(0, len(stream.batches), chunk):
        batches = stream.batches[first : first + chunk]
        for candidate, states in _last_states(stream, candidates, batches).items():
            sums[candidate] += sum(map(stream.language_model_loss, batches, states))
    return {candidate: total / stream.tokens for candidate, total in sums.items()}


def _last_states(
    stream: CalibrationStream, candidates: Sequence[Candidate], batches: Sequence[slice]
) -> dict[Candidate, States]:
    """Hidden states that enter the final norm, for each candidate."""
    whole = [stream.hidden[batch] for batch in batches]
    last_start = max(start for _, start in candidates)
    states: dict[Candidate, States] = {}
    for block in stream.model.blocks("Minitron-depth"):
        index = block_index(block)
        states |= {(run, start): whole for run, start in candidates if start == index}
        for run, start in states:
            if start + run <= index:
                states[run, start] = _run_all(stream, block, states[run, start])
        if index < last_start:
            whole = _run_all(stream, block, whole)
    return states | {(run, start): whole for run, start in candidates if start == stream.shape.layers}


def _run_all(stream: CalibrationStream, block: nn.Module, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
    return [stream.run(block, states).cpu() for states in hidden]


def score(stream: CalibrationStream, goals: list[ModelShape], options: MinitronDepthOptions) -> Scores:
    """``loss_without_N`` of each start of a run of N blocks, shape (starts,); ``loss`` of the whole model, shape ()."""
    layers = stream.shape.layers
    found = losses(stream, depth_candidates(layers, (goal.layers for goal in goals), options))
    whole = found.pop((0, layers), None)
    scores = {} if whole is None else {"loss": torch.tensor(whole, dtype=torch.float64)}
    for run in dict.fromkeys(run for run, _ in found):
        values = [loss for (length, _), loss in found.items() if length == run]
        scores[f"loss_without_{run}"] = torch.tensor(values, dtype=torch.float64)
    return scores


def start_of_run(without: Sequence[float], whole: float | None) -> int:
    """The start of the run that goes: of the lowest loss, or of that nearest to ``whole``; of equals the earlier."""
    costs = list(without) if whole is None else [abs(loss - whole) for loss in without]
    return costs.index(min(costs))


def keep(scores: Scores, parent: ModelShape, request: Request) -> Kept:
    """Keep what lies before and behind the run that costs least.

    Raises:
        UserError: the scores know no run of that length.
    """
    run = parent.layers - request.target.shape.layers
    if f"loss_without_{run}" not in scores:
        raise UserError(
            f"the scores hold no losses without {run} blocks, which {request.target.name} asks for; score the "
            "checkpoint again with that shape"
        )
    whole = float(scores["loss"]) if request.options.criterion == "closest" else None
    start = start_of_run(scores[f"loss_without_{run}"].tolist(), whole)
    return Kept(blocks=[i for i in range(parent.layers) if not start <= i < start + run])


METHOD = StructuredMethod(score, keep)
