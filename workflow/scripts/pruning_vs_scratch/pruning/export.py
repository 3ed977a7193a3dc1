"""Writing a pruned model block by block as a plain Hugging Face checkpoint, and verifying the result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pruning_vs_scratch.families.parts import BLOCK_PREFIX
from pruning_vs_scratch.files import MASK_FILE
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import with_shape
from pruning_vs_scratch.models.portable import write_config
from pruning_vs_scratch.models.skeleton import Skeleton
from pruning_vs_scratch.models.tensors import CheckpointWriter, Tensors
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.masks import pack_mask, write_packed_masks
from pruning_vs_scratch.pruning.method import PrunedBlock
from pruning_vs_scratch.pruning.surgery import cut_outside, kept_blocks, kept_shape

PROBE_TOKENS = 16
"""Length of the sequence on which the written checkpoint is compared."""


@dataclass
class Exported:
    """What is known about a checkpoint once it is written."""

    masked_weights: int = 0
    """Weights that masks drop."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the method reports about single layers, by weight."""


def export(
    model: BlockwiseModel, kept: Kept, blocks: Iterable[PrunedBlock], folder: Path, *, low_memory: bool
) -> Exported:
    """Write the pruned blocks and the tensors around them to an existing folder.

    Raises:
        AssertionError: the checkpoint, loaded again, gives other logits than the blocks that were written.
    """
    config = with_shape(model.config, kept_shape(model.shape, kept), kept_blocks(model.shape, kept))
    config.architectures = model.config.architectures
    exported = Exported()
    outside = cut_outside(model.outside, kept, model.shape)
    writer, probe = CheckpointWriter(folder), Probe(config, outside)
    writer.add(outside)
    packed: Tensors = {}
    shapes: dict[str, list[int]] = {}
    for index, block in enumerate(blocks):
        prefix = f"{BLOCK_PREFIX}{index}."
        writer.add({prefix + name: tensor for name, tensor in block.tensors.items()})
        probe.advance(block.tensors, index)
        exported.facts |= {prefix + name: facts for name, facts in block.facts.items()}
        for name, mask in block.masks.items():
            packed[prefix + name], shapes[prefix + name] = pack_mask(mask), list(mask.shape)
            exported.masked_weights += int((~mask).sum())
    writer.close()
    write_config(config, folder)
    if packed:
        write_packed_masks(packed, shapes, folder / MASK_FILE)
    expected, tokens = probe.logits, probe.tokens
    # Free the probe's embeddings to make room for those of the written checkpoint.
    del probe, outside
    _require_equal(expected, _reloaded_logits(folder, tokens, low_memory=low_memory))
    return exported


class Probe:
    """A short sequence that passes through the pruned model as its blocks arrive; fp32 on the CPU."""

    def __init__(self, config: Any, outside: Tensors) -> None:
        self._skeleton = Skeleton(config, outside, torch.device("cpu"), torch.float32)
        self.tokens = torch.arange(min(PROBE_TOKENS, config.vocab_size))[None]
        self._states, self._keywords = self._skeleton.first_inputs(self.tokens)

    @torch.no_grad()
    def advance(self, tensors: Tensors, index: int) -> None:
        """Move through a block."""
        keywords = self._keywords[self._skeleton.layer_types[index]]
        self._states = self._skeleton.block(tensors, index)(self._states, **keywords)

    @property
    def logits(self) -> torch.Tensor:
        """Logits after the blocks so far, shape (1, length, vocabulary)."""
        return self._skeleton.logits(self._states)


def _reloaded_logits(folder: Path, tokens: torch.Tensor, *, low_memory: bool) -> torch.Tensor:
    """Logits of a written checkpoint: by transformers alone, or block by block if memory is short."""
    if not low_memory:
        with torch.no_grad():
            found: torch.Tensor = load_model(folder).eval()(input_ids=tokens, use_cache=False).logits
            return found
    written = BlockwiseModel.open(folder, torch.device("cpu"), low_memory=True)
    probe = Probe(written.config, written.outside)
    for index in range(written.shape.layers):
        probe.advance(written.block_tensors(index), index)
    return probe.logits


def _require_equal(expected: torch.Tensor, found: torch.Tensor) -> None:
    if not torch.equal(expected, found):
        worst = float((expected - found).abs().max())
        raise AssertionError(f"the written checkpoint gives other logits than the pruned model, by up to {worst:.3g}")
