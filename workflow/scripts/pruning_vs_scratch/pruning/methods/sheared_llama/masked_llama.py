"""A Llama with masks on its channels, neurons, heads and blocks, and the plain Llama that they fold into.

With masks z (Sheared-LLaMA, Xia et al., 2310.06694, section 2.1), x the residual stream, * elementwise:

    x = embedding * z_hidden
    x = x + o_proj(attention(norm(x)) * z_heads[i]) * z_hidden * z_layers[i]      in block i
    x = x + down_proj(neurons(norm(x)) * z_ffn[i]) * z_hidden * z_layers[i]       in block i
    norm(x) = RMSNorm over the open channels of x (z_hidden != 0), * z_hidden     also before the output projection
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import LlamaForCausalLM

from pruning_vs_scratch.models.llama import BLOCK_PREFIX
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import Masks


@contextmanager
def masking(model: LlamaForCausalLM, masks: Masks) -> Iterator[None]:
    """While open, the model's forward pass runs with the masks, and gradients flow to them.

    With gradient checkpointing the backward pass must run inside too, because it repeats the forward pass.
    """
    with ExitStack() as handles:
        for handle in _hooks(model, masks):
            handles.enter_context(handle)
        yield


@torch.no_grad()
def folded(tensors: Tensors, masks: Masks, tied: bool) -> Tensors:
    """Weights and biases by checkpoint name with the masks multiplied into them.

    The model with these, cut to the open channels, neurons, heads and blocks, has the logits of the masked one. Before
    the cut it does not, because its norms still count the closed channels. Products are taken in the masks' precision
    and stored in the weights'. Works on any subset of the tensors.
    """
    return {name: _times(tensor, *_row_and_column_masks(name, masks, tied)) for name, tensor in tensors.items()}


def _hooks(model: LlamaForCausalLM, masks: Masks) -> Iterator[RemovableHandle]:
    """Add the hooks to the model one by one."""
    if masks.hidden is not None:
        yield _scale_output(model.model.embed_tokens, masks.hidden)
        yield from _mask_norm(model.model.norm, masks.hidden)
    for index, block in enumerate(model.model.layers):
        attention, mlp = block.self_attn, block.mlp
        if masks.hidden is not None:
            yield from _mask_norm(block.input_layernorm, masks.hidden)
            yield from _mask_norm(block.post_attention_layernorm, masks.hidden)
        if masks.heads is not None:
            yield _scale_input(attention.o_proj, masks.heads[index].repeat_interleave(attention.head_dim))
        if masks.ffn is not None:
            yield _scale_input(mlp.down_proj, masks.ffn[index])
        written = _written(masks, index)
        if written is not None:
            yield _scale_output(attention.o_proj, written)
            yield _scale_output(mlp.down_proj, written)


def _written(masks: Masks, index: int) -> torch.Tensor | None:
    """The factor of everything that block ``index`` adds to the residual stream; shape (hidden,) or ()."""
    if masks.layers is None:
        return masks.hidden
    return masks.layers[index] if masks.hidden is None else masks.hidden * masks.layers[index]


def _mask_norm(norm: nn.Module, hidden: torch.Tensor) -> Iterator[RemovableHandle]:
    """Turn an RMSNorm over d channels into one over the k open ones, times their masks.

    Closed channels of the residual stream are 0, so that the norm's mean square of c * x with c = sqrt(d / k) is the
    mean square of x over the open channels: w * c * x / sqrt(mean_d((c * x)^2) + eps) = c * the norm over k channels.
    """
    growth = (len(hidden) / hidden.count_nonzero().clamp(min=1)).sqrt()
    yield _scale_input(norm, growth)
    yield _scale_output(norm, hidden / growth)


def _scale_input(module: nn.Module, factor: torch.Tensor) -> RemovableHandle:
    return module.register_forward_pre_hook(lambda _, positional: (_scaled(positional[0], factor),))


def _scale_output(module: nn.Module, factor: torch.Tensor) -> RemovableHandle:
    return module.register_forward_hook(lambda _, __, output: _scaled(output, factor))


def _scaled(tensor: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """A product in the precision of the wider one, so that masks get exact gradients from bf16 activations."""
    return (tensor * factor).to(tensor.dtype)


def _row_and_column_masks(name: str, masks: Masks, tied: bool) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The factors of the output channels and the input channels of a tensor."""
    module = name.split(".")[-2]
    if name.startswith(BLOCK_PREFIX):
        index = int(name.removeprefix(BLOCK_PREFIX).split(".")[0])
        if module == "o_proj":
            return _written(masks, index), None if masks.heads is None else masks.heads[index]
        if module == "down_proj":
            return _written(masks, index), None if masks.ffn is None else masks.ffn[index]
        return masks.hidden if module.endswith("norm") else None, None
    if module == "norm":
        # A tied embedding, which is the output projection as well, already has the masks of the final norm's output.
        return None if tied else masks.hidden, None
    return None, masks.hidden if module == "embed_tokens" or tied else None


def _times(tensor: torch.Tensor, rows: torch.Tensor | None, columns: torch.Tensor | None) -> torch.Tensor:
    """A weight (rows, columns) or a bias or norm (rows,), scaled."""
    scaled = tensor
    if rows is not None:
        scaled = scaled * rows.to(tensor.device).reshape(-1, *[1] * (tensor.ndim - 1))
    if columns is not None and tensor.ndim == 2:
        # A head has several columns.
        scaled = scaled * columns.to(tensor.device).repeat_interleave(tensor.shape[1] // len(columns))
    return scaled.to(tensor.dtype)
