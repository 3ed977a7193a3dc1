"""Goals that learned masks lead to, and masks from a tiny parent to them."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from models import SHAPE
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import Masks, ShapeMasks

PARENT = replace(SHAPE, norm_eps=1e-2)
"""Three query heads a key-value head; an eps that is felt."""
FEWER_HEADS: dict[str, Any] = {"hidden_size": 15, "ffn_size": 23, "heads": 4, "layers": 3}
"""Of each group one query head goes."""
FEWER_GROUPS: dict[str, Any] = {"hidden_size": 15, "ffn_size": 23, "heads": 3, "kv_heads": 1, "layers": 3}
"""One of the two groups goes."""
GOALS: dict[str, dict[str, Any]] = {
    "all, query heads": FEWER_HEADS,
    "all, groups": FEWER_GROUPS,
    "hidden": {"hidden_size": 10},
    "ffn": {"ffn_size": 9},
    "query heads": {"heads": 2},
    "groups": {"heads": 3, "kv_heads": 1},
    "layers": {"layers": 2},
}
each_goal = pytest.mark.parametrize("goal", GOALS)
each_variant = pytest.mark.parametrize("variant", ["tied", "untied", "biased"])
both_heads = pytest.mark.parametrize("goal", [FEWER_HEADS, FEWER_GROUPS], ids=["query heads", "groups"])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shape_masks(goal: dict[str, Any], **changes: Any) -> ShapeMasks:
    """Masks from ``PARENT`` to a goal, with log alphas far apart."""
    parent = replace(PARENT, **changes)
    masks = ShapeMasks(parent, replace(parent, **goal), seed=0)
    with torch.no_grad():
        for position, log_alpha in enumerate(masks.mask_parameters()):
            log_alpha.copy_(torch.randn(log_alpha.shape, generator=seeded(position)))
    return masks


def tensors_of(masks: Masks) -> dict[str, torch.Tensor]:
    """The existing masks, by dimension."""
    values = {field.name: getattr(masks, field.name) for field in fields(masks)}
    return {name: value for name, value in values.items() if value is not None}


def same(left: Masks, right: Masks) -> bool:
    pairs = tensors_of(left), tensors_of(right)
    return pairs[0].keys() == pairs[1].keys() and all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])
