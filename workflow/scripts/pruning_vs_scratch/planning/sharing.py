"""What the runs of a study share, and what each comparison would cost alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pruning_vs_scratch.study.costs import Costs
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.study import Study


@dataclass(frozen=True)
class Shared:
    """One kind of work that is done once for several comparisons."""

    what: str
    uses: int
    """How often it would be done if each comparison were run separately."""
    made: int
    flops_alone: int
    flops: int

    @property
    def flops_saved(self) -> int:
        """Operations that sharing saves."""
        return self.flops_alone - self.flops


def sharing(study: Study, costs: dict[str, Costs], scorings: dict[tuple[str, str], int]) -> list[Shared]:
    """By kind, the work of all comparisons run separately and that of the study; ``scorings`` are FLOPs by run and
    method.
    """
    return [shared for shared in _kinds(study, costs, scorings) if shared.uses > shared.made or shared.flops_saved]


def _kinds(study: Study, costs: dict[str, Costs], scorings: dict[tuple[str, str], int]) -> Iterator[Shared]:
    sides = [side for pair in study.pairs for side in (pair.retrained, pair.scratch)]
    sides += [side for pair in study.arms for side in (pair.run, pair.baseline)]
    ways = [study.run(name) for side in sides for name in study.way(side)]

    def of_kind(what: str, belongs: Callable[[Run], bool]) -> Shared:
        uses = [run.name for run in ways if belongs(run)]
        made = set(uses)
        return Shared(what, len(uses), len(made), sum(map(alone, uses)), sum(map(alone, made)))

    def alone(run: str) -> int:
        return costs[run].flops + costs[run].flops_teacher

    yield of_kind("parents, shared by all that is pruned from them", lambda run: run.is_parent)
    yield of_kind("pruned models, shared by budgets and settings", lambda run: run.pruning is not None)
    yield of_kind("retrained models, shared by settings", lambda run: run.plan is not None and run.start is not None)
    yield of_kind(
        "baselines from scratch, shared by methods of one shape", lambda run: run.start is None and not run.is_parent
    )
    scored = [run for runs in study.scorings.values() for run in runs]
    yield Shared(
        "scores, shared by ratios", len(scored), len(scorings), sum(map(alone, scored)), sum(scorings.values())
    )
    longer = [costs[run.name] for run in study.runs.values() if run.trunk is not None]
    trunks = [costs[name] for name in study.trunks]
    yield Shared(
        "trunks, shared by budgets", len(longer), len(trunks),
        sum(row.flops + row.flops_teacher for row in longer), sum(row.own_flops for row in (*longer, *trunks)),
    )  # fmt: skip
    runs = [run for run in study.runs.values() if run.role != "parent"]
    targets = {run.target.name for run in runs}
    yield Shared("targets, shared by pruned models and baselines", len(runs), len(targets), 0, 0)
