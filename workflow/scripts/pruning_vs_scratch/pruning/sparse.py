"""The blocks of a sparse model, pruned one at a time, each after the pruned ones before it."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.parts import BLOCK_PREFIX, LINEARS_BY_INPUT
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import block_index, block_linear
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream, observing_inputs
from pruning_vs_scratch.pruning.method import PrunedBlock, PrunedLayer, PruningSpec, Scores, SparseMethod, Statistic

Statistics = dict[str, torch.Tensor]
"""A statistic of an input, by the name of the first linear layer that reads it."""


def sparse_blocks(
    model: BlockwiseModel,
    method: SparseMethod,
    spec: PruningSpec,
    stream: CalibrationStream | None = None,
    scores: Scores | None = None,
) -> Iterator[PrunedBlock]:
    """Prune block by block. With a stream, a block's statistics are taken after the pruned blocks before it; with
    scores, they are those of the dense model; a method without statistics needs neither.

    Raises:
        UserError: a layer's inputs, Hessian or weights do not allow it; the layer is named.
    """
    for block, stored in model.blocks_beside_stored(spec.target.name):
        if stream is not None:
            statistics = observed_statistics(method, block, stream)
        else:
            statistics = {name: value.to(model.device) for name, value in _of_block(scores or {}, block).items()}
        pruned = _prune_block(method, block, stored, statistics, spec)
        # The next block's need as much again.
        del statistics
        if stream is not None and block_index(block) + 1 < model.shape.layers:
            stream.advance(block)
        elif stream is not None:
            stream.release()
        yield PrunedBlock(
            stored | {f"{name}.weight": layer.weight for name, layer in pruned.items()},
            {f"{name}.weight": layer.mask for name, layer in pruned.items()},
            {f"{name}.weight": layer.facts for name, layer in pruned.items() if layer.facts},
        )


def dense_statistics(method: SparseMethod, stream: CalibrationStream, task: str) -> Scores:
    """Statistics of all inputs in the dense model, by the full name of the first layer that reads each."""
    scores: Scores = {}
    for block in stream.model.blocks(task):
        found = observed_statistics(method, block, stream, advancing=True)
        scores |= {f"{BLOCK_PREFIX}{block_index(block)}.{name}": value.cpu() for name, value in found.items()}
    return scores


def observed_statistics(
    method: SparseMethod, block: nn.Module, stream: CalibrationStream, *, advancing: bool = False
) -> Statistics:
    """Statistics of the inputs of a block's linear layers."""
    assert method.statistic is not None
    statistics: dict[str, Statistic] = {names[0]: method.statistic() for names in LINEARS_BY_INPUT}
    with observing_inputs({block.get_submodule(name): seen.see for name, seen in statistics.items()}):
        (stream.advance if advancing else stream.observe)(block)
    return {name: seen.value for name, seen in statistics.items()}


def _prune_block(
    method: SparseMethod, block: nn.Module, stored: Tensors, statistics: Statistics, spec: PruningSpec
) -> dict[str, PrunedLayer]:
    """Prune the linear layers of a block in place; return them on the CPU, as they will be stored. The weights to prune
    are the stored ones, which may have more digits than the block's.
    """
    pruned: dict[str, PrunedLayer] = {}
    for names in LINEARS_BY_INPUT:
        pruned |= _prune_readers(method, block, names, stored, statistics.get(names[0]), spec)
    return pruned


def _prune_readers(
    method: SparseMethod,
    block: nn.Module,
    names: Sequence[str],
    stored: Tensors,
    statistic: torch.Tensor | None,
    spec: PruningSpec,
) -> dict[str, PrunedLayer]:
    """Prune the linear layers of a block that read one input."""
    prefix, device = f"{BLOCK_PREFIX}{block_index(block)}.", block_linear(block, names[0]).weight.device
    weights: Tensors = {prefix + name: stored[f"{name}.weight"].to(device, copy=True) for name in names}
    if statistic is not None and not torch.isfinite(statistic).all():
        raise UserError(f"the inputs of {next(iter(weights))} hold NaN or inf: the checkpoint is damaged")
    try:
        layers = method.prune(weights, statistic, spec)
    except ValueError as error:
        raise UserError(f"{' and '.join(weights)}: {error}") from error
    pruned = {}
    for name, layer in zip(names, layers.values(), strict=True):
        # Through the stored dtype: later blocks see what the checkpoint will contain.
        written = layer.weight.to(stored[f"{name}.weight"].dtype)
        block_linear(block, name).weight.copy_(written)
        pruned[name] = PrunedLayer(layer.mask.cpu(), written.cpu(), layer.facts)
    return pruned


def _of_block(scores: Scores, block: nn.Module) -> Statistics:
    prefix = f"{BLOCK_PREFIX}{block_index(block)}."
    return {name.removeprefix(prefix): value for name, value in scores.items() if name.startswith(prefix)}
