"""Documents packed into one window: where each begins, and how the model is told."""

import torch


def document_positions(tokens: torch.Tensor, separator: int) -> torch.Tensor:
    """Position of every token in its own document, shape of ``tokens`` (sequences, length).

    Each document begins with the separator; what stands before the first one of a window is a document, too.
    Transformers lets tokens attend within a run of rising positions only, so these say both.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    starts = torch.where(tokens == separator, places, 0)
    return places - starts.cummax(dim=1).values
