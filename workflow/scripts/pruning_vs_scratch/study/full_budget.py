"""How many tokens a baseline of the full budget reads.

An exact match reads the tokens of its pipeline: parent, retraining and pruning, in whole batches. Methods of one shape
that read slightly different amounts in pruning would then each need a baseline as long as a pretraining. So a pipeline
whose pruning reads at most a share ``tolerance`` of the tokens of parent and retraining gets all that this share
allows, however little its pruning read. All such pipelines of one target, retraining budget and seed share a baseline.

The result depends only on the pipeline itself, not on the order of the matrix or its other methods, and a method added
to a finished study leaves the other baselines unchanged. Nothing can drift: a baseline reads no less than any of its
pipelines, and at most ``tolerance`` more than the smallest of them. The cost is that the small excess is also trained
if no other method shares it.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

from pruning_vs_scratch.errors import UserError


def least_budget(spent: int, batch: int) -> int:
    """What a pipeline read, rounded up to whole batches of ``batch`` tokens."""
    return -(-spent // batch) * batch


def most_budget(spent: int, batch: int, tolerance: float) -> int:
    """The most whole batches within the tolerance of what was read; those of ``least_budget`` if there are none."""
    # The tolerance in decimal, as written: binary fractions would occasionally lose a batch.
    allowed = int(spent * (1 + Fraction(str(tolerance))))
    return max(allowed // batch * batch, least_budget(spent, batch))


def full_budget(before: int, pruning: int, batch: int, tolerance: float) -> int:
    """Tokens of a full-budget baseline.

    Args:
        before: tokens of the parent and of retraining.
        pruning: tokens that all pruning steps read.
        batch: tokens of a global batch.
        tolerance: share of ``before`` that is ignored; 0 gives the tokens read, in whole batches.
    """
    return max(most_budget(before, batch, tolerance), least_budget(before + pruning, batch))


def check_apart(baselines: Mapping[int, str], batch: int, tolerance: float) -> None:
    """Ensure that no baseline reaches the tokens of the next longer retraining.

    Args:
        baselines: of one target, the name of a full-budget baseline by the tokens of its parent and retraining.
        batch: tokens of a global batch.
        tolerance: the share that is ignored.

    Raises:
        UserError: the tolerance reaches from one to another; both are named.
    """
    for less, more in pairwise(sorted(baselines)):
        if most_budget(less, batch, tolerance) >= more:
            raise UserError(
                f"baselines.full_tolerance: {tolerance:g} reaches from {baselines[less]} to {baselines[more]}, whose "
                f"parent and retraining read {less} and {more} tokens; choose less than {more - less}/{less}, which is "
                f"about {(more - less) / less:.2g}"
            )
