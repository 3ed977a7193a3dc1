"""Minitron depth pruning (Sreenivas et al., "LLM Pruning and Distillation in Practice", 2408.11796, section 2.2).

One contiguous run of blocks is dropped: the one without which the language-model loss is lowest (depth_losses.py).
Option ``criterion: closest``, of this study's authors: the run whose removal leaves the loss closest to the whole
model's.
"""

from collections.abc import Sequence

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.depth_losses import losses
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.minitron_depth.facts import MinitronDepthOptions, depth_candidates
from pruning_vs_scratch.study.shape import ModelShape


def score(stream: CalibrationStream, goals: list[ModelShape], options: MinitronDepthOptions) -> Scores:
    """``loss_without_N`` of each start of a run of N blocks, shape (starts,); ``loss`` of the whole model, shape ()."""
    layers = stream.shape.layers
    found = losses(stream, depth_candidates(layers, (goal.layers for goal in goals), options), "Minitron-depth")
    whole = found.pop((0, layers), None)
    scores = {} if whole is None else {"loss": torch.tensor(whole, dtype=torch.float64)}
    for run in dict.fromkeys(run for run, _ in found):
        values = [loss for (length, _), loss in found.items() if length == run]
        scores[f"loss_without_{run}"] = torch.tensor(values, dtype=torch.float64)
    return scores


def start_of_run(without: Sequence[float], whole: float | None) -> int:
    """The start of the run to drop: the lowest loss, or the one closest to ``whole``; of equals the earlier."""
    costs = list(without) if whole is None else [abs(loss - whole) for loss in without]
    return costs.index(min(costs))


def keep(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep what is before and after the run that costs least.

    Raises:
        UserError: the scores have no run of that length.
    """
    run = parent.layers - spec.target.shape.layers
    if f"loss_without_{run}" not in scores:
        raise UserError(
            f"the scores hold no losses without {run} blocks, which {spec.target.name} asks for; score the "
            "checkpoint again with that shape"
        )
    whole = float(scores["loss"]) if spec.options.criterion == "closest" else None
    start = start_of_run(scores[f"loss_without_{run}"].tolist(), whole)
    return Kept(blocks=[i for i in range(parent.layers) if not start <= i < start + run])


METHOD = StructuredMethod(score, keep)
