"""pruning.json: what a pruning step kept and how it chose, stored with the checkpoint that it made."""

from pathlib import Path
from typing import Any

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MASK_FILE, PRUNING_FILE, read_json
from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.masks import PackedMask, has_pattern, read_packed_masks
from pruning_vs_scratch.pruning.surgery import cut_model


def earlier_step(model: Path) -> dict[str, Any] | None:
    """The record of the pruning step that made a checkpoint, without its scores; None if there was none."""
    path = Path(model) / PRUNING_FILE
    if not path.exists():
        return None
    return {name: value for name, value in read_json(path).items() if name != "scores"}


def masks_of(pruned: Path) -> dict[str, PackedMask]:
    """The masks of a sparse checkpoint, by the names of its weights, packed as they are stored.

    Raises:
        UserError: they are missing or damaged, or do not keep the pattern that the checkpoint was pruned to.
    """
    masks = read_packed_masks(pruned / MASK_FILE)
    pattern = (earlier_step(pruned) or {}).get("target", {}).get("pattern") or "unstructured"
    for name, mask in masks.items():
        if pattern != "unstructured" and not has_pattern(mask.whole, pattern):
            raise UserError(f"{pruned / MASK_FILE}: the mask of {name} is not {pattern}, as {PRUNING_FILE} says")
    return masks


def cut_like(model: CausalLM, pruned: Path) -> CausalLM:
    """Cut a model of a parent's shape as a pruned checkpoint was cut from that parent, step by step.

    Raises:
        UserError: the checkpoint has no record of its pruning.
    """
    record = earlier_step(pruned)
    if record is None:
        raise UserError(f"{pruned} holds no {PRUNING_FILE}: it is not a pruned checkpoint")
    for step in _in_order(record):
        model = cut_model(model, Kept.from_dict(step["kept"]))
    return model


def _in_order(record: dict[str, Any]) -> list[dict[str, Any]]:
    earlier = record.get("before")
    return [*(_in_order(earlier) if earlier else []), record]
