"""The blocks of a structurally pruned model, cut one at a time."""

from collections.abc import Iterator

from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PrunedBlock
from pruning_vs_scratch.pruning.surgery import cut_block, kept_blocks


def structured_blocks(model: BlockwiseModel, kept: Kept) -> Iterator[PrunedBlock]:
    """What is left of the kept blocks, in order."""
    for position, index in enumerate(kept_blocks(model.shape, kept)):
        yield PrunedBlock(cut_block(model.block_tensors(index), kept, position, model.shape))
