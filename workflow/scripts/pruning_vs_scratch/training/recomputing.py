"""Which decoder blocks are recomputed in the backward pass, so that their activations need not be kept.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 1604.06174.
"""

import logging
from typing import Any

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.models.device import device_memory_bytes
from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.training_memory import TrainingMemory, chosen_recomputing, memory_of_plan
from pruning_vs_scratch.training.world import World

log = logging.getLogger(__name__)


def recompute_blocks(
    decoder: Any, plan: TrainingPlan, world: World, precision: Precision, *, masked: bool = False
) -> None:
    """Make a model, whose masks may be learned, recompute blocks as planned; on a GPU, log the expected memory."""
    shape, shards, in_bf16 = shape_of(decoder.config), world.size // world.copies, precision == "bf16"
    on_device = device_memory_bytes(world.device)
    every = chosen_recomputing(shape, plan, shards=shards, in_bf16=in_bf16, device_bytes=on_device, masked=masked)
    if every is not None:
        decoder.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)
    if on_device is not None and world.is_first:
        expected = memory_of_plan(shape, plan, every, shards=shards, in_bf16=in_bf16, masked=masked)
        log.info("run %s: %s", plan.run, told(expected, every, on_device))


def told(expected: TrainingMemory, every: int | None, device_bytes: int) -> str:
    """The expected memory, as text."""
    blocks = {None: "no block", 1: "every block"}.get(every, f"one block in {every}")
    return (
        f"expects {expected.total / 1e9:.1f} of {device_bytes / 1e9:.0f} GB on each device (state "
        f"{expected.state / 1e9:.1f}, copies of weights {expected.weights / 1e9:.1f}, activations "
        f"{expected.activations / 1e9:.1f}, other {expected.working / 1e9:.1f}), {blocks} recomputed"
    )
