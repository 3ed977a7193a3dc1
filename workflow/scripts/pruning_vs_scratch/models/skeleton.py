"""A model without its decoder blocks, which come and go one at a time."""

import copy
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from pruning_vs_scratch.models.attention import use_fused_attention
from pruning_vs_scratch.models.decoder import compute_buffers, layer_types, one_block_of_each
from pruning_vs_scratch.models.output import capped, logit_cap
from pruning_vs_scratch.models.tensors import Tensors

Keywords = dict[str, dict[str, Any]]
"""What a model hands to its blocks besides hidden states (positions, mask), by the layer type of the block."""


class _Stand(nn.Module):
    """Takes the place of a block: notes what it is given, and passes the hidden states on."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.empty(0)
        self.keywords: dict[str, Any] = {}

    def forward(self, hidden: torch.Tensor, **keywords: Any) -> torch.Tensor:
        """The hidden states, as they are."""
        self.hidden, self.keywords = hidden, keywords
        return hidden


class Skeleton:
    """Embedding, rotary positions, final norm and output projection of a model, and empty blocks to fill.

    The embedding stays on the host; blocks and the output projection go to the device.
    """

    def __init__(self, config: Any, outside: Tensors, device: torch.device, dtype: torch.dtype) -> None:
        self._model = one_block_of_each(config, dtype)
        self._model.load_state_dict(_converted(outside, dtype), strict=False, assign=True)
        if config.tie_word_embeddings:
            self._model.tie_weights()
        compute_buffers(self._model)
        self._model.requires_grad_(False)
        use_fused_attention(self._model, device, dtype)
        self._empty = dict(zip(dict.fromkeys(layer_types(config)), self._model.model.layers, strict=True))
        self._head: Tensors | None = None
        self.layer_types = layer_types(config)
        """Of each block of the model."""
        self.device = device
        self.dtype = dtype

    def block(self, tensors: Tensors, index: int) -> nn.Module:
        """A decoder block of some weights (names relative to the block), on the device."""
        block = copy.deepcopy(self._empty[self.layer_types[index]])
        block.load_state_dict(_converted(tensors, self.dtype, self.device, copied=True), assign=True)
        attention: Any = block.self_attn
        attention.layer_idx = index
        found: nn.Module = block.requires_grad_(False)
        return found

    def first_inputs(self, tokens: torch.Tensor) -> tuple[torch.Tensor, Keywords]:
        """What the model hands to its blocks for tokens of shape (n, length).

        These are the hidden states (n, length, hidden) that enter the first one, on the host, and the keyword
        arguments of each layer type, on the device; the keyword arguments depend on the shape of the tokens alone.
        """
        empty, stands = self._model.model.layers, {kind: _Stand() for kind in self._empty}
        self._model.model.layers = nn.ModuleList(stands.values())
        try:
            with torch.no_grad():
                self._model.model(input_ids=tokens, use_cache=False)
        finally:
            self._model.model.layers = empty
        first = next(iter(stands.values()))
        return first.hidden, {
            kind: {name: _moved(value, self.device) for name, value in stand.keywords.items()}
            for kind, stand in stands.items()
        }

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states that leave the last block, on the device."""
        head = nn.Sequential(self._model.model.norm, self._model.lm_head)
        if self._head is None:
            self._head = _converted(head.state_dict(), self.dtype, self.device)
        found: torch.Tensor = functional_call(head, self._head, hidden.to(self.device))
        return capped(found, logit_cap(self._model.config))


def _converted(
    tensors: Tensors, dtype: torch.dtype, device: torch.device | None = None, copied: bool = False
) -> Tensors:
    return {name: tensor.to(device=device, dtype=dtype, copy=copied) for name, tensor in tensors.items()}


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or a tuple of tensors, on a device; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value
