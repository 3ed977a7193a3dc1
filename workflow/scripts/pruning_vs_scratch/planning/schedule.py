"""How long a study takes on so many devices: its jobs in the order in which a scheduler would start them."""

import heapq
from collections.abc import Mapping

from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph


def makespan(graph: JobGraph, loads: Mapping[Job, Load], *, gpus: int, cores: int) -> float:
    """Seconds until the last job ends, if of the jobs that are ready those start first that most work waits for.

    A job takes its GPUs, or its cores if it has none; one that asks for more than there are takes all.
    """
    behind = _seconds_behind(graph, loads)
    waiting = {job: len(graph.needs(job)) for job in graph.jobs}
    followers: dict[Job, list[Job]] = {job: [] for job in graph.jobs}
    for job in graph.jobs:
        for needed in graph.needs(job):
            followers[needed].append(job)
    order = {job: (-behind[job], place) for place, job in enumerate(graph.jobs)}
    ready = sorted((job for job, number in waiting.items() if not number), key=order.__getitem__)
    running: list[tuple[float, int, Job]] = []
    free, now = {"gpus": gpus, "cores": cores}, 0.0
    while ready or running:
        for job in list(ready):
            kind, number = _takes(loads[job], gpus, cores)
            if number <= free[kind]:
                free[kind] -= number
                ready.remove(job)
                heapq.heappush(running, (now + loads[job].seconds, order[job][1], job))
        now, _, ended = heapq.heappop(running)
        kind, number = _takes(loads[ended], gpus, cores)
        free[kind] += number
        for follower in followers[ended]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
        ready.sort(key=order.__getitem__)
    return now


def _takes(load: Load, gpus: int, cores: int) -> tuple[str, int]:
    return ("gpus", min(load.gpus, gpus)) if load.gpus else ("cores", min(load.cores, cores))


def _seconds_behind(graph: JobGraph, loads: Mapping[Job, Load]) -> dict[Job, float]:
    """Of each job, the seconds of the longest chain that begins with it."""
    behind = {job: loads[job].seconds for job in graph.jobs}
    for job in reversed(graph.in_order):
        for needed in graph.needs(job):
            behind[needed] = max(behind[needed], loads[needed].seconds + behind[job])
    return behind
