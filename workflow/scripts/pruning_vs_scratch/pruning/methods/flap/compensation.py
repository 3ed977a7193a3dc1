"""The bias with which FLAP makes up for pruned channels: what they contributed on average."""

import torch


def compensated_bias(
    weight: torch.Tensor, mean: torch.Tensor, kept: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """W[:, pruned] @ m[pruned] plus the bias that was there, shape (out,), fp64 on the device of ``weight``.

    ``weight`` is that before slicing, shape (out, channels); ``mean`` (channels,) the mean input on the dense model;
    ``kept`` the channels that stay. The authors' code rounds the means to fp16 and replaces an existing bias.
    """
    pruned = torch.ones(weight.shape[1], dtype=torch.bool)
    pruned[kept] = False
    columns = weight.detach()[:, pruned.to(weight.device)].double()
    added = columns @ mean[pruned].to(columns)
    return added if bias is None else bias.detach().to(added) + added
