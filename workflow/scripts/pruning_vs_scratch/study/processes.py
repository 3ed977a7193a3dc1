"""How many processes train each run of a study, so that it fills a number of devices in the shortest time. No torch.

Every run takes the fewest processes with which it ends within one and the same time; of all such times one is chosen
by the schedule of the whole study (Turek, Wolf and Yu, "Approximate algorithms for scheduling parallelizable tasks",
1992). So runs are about equally long, and none is left alone at the end.

A run's time is taken for its operations divided by its processes: what their communication costs is not known
beforehand. It is less with fewer, so the longest of the times is chosen with which the study is hardly longer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pruning_vs_scratch.study.scheduling import Takes, Waiting

MOST_LIMITS = 100
"""Times that are tried, of a study with many different runs."""
LONGER = 0.05
"""Share by which the study may take longer than it has to, for the sake of fewer processes a run."""
DEVICES = "devices"


@dataclass(frozen=True)
class TimedStep:
    """A run that is trained or pruned, as the choice sees it."""

    name: str
    needs: tuple[str, ...]
    """Steps before it, which come first in the study."""
    seconds: Mapping[int, float]
    """By each number of processes that it may take, ascending; one, for a step with no choice."""


class Filling:
    """The choice for the steps of a study, each behind those that it needs, on a number of devices."""

    def __init__(self, steps: Sequence[TimedStep], devices: int) -> None:
        self._steps = steps
        self._waiting = Waiting({step.name: step.needs for step in steps})
        self._devices = devices

    @cached_property
    def processes(self) -> dict[str, int]:
        """Processes by step."""
        found = [(self.seconds(allotment), allotment) for allotment in self._within_one_time()]
        shortest = min(seconds for seconds, _ in found)
        return next(allotment for seconds, allotment in reversed(found) if seconds <= (1 + LONGER) * shortest)

    def seconds(self, allotment: Mapping[str, int]) -> float:
        """Until the last step ends, with so many processes by step."""
        takes = {
            step.name: Takes(step.seconds[allotment[step.name]], DEVICES, allotment[step.name]) for step in self._steps
        }
        return self._waiting.makespan(takes, {DEVICES: self._devices})

    def _within_one_time(self) -> Iterator[dict[str, int]]:
        """For each of some ascending times, the fewest processes with which a step takes no longer, or else its most.

        With the longest of them, every step takes its fewest.
        """
        times = sorted({seconds for step in self._steps for seconds in step.seconds.values()}, reverse=True)
        for limit in reversed(times[:: -(-len(times) // MOST_LIMITS)]):
            yield {
                step.name: next((n for n, seconds in step.seconds.items() if seconds <= limit), max(step.seconds))
                for step in self._steps
            }
