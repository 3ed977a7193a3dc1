"""ShortGPT (Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2403.03853).

Block influence (equation 1): BI_i = 1 - E[cos(x_i, x_{i+1})], between the residual stream entering and leaving block i,
per token, averaged over the tokens of a window and then over windows. The blocks with the lowest influence are dropped;
they need not be adjacent. All are scored once.
"""

import torch
from torch.nn import functional

from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.facts import NoOptions
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.study.shape import ModelShape


def block_influence(entering: torch.Tensor, leaving: torch.Tensor) -> torch.Tensor:
    """Influence of a block on each window, shape (n,), from hidden states of shape (n, length, hidden); fp32."""
    cosine = functional.cosine_similarity(entering.float(), leaving.float(), dim=-1)
    return 1 - cosine.mean(dim=1)


def most_influential(influence: list[float], count: int) -> list[int]:
    """Indices of the ``count`` blocks to keep, ascending; of equal influences the later block is kept."""
    ranked = sorted(range(len(influence)), key=lambda i: (influence[i], i))
    return sorted(ranked[len(influence) - count :])


def score(stream: CalibrationStream, _goals: list[ModelShape], _options: NoOptions) -> Scores:
    """``block_influence``, shape (layers,)."""
    influence = []
    for block in stream.model.blocks("ShortGPT"):
        per_window = [block_influence(entering, leaving) for entering, leaving in stream.transitions(block)]
        influence.append(torch.cat(per_window).double().mean())
    return {"block_influence": torch.stack(influence).cpu()}


def keep(scores: Scores, _parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep the most influential blocks."""
    return Kept(blocks=most_influential(scores["block_influence"].tolist(), spec.target.shape.layers))


METHOD = StructuredMethod(score, keep)
