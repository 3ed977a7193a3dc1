"""Text of several domains, whose losses determine the composition of batches while masks are learned."""

import torch

from pruning_vs_scratch.data.domains import DomainLoader, updated_weights


class DomainText:
    """Text of several domains: what masks are learned on, and whose losses weigh the domains. ``validation`` has
    windows of shape (n, length + 1) by domain; ``references`` are the losses of the model on them before masks are
    learned, in nats per token.
    """

    def __init__(self, loader: DomainLoader, validation: dict[str, torch.Tensor]) -> None:
        self.loader = loader
        self.validation = validation
        self.references: dict[str, float] = {}

    @property
    def state(self) -> dict[str, dict[str, float]]:
        """Everything that a resumed run needs, as plain values."""
        return {**self.loader.state, "references": self.references}

    def restore(self, state: dict[str, dict[str, float]]) -> None:
        """Resume from a state."""
        self.loader.restore(state)
        self.references = state["references"]

    def reweigh(self, losses: dict[str, float]) -> None:
        """Put more of the domains whose loss is above its reference into the next batches."""
        self.loader.weights = updated_weights(self.loader.weights, losses, self.references)
