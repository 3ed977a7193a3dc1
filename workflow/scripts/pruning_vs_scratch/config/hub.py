"""Data sets of the Hugging Face hub, pinned."""

import re
from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import Section

Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
"""Owner and name, such as allenai/ai2_arc."""
DIGITS_OF_A_REVISION = 8


class HubDataset(Section):
    """One configuration of a data set on the hub."""

    dataset: DatasetName
    config: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] | None = None
    """Configuration, such as ARC-Easy; omit for a data set with a single one."""
    revision: Revision | None = None
    """Commit on the hub. If not set, the newest is used and recorded."""
    files: dict[Annotated[str, Field(pattern=r"^\w+$")], list[str]] = {}
    """Files to read by split, if only part of a split is needed; all if empty."""

    @property
    def key(self) -> str:
        """Name of its folder under resources/hub."""
        parts = [self.dataset.replace("/", "___"), self.config, (self.revision or "newest")[:DIGITS_OF_A_REVISION]]
        parts += [re.sub(r"[^\w.-]", "-", file) for files in self.files.values() for file in files]
        return "--".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.dataset} ({self.config})" if self.config else self.dataset
