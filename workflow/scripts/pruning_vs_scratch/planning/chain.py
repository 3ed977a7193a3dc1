"""The longest chain of jobs: how long a study takes with as many devices as it can use."""

from collections.abc import Mapping

from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph


def longest_chain(graph: JobGraph, loads: Mapping[Job, Load]) -> list[Job]:
    """The jobs of the chain that takes longest, in their order; each waits for the one before."""
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
