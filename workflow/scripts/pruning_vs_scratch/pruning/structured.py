"""The blocks of a structurally pruned model, cut one at a time."""

from collections.abc import Callable, Iterator

from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PrunedBlock, PruningSpec, Scores, StructuredMethod
from pruning_vs_scratch.pruning.surgery import cut_block, kept_blocks


def structured_blocks(
    model: BlockwiseModel, kept: Kept, finish: Callable[[Tensors, Tensors, int], Tensors] = lambda cut, _whole, _i: cut
) -> Iterator[PrunedBlock]:
    """What is left of the kept blocks, in order.

    ``finish`` makes the block that is written from the cut one, the whole one and its index in the parent.
    """
    for position, index in enumerate(kept_blocks(model.shape, kept)):
        whole = model.block_tensors(index)
        yield PrunedBlock(finish(cut_block(whole, kept, position, model.shape), whole, index))


def chosen_blocks(
    model: BlockwiseModel, method: StructuredMethod, scores: Scores, kept: Kept, spec: PruningSpec
) -> Iterator[PrunedBlock]:
    """The same, finished by the method that chose what is kept."""

    def finish(cut: Tensors, whole: Tensors, block: int) -> Tensors:
        return method.finish(cut, whole, scores, kept, block, model.shape, spec)

    return structured_blocks(model, kept, finish)
