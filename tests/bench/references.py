"""Straightforward implementations of four pruning methods, to measure ours against.

Written like a careful first version, from the papers alone: the whole model in memory, one window at a time, every
candidate and every layer separately, nothing shared and nothing cached. They make the same choices as ours.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM

BLOCK_COLUMNS = 128


def load(folder: str) -> LlamaForCausalLM:
    """The whole model, fp32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


def linears_of(block: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a block."""
    return {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}


def first_inputs(model: LlamaForCausalLM, windows: torch.Tensor) -> tuple[list[torch.Tensor], dict]:
    """Hidden states of each window that enter the first block, and the block's other arguments."""
    seen: list[torch.Tensor] = []
    keywords: dict = {}

    class Stop(Exception):
        pass

    def catch(_: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append(args[0])
        keywords.update(kwargs)
        raise Stop

    handle = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for window in windows:
        try:
            model(window[None, :-1], use_cache=False)
        except Stop:
            continue
    handle.remove()
    return seen, keywords


def adding_norms(total: torch.Tensor) -> Callable[[nn.Module, tuple], None]:
    """A hook that adds the squares of each input channel to a total."""

    def hook(_: nn.Module, args: tuple) -> None:
        total.add_(args[0].flatten(0, 1).square().sum(dim=0))

    return hook


def adding_products(total: torch.Tensor) -> Callable[[nn.Module, tuple], None]:
    """A hook that adds 2 x x^T of each token to a total."""

    def hook(_: nn.Module, args: tuple) -> None:
        tokens = args[0].flatten(0, 1)
        total.add_(2 * tokens.t() @ tokens)

    return hook


def wanda(model: LlamaForCausalLM, windows: torch.Tensor, ratio: float) -> None:
    """Prune in place: each block on the output of the pruned ones before it."""
    states, keywords = first_inputs(model, windows)
    for block in model.model.layers:
        linears = linears_of(block)
        squares = {name: torch.zeros(linear.in_features) for name, linear in linears.items()}
        handles = [linear.register_forward_pre_hook(adding_norms(squares[name])) for name, linear in linears.items()]
        for state in states:
            block(state, **keywords)
        for handle in handles:
            handle.remove()
        for name, linear in linears.items():
            scores = linear.weight.abs() * squares[name].sqrt()
            order = torch.sort(scores, dim=-1, stable=True)[1]
            mask = torch.zeros_like(scores, dtype=torch.bool)
            mask.scatter_(1, order[:, : int(scores.shape[1] * ratio)], True)
            linear.weight[mask] = 0
        states = [block(state, **keywords) for state in states]


def sparsegpt(model: LlamaForCausalLM, windows: torch.Tensor, ratio: float) -> None:
    """Prune in place: one Hessian and one factorisation for every layer, one column at a time."""
    states, keywords = first_inputs(model, windows)
    for block in model.model.layers:
        linears = linears_of(block)
        hessians = {name: torch.zeros(linear.in_features, linear.in_features) for name, linear in linears.items()}
        handles = [
            linear.register_forward_pre_hook(adding_products(h))
            for h, linear in zip(hessians.values(), linears.values(), strict=True)
        ]
        for state in states:
            block(state, **keywords)
        for handle in handles:
            handle.remove()
        for name, linear in linears.items():
            linear.weight.copy_(sparsegpt_layer(linear.weight.clone(), hessians[name], ratio))
        states = [block(state, **keywords) for state in states]


def sparsegpt_layer(weight: torch.Tensor, hessian: torch.Tensor, ratio: float) -> torch.Tensor:
    """The weight with a share of its entries removed, the others updated (Frantar & Alistarh, algorithm 1)."""
    dead = torch.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    hessian += 0.01 * torch.diag(hessian).mean() * torch.eye(len(hessian))
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    for start in range(0, weight.shape[1], BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, weight.shape[1])
        part, factor = weight[:, start:end].clone(), inverse[start:end, start:end]
        errors = torch.zeros_like(part)
        scores = part.square() / torch.diag(factor).square()
        threshold = torch.sort(scores.flatten())[0][int(scores.numel() * ratio)]
        drop = scores < threshold
        for j in range(end - start):
            pruned = part[:, j].clone()
            pruned[drop[:, j]] = 0
            error = (part[:, j] - pruned) / factor[j, j]
            part[:, j:] -= error[:, None] @ factor[j, j:][None]
            part[:, j] = pruned
            errors[:, j] = error
        weight[:, start:end] = part
        weight[:, end:] -= errors @ inverse[start:end, end:]
    return weight


def minitron_depth(model: LlamaForCausalLM, windows: torch.Tensor, ratio: float) -> None:
    """Remove the contiguous run of blocks that costs least loss: one whole evaluation a candidate."""
    blocks = list(model.model.layers)
    run = round(len(blocks) * ratio)
    losses = []
    for start in range(len(blocks) - run + 1):
        model.model.layers = nn.ModuleList(blocks[:start] + blocks[start + run :])
        model.config.num_hidden_layers = len(blocks) - run
        losses.append(sum(loss_of(model, window) for window in windows) / len(windows))
    best = losses.index(min(losses))
    model.model.layers = nn.ModuleList(blocks[:best] + blocks[best + run :])


def loss_of(model: LlamaForCausalLM, window: torch.Tensor) -> float:
    """Language-model loss of one window."""
    logits = model(window[None, :-1], use_cache=False).logits.float()
    return float(nn.functional.cross_entropy(logits[0], window[1:]))


def minitron_width(model: LlamaForCausalLM, windows: torch.Tensor, ratio: float) -> None:
    """Score channels, neurons and heads in whole forward passes, then slice every weight."""
    totals: dict[str, torch.Tensor] = {}

    def add(name: str, activation: torch.Tensor) -> None:
        value = activation[0].abs().mean(dim=0).square()
        totals[name] = totals[name] + value if name in totals else value

    handles = []
    for i, block in enumerate(model.model.layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            module = block.get_submodule(norm)
            handles.append(module.register_forward_hook(lambda _, __, out, name=f"{i}.{norm}": add(name, out)))
        for linear in ("self_attn.o_proj", "mlp.down_proj"):
            module = block.get_submodule(linear)
            handles.append(module.register_forward_pre_hook(lambda _, args, name=f"{i}.{linear}": add(name, args[0])))
    for window in windows:
        model(window[None, :-1], use_cache=False)
    for handle in handles:
        handle.remove()
    slice_width(model, totals, ratio)


def slice_width(model: LlamaForCausalLM, totals: dict[str, torch.Tensor], ratio: float) -> None:
    """Keep a share of the residual channels and neurons."""
    config = model.config
    norms = [total.sqrt() for name, total in totals.items() if name.endswith("layernorm")]
    hidden = sum(norms).argsort(descending=True)[: kept_channels(config.hidden_size, ratio)].sort()[0]
    model.model.embed_tokens.weight = nn.Parameter(model.model.embed_tokens.weight[:, hidden].clone())
    model.lm_head.weight = model.model.embed_tokens.weight
    model.model.norm.weight = nn.Parameter(model.model.norm.weight[hidden].clone())
    for i, block in enumerate(model.model.layers):
        neurons = totals[f"{i}.mlp.down_proj"].argsort(descending=True)
        neurons = neurons[: kept_channels(config.intermediate_size, ratio)].sort()[0]
        for name, linear in linears_of(block).items():
            weight = linear.weight
            weight = weight[neurons] if name in ("mlp.gate_proj", "mlp.up_proj") else weight
            weight = weight[:, neurons] if name == "mlp.down_proj" else weight
            weight = weight[hidden] if name in ("self_attn.o_proj", "mlp.down_proj") else weight[:, hidden]
            linear.weight = nn.Parameter(weight.clone())
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.weight = nn.Parameter(norm.weight[hidden].clone())


def kept_channels(size: int, ratio: float) -> int:
    """Channels that stay."""
    return round(size * (1 - ratio))
