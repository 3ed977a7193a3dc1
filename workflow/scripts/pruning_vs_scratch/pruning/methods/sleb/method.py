"""SLEB (Song et al., "SLEB: Streamlining LLMs through Redundancy Verification and Elimination of Transformer Blocks",
2402.09025, algorithm 1).

Greedy: each round computes the language-model loss without each remaining block, and drops the block without which it
is lowest. The first and the last block stay. What a deeper model drops, a shallower one drops too, so one scoring
serves every depth down to the shallowest goal.
"""

import math
from typing import Any

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.depth_losses import losses
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.methods.sleb.facts import removable, rounds_of
from pruning_vs_scratch.study.shape import ModelShape


def score(stream: CalibrationStream, goals: list[ModelShape], _options: Any) -> Scores:
    """``order`` of the dropped blocks and ``loss`` without those so far, shape (rounds,), in nats per token.

    ``loss_without_block``, shape (layers,): the whole model's without one block; NaN for the first and the last.
    """
    layers = stream.shape.layers
    left = list(range(layers))
    order: list[int] = []
    lowest: list[float] = []
    alone = [math.nan] * layers
    for _ in range(rounds_of(stream.shape, goals)):
        found = losses(stream, removable(len(left)), "SLEB", left)
        by_block = {left[position]: loss for (_, position), loss in found.items()}
        if not order:
            alone = [by_block.get(block, math.nan) for block in range(layers)]
        gone = min(by_block, key=lambda block: (by_block[block], block))
        order.append(gone)
        lowest.append(by_block[gone])
        left.remove(gone)
    return {
        "order": torch.tensor(order),
        "loss": torch.tensor(lowest, dtype=torch.float64),
        "loss_without_block": torch.tensor(alone, dtype=torch.float64),
    }


def keep(scores: Scores, parent: ModelShape, spec: PruningSpec) -> Kept:
    """Keep all except the blocks that were dropped first.

    Raises:
        UserError: the scores have too few rounds.
    """
    count = parent.layers - spec.target.shape.layers
    order = scores["order"].tolist()
    if count > len(order):
        raise UserError(
            f"the scores know {len(order)} blocks that go, but {spec.target.name} asks for {count}; score the "
            "checkpoint again with that shape"
        )
    return Kept(blocks=sorted(set(range(parent.layers)) - set(order[:count])))


METHOD = StructuredMethod(score, keep)
