"""Duration of jobs with dependencies and shared resources: list scheduling (Graham, 1966). No torch."""

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J", bound=Hashable)


@dataclass(frozen=True)
class Takes:
    """What a job holds while it runs."""

    seconds: float
    kind: str
    """Amounts by resource, such as gpus."""
    number: int
    """A job that requests more than there is gets all of it."""


@dataclass(frozen=True)
class Waiting(Generic[J]):
    """Jobs, each listed after its dependencies, with these dependencies."""

    needs: Mapping[J, Sequence[J]]

    def behind(self, seconds: Mapping[J, float]) -> dict[J, float]:
        """For each job, the seconds of the longest chain that begins with it."""
        found = dict(seconds)
        for job in reversed(list(self.needs)):
            for needed in self.needs[job]:
                found[needed] = max(found[needed], seconds[needed] + found[job])
        return found

    def makespan(self, takes: Mapping[J, Takes], there_are: Mapping[str, int]) -> float:
        """Seconds until the last job ends, if ready jobs with the most dependent work start first."""
        behind = self.behind({job: each.seconds for job, each in takes.items()})
        waiting = {job: len(needed) for job, needed in self.needs.items()}
        followers: dict[J, list[J]] = {job: [] for job in self.needs}
        for job, needed in self.needs.items():
            for each in needed:
                followers[each].append(job)
        order = {job: (-behind[job], place) for place, job in enumerate(takes)}
        ready = sorted((job for job, number in waiting.items() if not number), key=order.__getitem__)
        running: list[tuple[float, int, J]] = []
        free, now = dict(there_are), 0.0
        numbers = {job: min(each.number, there_are[each.kind]) for job, each in takes.items()}
        while ready or running:
            for job in list(ready):
                if numbers[job] <= free[takes[job].kind]:
                    free[takes[job].kind] -= numbers[job]
                    ready.remove(job)
                    heapq.heappush(running, (now + takes[job].seconds, order[job][1], job))
            now, _, ended = heapq.heappop(running)
            free[takes[ended].kind] += numbers[ended]
            for follower in followers[ended]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
            ready.sort(key=order.__getitem__)
        return now
