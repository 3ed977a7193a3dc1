"""A Llama without its decoder blocks, which come and go one at a time."""

import copy
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from pruning_vs_scratch.models.attention import use_fused_attention
from pruning_vs_scratch.models.decoder import one_block_model
from pruning_vs_scratch.models.tensors import Tensors


class _InputsCaught(Exception):
    """Ends a forward pass once the first block's inputs are known."""


class Skeleton:
    """Embedding, rotary positions, final norm and output projection of a model, and an empty block to fill.

    The embedding stays on the host; blocks and the output projection go to the device.
    """

    def __init__(self, config: Any, outside: Tensors, device: torch.device, dtype: torch.dtype) -> None:
        self._model = one_block_model(config, dtype)
        self._model.load_state_dict(_converted(outside, dtype), strict=False, assign=True)
        if config.tie_word_embeddings:
            self._model.tie_weights()
        # Its frequencies are computed, not stored: the ones made on the meta device have no values.
        self._model.model.rotary_emb = type(self._model.model.rotary_emb)(config)
        self._model.requires_grad_(False)
        use_fused_attention(self._model, device, dtype)
        self._head: Tensors | None = None
        self.device = device
        self.dtype = dtype

    def block(self, tensors: Tensors, index: int) -> nn.Module:
        """A decoder block of some weights (names relative to the block), on the device."""
        block = copy.deepcopy(self._model.model.layers[0])
        block.load_state_dict(_converted(tensors, self.dtype, self.device, copied=True), assign=True)
        attention: Any = block.self_attn
        attention.layer_idx = index
        found: nn.Module = block.requires_grad_(False)
        return found

    def first_inputs(self, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """What the model hands to its first block for tokens of shape (n, length).

        These are the hidden states (n, length, hidden) on the host, and the keyword arguments (positions, mask) on
        the device; the keyword arguments depend on the shape of the tokens alone.
        """
        caught: list[tuple[torch.Tensor, dict[str, Any]]] = []

        def catch(_: nn.Module, positional: tuple[torch.Tensor, ...], keywords: dict[str, Any]) -> None:
            caught.append((positional[0], keywords))
            raise _InputsCaught

        handle = self._model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with torch.no_grad():
                self._model(input_ids=tokens, use_cache=False)
        except _InputsCaught:
            hidden, keywords = caught[0]
            return hidden, {name: _moved(value, self.device) for name, value in keywords.items()}
        finally:
            handle.remove()
        raise AssertionError("the model's first decoder block was never called")

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states that leave the last block, on the device."""
        head = nn.Sequential(self._model.model.norm, self._model.lm_head)
        if self._head is None:
            self._head = _converted(head.state_dict(), self.dtype, self.device)
        found: torch.Tensor = functional_call(head, self._head, hidden.to(self.device))
        return found


def _converted(
    tensors: Tensors, dtype: torch.dtype, device: torch.device | None = None, copied: bool = False
) -> Tensors:
    return {name: tensor.to(device=device, dtype=dtype, copy=copied) for name, tensor in tensors.items()}


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or a tuple of tensors, on a device; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value
