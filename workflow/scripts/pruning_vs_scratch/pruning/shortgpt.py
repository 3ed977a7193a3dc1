"""ShortGPT (Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2403.03853).

Block influence (equation 1): BI_i = 1 - E[cos(x_i, x_{i+1})], between the residual stream entering and leaving block
i, per token. The blocks with the lowest influence go; they need not be adjacent. All are scored once.
"""

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.pruned import Pruned
from pruning_vs_scratch.pruning.surgery import keep_blocks
from pruning_vs_scratch.study import Target


def block_influence(entering: torch.Tensor, leaving: torch.Tensor) -> torch.Tensor:
    """Influence of a block on each window, shape (n,), from hidden states of shape (n, length, hidden); fp32."""
    cosine = functional.cosine_similarity(entering.float(), leaving.float(), dim=-1)
    return 1 - cosine.mean(dim=1)


def most_influential(influence: list[float], count: int) -> list[int]:
    """Indices of the ``count`` blocks to keep, ascending; of equal influences the later block stays."""
    ranked = sorted(range(len(influence)), key=lambda i: (influence[i], i))
    return sorted(ranked[len(influence) - count :])


def prune(model: LlamaForCausalLM, target: Target, stream: CalibrationStream) -> Pruned:
    """Keep the ``target.shape.layers`` most influential blocks."""
    influence = []
    for block in model.model.layers:
        entering = stream.hidden
        stream.advance(block)
        per_window = [block_influence(x, y) for x, y in zip(entering, stream.hidden, strict=True)]
        influence.append(float(torch.cat(per_window).double().mean()))
    kept = most_influential(influence, target.shape.layers)
    return Pruned(keep_blocks(model, kept), kept={"blocks": kept}, scores={"block_influence": influence})
