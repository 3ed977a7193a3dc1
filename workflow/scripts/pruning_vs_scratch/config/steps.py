"""Pruning steps: one method at one ratio and pattern; several in sequence are a chain."""

from collections.abc import Sequence
from dataclasses import dataclass

from pruning_vs_scratch.config.pruning import N_OF_M_RATIO
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import Granularity


@dataclass(frozen=True)
class Step:
    """One method at one ratio; ``pattern`` is that of a sparse method, else 'dense'."""

    method: str
    ratio: float
    pattern: str

    @classmethod
    def parse(cls, text: str) -> "Step":
        """'minitron_depth@0.5', 'wanda@0.5', 'wanda@2:4'.

        Raises:
            UserError: the method is not known, or what follows the @ is neither a ratio nor a pattern.
        """
        method, _, amount = text.partition("@")
        try:
            sparse = facts_of(method).granularity == "sparse"
        except UserError as error:
            raise UserError(f"{text!r}: {error}") from error
        if ":" in amount:
            if not sparse or amount not in ("2:4", "4:8"):
                raise UserError(f"{text!r}: patterns are 2:4 and 4:8, for sparse methods")
            return cls(method, N_OF_M_RATIO, amount)
        try:
            ratio = float(amount)
        except ValueError as error:
            raise UserError(f"{text!r}: {amount!r} is not a ratio") from error
        if not 0 < ratio < 1:
            raise UserError(f"{text!r}: the ratio must be between 0 and 1")
        return cls(method, ratio, "unstructured" if sparse else "dense")

    def __str__(self) -> str:
        return f"{self.method}@{self.pattern if ':' in self.pattern else self.ratio}"

    @property
    def granularity(self) -> Granularity:
        """Granularity of the method."""
        return facts_of(self.method).granularity


def parse_chain(texts: Sequence[str]) -> tuple[Step, ...]:
    """The steps of a chain.

    Raises:
        UserError: a step is not valid, or a sparse step is not the last.
    """
    steps = tuple(Step.parse(text) for text in texts)
    for step in steps[:-1]:
        if step.granularity == "sparse":
            raise UserError(f"[{', '.join(texts)}]: a sparse step ({step}) can only be the last of a chain")
    return steps


def method_of(steps: Sequence[Step]) -> str:
    """The name of a chain in tables: 'minitron_depth+wanda'."""
    return "+".join(step.method for step in steps)


def ratio_of(steps: Sequence[Step]) -> float:
    """The share of the parent that a whole chain prunes."""
    kept = 1.0
    for step in steps:
        kept *= 1 - step.ratio
    return round(1 - kept, 6)
