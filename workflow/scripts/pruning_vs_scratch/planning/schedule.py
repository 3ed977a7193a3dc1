"""How long a study takes on a number of devices: its jobs as started by a scheduler, and their longest chain."""

from collections.abc import Mapping

from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph
from pruning_vs_scratch.study.scheduling import Takes, Waiting


def makespan(graph: JobGraph, loads: Mapping[Job, Load], *, gpus: int, cores: int) -> float:
    """Seconds until the last job ends. A job takes its GPUs, or its cores if it has none."""
    waiting = Waiting({job: graph.needs(job) for job in graph.in_order})
    return waiting.makespan({job: _takes(loads[job]) for job in graph.jobs}, {"gpus": gpus, "cores": cores})


def _takes(load: Load) -> Takes:
    return Takes(load.seconds, "gpus", load.gpus) if load.gpus else Takes(load.seconds, "cores", load.cores)


def longest_chain(graph: JobGraph, loads: Mapping[Job, Load]) -> list[Job]:
    """The jobs of the longest chain, in order; each waits for the one before."""
    ends: dict[Job, float] = {}
    before: dict[Job, Job] = {}
    for job in graph.in_order:
        needs = graph.needs(job)
        if needs:
            before[job] = max(needs, key=ends.__getitem__)
        ends[job] = loads[job].seconds + (ends[before[job]] if needs else 0.0)
    chain = [max(ends, key=ends.__getitem__)]
    while chain[-1] in before:
        chain.append(before[chain[-1]])
    return chain[::-1]
