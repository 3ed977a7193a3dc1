"""A model with masks on its channels, neurons, heads and blocks, and the plain model that they fold into.

With masks z (Sheared-LLaMA, Xia et al., 2310.06694, section 2.1), x the residual stream, * elementwise:

    x = embedding * z_hidden
    x = x + o_proj(attention(norm(x)) * z_heads[i]) * z_hidden * z_layers[i]      in block i
    x = x + down_proj(neurons(norm(x)) * z_ffn[i]) * z_hidden * z_layers[i]       in block i
    norm(x) = RMSNorm over the open channels of x (z_hidden != 0), * z_hidden     also before the output projection

Where a family normalises what a sublayer adds, that norm is over the open channels, and its output is what z_hidden
and z_layers scale. A norm over all heads together is one over the open heads.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from pruning_vs_scratch.families.catalogue import family_facts, family_of
from pruning_vs_scratch.families.facts import FamilyFacts, SublayerNorms
from pruning_vs_scratch.families.parts import ATTENTION_OUTPUT, BLOCK_PREFIX, EMBEDDING, FFN_OUTPUT, FINAL_NORM
from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import Masks
from pruning_vs_scratch.pruning.surgery import scaled_norm
from pruning_vs_scratch.study.shape import ModelShape


@contextmanager
def masking(model: CausalLM, masks: Masks) -> Iterator[None]:
    """While open, the model's forward pass runs with the masks, and gradients flow to them.

    With gradient checkpointing the backward pass must run inside too, because it repeats the forward pass.
    """
    with ExitStack() as handles:
        for handle in _hooks(model, masks):
            handles.enter_context(handle)
        yield


@torch.no_grad()
def folded(tensors: Tensors, masks: Masks, parent: ModelShape) -> Tensors:
    """Weights and biases by checkpoint name with the masks multiplied into them.

    The model with these, cut to the open channels, neurons, heads and blocks, has the logits of the masked one. Before
    the cut it does not, because its norms still count the closed channels. Products are taken in the masks' precision
    and stored in the weights'. Works on any subset of the tensors.
    """
    return {name: _folded(name, tensor, masks, parent) for name, tensor in tensors.items()}


def _folded(name: str, tensor: torch.Tensor, masks: Masks, parent: ModelShape) -> torch.Tensor:
    rows, columns = _row_and_column_masks(name, masks, parent)
    if rows is not None and name.endswith("norm.weight"):
        return scaled_norm(tensor, rows.to(tensor.device), parent.facts)
    return _times(tensor, rows, columns)


def _hooks(model: CausalLM, masks: Masks) -> Iterator[RemovableHandle]:
    """Add the hooks to the model one by one."""
    facts = family_facts(family_of(model.config.model_type))
    if masks.hidden is not None:
        yield _scale_output(model.model.embed_tokens, masks.hidden)
        yield from _mask_norm(model.model.norm, masks.hidden, masks.hidden)
    for index, block in enumerate(model.model.layers):
        yield from _sublayer_hooks(block, facts.attention_norms, ATTENTION_OUTPUT, masks, index)
        yield from _sublayer_hooks(block, facts.ffn_norms, FFN_OUTPUT, masks, index)
        if masks.heads is not None:
            heads = masks.heads[index]
            yield _scale_input(block.self_attn.o_proj, heads.repeat_interleave(block.self_attn.head_dim))
            if facts.head_norms == "heads":
                yield from _mask_head_norms(block.self_attn, heads)
        if masks.ffn is not None:
            yield _scale_input(block.mlp.down_proj, masks.ffn[index])


def _sublayer_hooks(
    block: nn.Module, norms: SublayerNorms, output: str, masks: Masks, index: int
) -> Iterator[RemovableHandle]:
    """Hooks on what a sublayer reads from the residual stream, and on what it adds to it."""
    if masks.hidden is not None and norms.before is not None:
        yield from _mask_norm(block.get_submodule(norms.before), masks.hidden, masks.hidden)
    written = _written(masks, index)
    if written is None:
        return
    if norms.after is None or masks.hidden is None:
        yield _scale_output(block.get_submodule(norms.after or output), written)
    else:
        yield from _mask_norm(block.get_submodule(norms.after), masks.hidden, written, closed_are_zero=False)


def _written(masks: Masks, index: int) -> torch.Tensor | None:
    """The factor of everything that block ``index`` adds to the residual stream; shape (hidden,) or ()."""
    if masks.layers is None:
        return masks.hidden
    return masks.layers[index] if masks.hidden is None else masks.hidden * masks.layers[index]


def _mask_norm(
    norm: nn.Module, hidden: torch.Tensor, factor: torch.Tensor, *, closed_are_zero: bool = True
) -> Iterator[RemovableHandle]:
    """Turn an RMSNorm over d channels into one over the k open ones, times a factor.

    Closed channels of the residual stream are 0, so that the norm's mean square of c * x with c = sqrt(d / k) is the
    mean square of x over the open channels: w * c * x / sqrt(mean_d((c * x)^2) + eps) = c * the norm over k channels.
    Other inputs are zeroed there first.
    """
    growth = _growth(hidden)
    yield _scale_input(norm, growth if closed_are_zero else growth * (hidden != 0))
    yield _scale_output(norm, factor / growth)


def _mask_head_norms(attention: Any, heads: torch.Tensor) -> Iterator[RemovableHandle]:
    """Turn the norms over all queries and over all keys into norms over those of open heads.

    ``heads`` has shape (heads,). A key head is open if any of its query heads is.
    """
    keys = heads.detach().view(-1, attention.num_key_value_groups).amax(dim=1)
    for norm, masks in ((attention.q_norm, heads.detach()), (attention.k_norm, keys)):
        channels = masks.repeat_interleave(attention.head_dim)
        yield from _mask_norm(norm, channels, torch.ones_like(channels), closed_are_zero=False)


def _growth(masks: torch.Tensor) -> torch.Tensor:
    """The square root of the number of channels over that of open ones."""
    return (len(masks) / masks.count_nonzero().clamp(min=1)).sqrt()


def _scale_input(module: nn.Module, factor: torch.Tensor) -> RemovableHandle:
    return module.register_forward_pre_hook(lambda _, positional: (_scaled(positional[0], factor),))


def _scale_output(module: nn.Module, factor: torch.Tensor) -> RemovableHandle:
    return module.register_forward_hook(lambda _, __, output: _scaled(output, factor))


def _scaled(tensor: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """A product in the precision of the wider one, so that masks get exact gradients from bf16 activations."""
    return (tensor * factor).to(tensor.dtype)


def _row_and_column_masks(
    name: str, masks: Masks, parent: ModelShape
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The factors of the output channels and the input channels of a tensor."""
    module, _ = name.rsplit(".", 1)
    if name.startswith(BLOCK_PREFIX):
        index, inside = module.removeprefix(BLOCK_PREFIX).split(".", 1)
        return _masks_in_block(inside, masks, int(index), parent.facts)
    if module == FINAL_NORM:
        # A tied embedding, which is the output projection as well, already has the masks of the final norm's output.
        return None if parent.tie_embeddings else masks.hidden, None
    return None, masks.hidden if module == EMBEDDING or parent.tie_embeddings else None


def _masks_in_block(
    module: str, masks: Masks, index: int, facts: FamilyFacts
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    for norms, output, inputs in (
        (facts.attention_norms, ATTENTION_OUTPUT, masks.heads),
        (facts.ffn_norms, FFN_OUTPUT, masks.ffn),
    ):
        if module == output:
            rows = _written(masks, index) if norms.after is None else None
            return rows, None if inputs is None else inputs[index]
        if module == norms.before:
            return masks.hidden, None
        if module == norms.after:
            return _written(masks, index), None
    return None, None


def _times(tensor: torch.Tensor, rows: torch.Tensor | None, columns: torch.Tensor | None) -> torch.Tensor:
    """A weight (rows, columns) or a bias (rows,), scaled."""
    scaled = tensor
    if rows is not None:
        scaled = scaled * rows.to(tensor.device).reshape(-1, *[1] * (tensor.ndim - 1))
    if columns is not None and tensor.ndim == 2:
        # A head has several columns.
        scaled = scaled * columns.to(tensor.device).repeat_interleave(tensor.shape[1] // len(columns))
    return scaled.to(tensor.dtype)
