"""Operations of training runs, and the order in which ready runs start. No torch here."""

from collections.abc import Mapping

from pruning_vs_scratch.study.runs import Run

Runs = Mapping[str, Run]
"""All runs, trunks, trials and candidates of a study by name."""


def training_flops(runs: Runs, name: str) -> int:
    """FLOPs of a run's training beyond its trunk, or of the training of its masks on its parent.

    Masked weights are included.
    """
    run = runs[name]
    if run.plan is not None:
        shared = runs[run.trunk].plan if run.trunk is not None else None
        sequences = run.plan.sequences - (shared.sequences if shared else 0)
        return run.target.shape.training_flops(sequences, run.plan.sequence_length)
    if run.pruning is not None and run.pruning.training is not None:
        plan = run.pruning.training
        return runs[str(run.start)].target.shape.training_flops(plan.sequences, plan.sequence_length)
    return 0


def priority_of(runs: Runs, name: str) -> int:
    """Scheduling priority of a run: first those that many wait for (parents, and candidates of a search), then the
    longest.

    A trunk counts as long as the runs that depend on it.
    """
    awaited = runs[name].role == "candidate" or runs[name].is_parent
    return _flops_to_the_end(runs, name) // 10**6 * (1000 if awaited else 1)


def _flops_to_the_end(runs: Runs, name: str) -> int:
    """FLOPs of a run and, for a trunk, of the longest chain of runs that continue from it."""
    following = [_flops_to_the_end(runs, run.name) for run in runs.values() if run.trunk == name]
    return training_flops(runs, name) + max(following, default=0)
