"""Graphs of jobs by their numbers."""

from collections.abc import Iterable
from pathlib import Path

from pruning_vs_scratch.planning.jobs import Job, JobGraph


def graph_of(links: Iterable[tuple[int, int]], jobs: int) -> JobGraph:
    """Jobs 0, 1, ...; of each link, the second needs the first."""
    needs: dict[int, set[int]] = {job: set() for job in range(jobs)}
    for first, second in links:
        needs[second].add(first)
    made = [
        Job("rule", str(job), "text", frozenset(Path(str(first)) for first in needs[job]), (Path(str(job)),))
        for job in range(jobs)
    ]
    return JobGraph(made, [Path(str(job)) for job in range(jobs)])
