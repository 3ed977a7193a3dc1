"""How many processes train or prune each run of a study together, as the configuration says or as fills the devices.

No torch here.
"""

from collections.abc import Mapping
from functools import cached_property

from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.study.possible_processes import possible_processes
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.study.processes import Filling, TimedStep
from pruning_vs_scratch.study.runs import Run


class RunProcesses:
    """Processes of the runs of a study.

    Args:
        config: the study's configuration.
        runs: all runs, trunks, trials and candidates by name.
        needs: by run, those that have to be there before it can begin.
    """

    def __init__(self, config: StudyConfig, runs: Mapping[str, Run], needs: Mapping[str, list[str]]) -> None:
        self._config = config
        self._runs = runs
        self._needs = needs

    def training(self, name: str) -> int:
        """Processes that train a run together.

        Raises:
            UserError: a run fits into no number of devices that can share its batch.
        """
        given = self._config.training.processes_of(self._runs[name].target.shape.params_total)
        return self._filling.processes[name] if given == "auto" else given

    def pruning(self, name: str) -> int:
        """Processes that prune a run together: several where masks are learned."""
        run = self._runs[name]
        learns = run.pruning is not None and run.pruning.training is not None
        return self._config.pruning.processes if learns else 1

    @cached_property
    def _filling(self) -> Filling:
        """The choice of ``training.processes: auto`` for the runs of this study."""
        assert self._config.cluster.devices is not None, "the configuration requires devices with auto"
        return Filling([self._step(run) for run in self._in_order], self._config.cluster.devices)

    @property
    def _in_order(self) -> list[Run]:
        """All runs, trunks, trials and candidates, each after those that it starts from."""
        order: dict[str, Run] = {}

        def visit(name: str) -> None:
            for needed in self._needs[name]:
                visit(needed)
            order.setdefault(name, self._runs[name])

        for name in self._runs:
            visit(name)
        return list(order.values())

    def _step(self, run: Run) -> TimedStep:
        """A run for the choice of processes: its seconds at the rates of ``cluster.teraflops``.

        Raises:
            UserError: a run fits into no number of devices that can share its batch.
        """
        rates, flops = self._config.cluster.teraflops, training_flops(self._runs, run.name) / 1e12
        needs = tuple(self._needs[run.name])
        if run.plan is None:
            number = self.pruning(run.name)
            return TimedStep(run.name, needs, {number: flops / rates.prune / number})
        given = self._config.training.processes_of(run.target.shape.params_total)
        numbers = possible_processes(self._config, run) if given == "auto" else [given]
        return TimedStep(run.name, needs, {n: flops / rates.train / n for n in numbers})
