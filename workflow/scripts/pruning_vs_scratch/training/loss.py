"""The language-model loss, with all logits at once or a chunk of tokens at a time."""

from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token in nats, shape of ``targets``, in fp32 whatever the logits' dtype.

    ``logits`` has shape (sequences, length, vocabulary) and ``targets`` (sequences, length). In bf16 the loss would
    be quantised to steps of 1/128.
    """
    flat = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


def loss_sum(
    model: LlamaForCausalLM, inputs: torch.Tensor, targets: torch.Tensor, chunk: int | None = None
) -> torch.Tensor:
    """Sum of the tokens' losses in nats, of ``inputs`` and ``targets`` of shape (sequences, length).

    With ``chunk`` tokens, no tensor of all logits is made: at a vocabulary of 128k they and their gradient take most
    of the memory of a step.
    """
    if chunk is None:
        return token_losses(model(input_ids=inputs, use_cache=False).logits, targets).sum()
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    return chunked_loss_sum(hidden.flatten(0, 1), model.lm_head.weight, targets.flatten(), chunk)


def chunked_loss_sum(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """Sum of the cross-entropies of the logits ``hidden @ weight.T``, made for ``chunk`` tokens at a time.

    ``hidden`` has shape (tokens, hidden), ``weight`` (vocabulary, hidden) and ``targets`` (tokens,). The gradient of a
    chunk is taken while its logits are there, so that nothing is computed twice (as in Hsu et al., "Liger Kernel",
    2410.10989, section 3).
    """
    return _ChunkedLossSum.apply(hidden, weight, targets, chunk)


class _ChunkedLossSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        with_gradients = any(ctx.needs_input_grad)
        hidden_gradients, weight_gradient = [], torch.zeros_like(weight) if with_gradients else None
        total = torch.zeros((), device=hidden.device)
        for part, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            logits = functional.linear(part, weight)
            log_probabilities = functional.log_softmax(logits.float(), dim=-1)
            total += functional.nll_loss(log_probabilities, wanted, reduction="sum")
            if weight_gradient is not None:
                gradient = log_probabilities.exp_()
                gradient[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                gradient = gradient.to(logits.dtype)
                hidden_gradients.append((gradient @ weight).to(hidden.dtype))
                weight_gradient += gradient.T @ part
        if weight_gradient is not None:
            ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * upstream, weight_gradient * upstream, None, None


@torch.no_grad()
def sequence_losses(
    model: LlamaForCausalLM, windows: torch.Tensor, batch_size: int, chunk: int | None = None
) -> torch.Tensor:
    """Mean loss in nats per token of each window, shape (n,), for windows of shape (n, length + 1).

    With ``chunk`` tokens, the logits of no more than these are held at once.
    """
    device = next(model.parameters()).device
    losses = []
    for batch in windows.split(batch_size):
        inputs, targets = batch[:, :-1].to(device), batch[:, 1:].to(device)
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
        positions = max(1, chunk // len(batch)) if chunk else inputs.shape[1]
        parts = zip(hidden.split(positions, dim=1), targets.split(positions, dim=1), strict=True)
        found = torch.cat([token_losses(model.lm_head(part), wanted) for part, wanted in parts], dim=1)
        losses.append(found.double().mean(dim=1).cpu())
    return torch.cat(losses)
