"""Pinned published checkpoints: on the Hugging Face hub, in a Python package, or in a local folder."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.config.hub import DIGITS_OF_A_REVISION, Revision
from pruning_vs_scratch.config.pypi import PypiFile, Sha256


class HubCheckpoint(Section):
    """A repository of the Hugging Face hub at one commit; only its safetensors, configuration and tokenizer."""

    kind: Literal["hub"]
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    """Owner and name, such as meta-llama/Llama-3.1-8B."""
    revision: Revision
    """Commit on the hub: 40 hexadecimal digits."""
    sha256: dict[str, Sha256] = {}
    """SHA-256 by file, checked in addition to the hub's own hashes; files not listed are checked once."""

    @property
    def key(self) -> str:
        """Name of its folder under resources/checkpoints."""
        return f"{self.repository.replace('/', '___')}--{self.revision[:DIGITS_OF_A_REVISION]}"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.repository} at revision {self.revision}"


class PypiCheckpoint(PypiFile):
    """A GGUF file inside a pinned wheel; its weights are dequantised to fp32."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(whl|zip)$")]
    """File name on the index (a wheel)."""
    member: Annotated[str, Field(pattern=r"^[\w.+-]+(/[\w.+-]+)*\.gguf$")]
    """Path of the GGUF in the file."""

    @property
    def key(self) -> str:
        """Name of its folder under resources/checkpoints."""
        return f"{Path(self.member).stem}--{self.sha256[:DIGITS_OF_A_REVISION]}"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.member} of {self.file}"


class PathCheckpoint(Section):
    """A local folder with a checkpoint in safetensors, its configuration and its tokenizer."""

    kind: Literal["path"]
    path: str
    """The folder; relative paths start at the working folder."""
    sha256: dict[str, Sha256] = {}
    """SHA-256 by file. Files not listed here are not checked."""

    @property
    def key(self) -> str:
        """Name of its folder under resources/checkpoints."""
        return f"{Path(self.path).name}--{hashlib.sha256(self.path.encode()).hexdigest()[:DIGITS_OF_A_REVISION]}"

    @property
    def label(self) -> str:
        """Readable name, without the folder's location on this machine."""
        return f"the folder {Path(self.path).name}"


CheckpointSource = Annotated[HubCheckpoint | PypiCheckpoint | PathCheckpoint, Field(discriminator="kind")]
