"""What structured pruning keeps of a parent, as a value that files, surgery and baselines share."""

from dataclasses import dataclass
from typing import Any

import torch

from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class Kept:
    """What structured pruning keeps, as ascending indices into the parent. ``None`` keeps everything."""

    blocks: list[int] | None = None
    """Decoder blocks."""
    hidden: torch.Tensor | None = None
    """Channels of the residual stream, the same for all blocks."""
    ffn: list[torch.Tensor] | None = None
    """Neurons of the feed-forward layer, for each kept block."""
    heads: list[torch.Tensor] | None = None
    """Query heads, for each kept block; a key-value head stays if any of its query heads does."""
    added: tuple[str, ...] = ()
    """Biases that the pruned model has in addition to the parent's: ``attention_bias``, ``mlp_bias``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, omitting what is kept whole."""
        values: dict[str, Any] = {"blocks": self.blocks}
        values["hidden"] = None if self.hidden is None else self.hidden.tolist()
        for name in ("ffn", "heads"):
            indices = getattr(self, name)
            values[name] = None if indices is None else [row.tolist() for row in indices]
        values["added"] = list(self.added) or None
        return {name: value for name, value in values.items() if value is not None}

    def dropped(self, parent: ModelShape) -> dict[str, list[int]]:
        """The parent's blocks that are removed."""
        return {} if self.blocks is None else {"blocks": sorted(set(range(parent.layers)) - set(self.blocks))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Kept":
        """The inverse of ``to_dict``."""
        hidden = values.get("hidden")
        rows = {name: [torch.tensor(row) for row in values[name]] for name in ("ffn", "heads") if name in values}
        added = tuple(values.get("added", ()))
        return cls(values.get("blocks"), None if hidden is None else torch.tensor(hidden), **rows, added=added)
