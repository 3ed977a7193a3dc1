"""How many processes train each run, so that a study takes the shortest time on a number of devices. No torch.

Every run takes the fewest processes with which it ends within a common time limit; this limit is chosen
by the schedule of the whole study (Turek, Wolf and Yu, "Approximate algorithms for scheduling parallelizable tasks",
1992). So runs take about equally long, and none is left alone at the end.

A run's time is estimated as its operations divided by its processes; the cost of communication is not known
beforehand. Fewer processes communicate less, so the longest limit that hardly lengthens the study is chosen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pruning_vs_scratch.study.scheduling import Takes, Waiting

MOST_LIMITS = 100
"""Time limits that are tried for a study with many different runs."""
LONGER = 0.05
"""Share by which the study may take longer than necessary, in exchange for fewer processes per run."""
DEVICES = "devices"


@dataclass(frozen=True)
class TimedStep:
    """A run that is trained or pruned, as the choice sees it."""

    name: str
    needs: tuple[str, ...]
    """Steps that it depends on, which come first in the study."""
    seconds: Mapping[int, float]
    """Seconds by number of processes, ascending; a single entry for a step without a choice."""


class Filling:
    """The choice for the steps of a study, each listed after its dependencies, on a number of devices."""

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
        """Time until the last step ends, with these processes by step."""
        takes = {
            step.name: Takes(step.seconds[allotment[step.name]], DEVICES, allotment[step.name]) for step in self._steps
        }
        return self._waiting.makespan(takes, {DEVICES: self._devices})

    def _within_one_time(self) -> Iterator[dict[str, int]]:
        """For each of some ascending time limits, the fewest processes that meet it, else the step's maximum.

        With the longest limit, every step takes its minimum.
        """
        times = sorted({seconds for step in self._steps for seconds in step.seconds.values()}, reverse=True)
        for limit in reversed(times[:: -(-len(times) // MOST_LIMITS)]):
            yield {
                step.name: next((n for n, seconds in step.seconds.items() if seconds <= limit), max(step.seconds))
                for step in self._steps
            }
