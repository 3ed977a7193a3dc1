"""Exact rankings: of equal scores the earlier is kept, so that counts are exact."""

import torch


def top_indices(importance: torch.Tensor, count: int) -> torch.Tensor:
    """Ascending indices of the ``count`` largest entries of a vector; of equal entries the earlier is kept."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values
