"""The language-model loss, with all logits at once or a chunk of tokens at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import LinearCrossEntropyOptions, functional

from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.models.output import capped, capped_, logit_cap, through_cap_
from pruning_vs_scratch.training.precision import as_multiplied


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token in nats, shape of ``targets``, in fp32 whatever the logits' dtype.

    ``logits`` has shape (sequences, length, vocabulary) and ``targets`` (sequences, length). In bf16 the loss would
    be quantised to steps of 1/128.
    """
    flat = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


def last_hidden_states(model: CausalLM, inputs: torch.Tensor, separator: int | None = None) -> torch.Tensor:
    """The input of the output projection for tokens of shape (sequences, length): shape (sequences, length, hidden).

    With a ``separator``, documents that share a window do not see each other.
    """
    positions = None if separator is None else document_positions(inputs, separator)
    found: torch.Tensor = model.model(input_ids=inputs, position_ids=positions, use_cache=False).last_hidden_state
    return found


def loss_sum(
    model: CausalLM,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    chunk: int | None = None,
    separator: int | None = None,
    fused: bool = False,
) -> torch.Tensor:
    """Sum of the tokens' losses in nats, of ``inputs`` and ``targets`` of shape (sequences, length).

    With ``chunk`` tokens, or ``fused``, there is never a tensor of all logits: at a vocabulary of 128k they and their
    gradient take most of the memory of a step.
    """
    hidden, cap = last_hidden_states(model, inputs, separator), logit_cap(model.config)
    if fused:
        return fused_loss_sum(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), chunk)
    if chunk is None:
        return token_losses(_logits(model, hidden), targets).sum()
    return chunked_loss_sum(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), chunk, cap)


def _logits(model: CausalLM, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of hidden states; capped ones in fp32."""
    logits, cap = model.lm_head(hidden), logit_cap(model.config)
    return logits if cap is None else capped(logits.float(), cap)


def fused_loss_sum(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int | None
) -> torch.Tensor:
    """``chunked_loss_sum`` with torch's kernel, which chooses its chunk size for None.

    In bf16 the kernel rounds its result to bf16, whether a sum or a token's loss: so tokens' losses are summed here, in
    fp32, at the price that the kernel recomputes the logits for the backward pass.
    """
    states = as_multiplied(hidden)
    options = LinearCrossEntropyOptions(batch_chunk_size=chunk, chunking_method=None if chunk else "auto")
    reduction = "none" if states.dtype == torch.bfloat16 else "sum"
    losses = functional.linear_cross_entropy(
        states, as_multiplied(weight), targets, reduction=reduction, options=options
    )
    return losses.float().sum()


def chunked_loss_sum(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int, cap: float | None = None
) -> torch.Tensor:
    """Sum of the cross-entropies of the logits ``hidden @ weight.T``, computed for ``chunk`` tokens at a time.

    ``hidden`` has shape (tokens, hidden), ``weight`` (vocabulary, hidden) and ``targets`` (tokens,). ``cap`` bounds the
    logits (models/output.py).
    """
    return summed_in_chunks(hidden, weight, chunk, lambda logits, part: cross_entropy(logits, targets[part]), cap)[0]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> "LossAndGradient":
    """Summed cross-entropy of logits (tokens, vocabulary) in fp32, and its gradient, softmax minus one-hot."""
    log_probabilities = functional.log_softmax(logits, dim=-1)
    total = functional.nll_loss(log_probabilities, targets, reduction="sum")
    gradient = log_probabilities.exp_()
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
    return (total,), gradient


LossAndGradient = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""Sums over the tokens, the first of which is minimised, and its gradient with respect to the logits."""
LossOfLogits = Callable[[torch.Tensor, slice], LossAndGradient]
"""A function of the logits of some tokens, in fp32, and of the tokens' positions."""


def summed_in_chunks(
    hidden: torch.Tensor, weight: torch.Tensor, chunk: int, loss: LossOfLogits, cap: float | None = None
) -> tuple[torch.Tensor, ...]:
    """Sums of a loss over tokens whose logits ``hidden @ weight.T`` are computed for ``chunk`` of them at a time.

    ``hidden`` has shape (tokens, hidden) and ``weight`` (vocabulary, hidden). The gradient of a chunk is computed while
    its logits exist, so that nothing is computed twice (as in Hsu et al., "Liger Kernel", 2410.10989, section 3). Only
    the first sum has a gradient.
    """
    found: tuple[torch.Tensor, ...] = _SummedInChunks.apply(hidden, weight, chunk, loss, cap)
    return found


class _SummedInChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, chunk: int, loss: LossOfLogits, cap: float | None
    ) -> tuple[torch.Tensor, ...]:
        with_gradients = any(ctx.needs_input_grad)
        # Cast once, not for each chunk; and summed in fp32, though gathered weights are bf16.
        states, head = as_multiplied(hidden), as_multiplied(weight)
        hidden_gradients = []
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if with_gradients else None
        totals = []
        for start in range(0, len(hidden), chunk):
            part = slice(start, min(start + chunk, len(hidden)))
            logits = capped_(functional.linear(states[part], head).float(), cap)
            sums, gradient = loss(logits, part)
            totals.append(sums)
            if weight_gradient is not None:
                gradient = through_cap_(gradient, logits, cap).to(head.dtype)
                hidden_gradients.append((gradient @ head).to(hidden.dtype))
                weight_gradient += gradient.T @ states[part]
            del gradient, logits  # else they would be held with the next chunk's logits
        if weight_gradient is not None:
            ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient.to(weight.dtype))
        # Separate tensors, not views of one: FSDP2 attaches its backward hooks to them, which a view may lose.
        first, *others = (torch.stack(parts).sum() for parts in zip(*totals, strict=True))
        ctx.mark_non_differentiable(*others)
        return first, *others

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * upstream, weight_gradient * upstream, None, None, None


@torch.no_grad()
def sequence_losses(
    model: CausalLM,
    windows: torch.Tensor,
    batch_size: int,
    chunk: int | None = None,
    separator: int | None = None,
    scored: int | None = None,
) -> torch.Tensor:
    """Mean loss in nats per token of each window, shape (n,), for windows of shape (n, length + 1).

    With ``chunk``, the logits of at most so many tokens are held at once. With ``scored``, only so many tokens at the
    end of a window count; the others are context.
    """
    device = next(model.parameters()).device
    losses = []
    for batch in windows.split(batch_size):
        inputs, targets = batch[:, :-1].to(device), batch[:, 1:].to(device)
        hidden = last_hidden_states(model, inputs, separator)
        positions = max(1, chunk // len(batch)) if chunk else inputs.shape[1]
        parts = zip(hidden.split(positions, dim=1), targets.split(positions, dim=1), strict=True)
        found = torch.cat([token_losses(_logits(model, part), wanted) for part, wanted in parts], dim=1)
        losses.append(found[:, -(scored or found.shape[1]) :].double().mean(dim=1).cpu())
    return torch.cat(losses)


def document_positions(tokens: torch.Tensor, separator: int) -> torch.Tensor:
    """Position of every token in its own document, shape of ``tokens`` (sequences, length).

    Each document begins with the separator; whatever comes before the first one in a window is a document too.
    Transformers lets tokens attend only within a run of rising positions, so the positions also delimit documents.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    starts = torch.where(tokens == separator, places, 0)
    return places - starts.cummax(dim=1).values
