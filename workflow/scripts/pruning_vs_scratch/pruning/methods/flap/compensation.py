"""The bias with which FLAP compensates for pruned channels: their mean contribution."""

import torch


def compensated_bias(
    weight: torch.Tensor, mean: torch.Tensor, kept: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """W[:, pruned] @ m[pruned] plus the existing bias, shape (out,), fp64 on the device of ``weight``.

    ``weight`` is the weight before slicing, shape (out, channels); ``mean`` (channels,) the mean input in the dense
    model; ``kept`` the channels that stay. The authors' code rounds the means to fp16 and replaces an existing bias.
    """
    pruned = torch.ones(weight.shape[1], dtype=torch.bool)
    pruned[kept] = False
    columns = weight.detach()[:, pruned.to(weight.device)].double()
    added = columns @ mean[pruned].to(columns)
    return added if bias is None else bias.detach().to(added) + added
