"""How many tokens a baseline of the full budget reads.

Exactly, those of its pipeline: parent, retraining and pruning, in whole batches. Methods of one shape that read a
little more or less in pruning would then each need a baseline as long as a pretraining. So a pipeline whose pruning
reads at most a share ``tolerance`` of what parent and retraining read gets all that this share allows, however little
its pruning read. All such pipelines of one target, retraining budget and seed have the same baseline.

That depends on nothing but the pipeline itself: the order of the matrix and the other methods in it change nothing,
and a method that joins a finished study leaves the baselines of the others as they are. Nothing can drift: a baseline
reads no less than any of its pipelines, and at most ``tolerance`` more than the least of them. The price is that this
little more is trained where no other method shares it, too.
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
    # The tolerance as it was written: binary fractions would lose a batch now and then.
    allowed = int(spent * (1 + Fraction(str(tolerance))))
    return max(allowed // batch * batch, least_budget(spent, batch))


def full_budget(before: int, pruning: int, batch: int, tolerance: float) -> int:
    """Tokens of a full-budget baseline.

    Args:
        before: tokens of the parent and of retraining.
        pruning: tokens that all pruning steps read.
        batch: tokens of a global batch.
        tolerance: share of ``before`` that is made no difference of; 0 gives what was read, in whole batches.
    """
    return max(most_budget(before, batch, tolerance), least_budget(before + pruning, batch))


def check_apart(baselines: Mapping[int, str], batch: int, tolerance: float) -> None:
    """Make sure that no baseline is given what the next longer retraining is to have.

    Args:
        baselines: of one target, the name of a full-budget baseline by the tokens of its parent and retraining.
        batch: tokens of a global batch.
        tolerance: the share that is made no difference of.

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
