"""Candidates of a shape search: the parent pruned to each shape, then retrained on the search's budget."""

from collections.abc import Iterator
from dataclasses import dataclass

from pruning_vs_scratch.config.steps import Step
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.study.candidate_shapes import candidate_shapes
from pruning_vs_scratch.study.expand import Expansion
from pruning_vs_scratch.study.names import candidate_target_name, target_name
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.targets import Target, parent_shape


@dataclass(frozen=True)
class Candidate:
    """One candidate shape."""

    target: str
    """The searched target."""
    pruned: Run
    """The parent, pruned to the shape."""
    run: Run
    """The retrained model, whose validation loss is compared."""


def candidate_runs(config: StudyConfig, expansion: Expansion) -> Iterator[Candidate]:
    """All candidates of a study, for the first seed; none without a search.

    Raises:
        UserError: a ratio has too few candidates, or some of unequal size.
    """
    search = config.shape_search
    if search is None:
        return
    for ratio in search.ratios:
        searched = target_name("width", ratio)
        for shape in candidate_shapes(config, parent_shape(config), ratio):
            target = Target(candidate_target_name(searched, shape), "width", ratio, "dense", shape)
            yield Candidate(searched, *expansion.candidate(Step(search.method, ratio, "dense"), target, search.tokens))
