"""The language-model loss."""

import torch
from torch.nn import functional


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token in nats, shape of ``targets``, in fp32 whatever the logits' dtype.

    ``logits`` has shape (sequences, length, vocabulary) and ``targets`` (sequences, length). In bf16 the loss would
    be quantised to steps of 1/128.
    """
    flat = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


@torch.no_grad()
def sequence_losses(model: torch.nn.Module, windows: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Mean loss in nats per token of each window, shape (n,), for windows of shape (n, length + 1)."""
    device = next(model.parameters()).device
    losses = []
    for batch in windows.split(batch_size):
        batch = batch.to(device)
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        losses.append(token_losses(logits, batch[:, 1:]).double().mean(dim=1).cpu())
    return torch.cat(losses)
