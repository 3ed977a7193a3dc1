"""Rules that set the number of processes of a run by model size."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import PositiveInt, Section


class ProcessRule(Section):
    """Number of processes for runs whose model has fewer parameters than a limit, masked ones included."""

    below_parameters: Annotated[float, Field(gt=0)]
    processes: PositiveInt


def rule_order_problems(rules: list[ProcessRule]) -> Iterator[str]:
    """Rules that no run can reach, because an earlier rule always matches first."""
    for place, (before, rule) in enumerate(pairwise(rules), start=1):
        if rule.below_parameters <= before.below_parameters:
            yield (
                f"training.process_rules.{place}: below_parameters {rule.below_parameters:g} is not above the "
                f"{before.below_parameters:g} of the rule before, which fits the same runs first; order them by size"
            )
