"""Writing a trained model as a plain Hugging Face checkpoint."""

from pathlib import Path
from typing import Any

from pruning_vs_scratch.models.portable import write_config
from pruning_vs_scratch.models.tensors import CheckpointWriter
from pruning_vs_scratch.training.sharding import whole_tensors
from pruning_vs_scratch.training.world import World


def write_checkpoint(decoder: Any, folder: Path, world: World) -> None:
    """Write weights and configuration to an existing folder, assembling one weight at a time from its shards.

    All processes call it together; the first one writes.
    """
    writer = CheckpointWriter(folder)
    for name, tensor in whole_tensors(decoder):
        if world.is_first:
            writer.add({name: tensor.cpu()})
    if world.is_first:
        writer.close()
        decoder.config.architectures = [type(decoder).__name__]
        write_config(decoder.config, folder)
        decoder.generation_config.save_pretrained(folder)
