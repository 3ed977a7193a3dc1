"""Minitron depth pruning (Sreenivas et al., "LLM Pruning and Distillation in Practice", 2408.11796, section 2.2).

One contiguous run of blocks goes: the one whose removal leaves the lowest language-model loss. The hidden
states before a run are the whole model's, so they are computed once for all runs. Deviation: the authors' script drops
the run whose removal leaves the score nearest to the whole model's; here the lowest loss wins.
"""

from transformers import LlamaForCausalLM

from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.pruning.surgery import keep_blocks
from pruning_vs_scratch.study import Target


def losses_without_run(model: LlamaForCausalLM, run: int, stream: CalibrationStream) -> list[float]:
    """Language-model loss with blocks [s, s + run) removed, for every start s; nats per token."""
    blocks = list(model.model.layers)
    losses = []
    for start in range(len(blocks) - run + 1):
        hidden = stream.hidden
        for block in blocks[start + run :]:
            hidden = stream.run(block, hidden)
        losses.append(stream.language_model_loss(hidden))
        if start + run < len(blocks):
            stream.advance(blocks[start])
    return losses


def prune(model: LlamaForCausalLM, target: Target, stream: CalibrationStream) -> Pruned:
    """Remove the contiguous run of blocks that costs the least loss; of equal losses the earlier run goes."""
    layers = len(model.model.layers)
    run = layers - target.shape.layers
    losses = losses_without_run(model, run, stream)
    start = losses.index(min(losses))
    kept = [i for i in range(layers) if not start <= i < start + run]
    return Pruned(keep_blocks(model, kept), kept={"blocks": kept}, scores={"loss_without_run": losses})
