"""The resources of each kind of rule, as Snakemake takes them: numbers, and functions of wildcards and attempt.

A rule without a scheduler ignores them. Time and memory grow with every attempt.
"""

from collections.abc import Callable
from typing import Any

from pruning_vs_scratch.cluster.demand import (
    CALIBRATION_PASSES,
    START_MEGABYTES,
    evaluation_minutes,
    model_megabytes,
    pruning_minutes,
    text_minutes,
    training_megabytes,
    training_minutes,
)
from pruning_vs_scratch.cluster.site import Queue, Site
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study

Resources = dict[str, Any]
Amount = Callable[[Any], int]
"""A number by the wildcards of a job."""


class Allocation:
    """What the jobs of one study ask for at one site."""

    def __init__(self, study: Study, site: Site) -> None:
        self.study = study
        self.site = site
        self.cluster = study.config.cluster
        self.processes = study.config.training.processes

    @property
    def text(self) -> Resources:
        """Rules that read or tokenise text."""
        tokens = max(number * (length + 1) for number, length in self.study.windows_needed("train"))
        return self._sized(self.site.cpu, lambda _: text_minutes(tokens), lambda _: START_MEGABYTES)

    @property
    def pruning(self) -> Resources:
        """Rules that score or prune one model (wildcard: run)."""
        return self._on_one_gpu(
            lambda wildcards: self.pruning_minutes(wildcards.run),
            lambda wildcards: model_megabytes(self._pruned(wildcards.run).target.shape),
        )

    @property
    def evaluation(self) -> Resources:
        """Rules that evaluate the models of a group (wildcard: group)."""
        groups = self.study.evaluation_groups
        return self._on_one_gpu(
            lambda wildcards: evaluation_minutes(len(groups[wildcards.group]), self.cluster),
            lambda wildcards: max(model_megabytes(self.study.run(run).target.shape) for run in groups[wildcards.group]),
        )

    @property
    def training(self) -> Resources:
        """Rules that train one run (wildcard: run), on one node or several."""
        resources = self._sized(
            self._queue,
            lambda wildcards: self.training_minutes(wildcards.run),
            lambda wildcards: self._training_megabytes(wildcards.run),
        )
        per_node, nodes = self.processes // self.cluster.nodes, self.cluster.nodes
        resources |= {"nodes": nodes, "processes": self.processes, **self._gpus(per_node)}
        if nodes == 1:
            return resources
        # The key "mpi" makes the executor leave the steps of a job to its command.
        cpus = self.study.config.training.threads * per_node
        return resources | {"mpi": "srun", "tasks": nodes, "cpus_per_task": cpus}

    def training_minutes(self, name: str) -> int:
        """Minutes that a training run is expected to take, whatever the longest job."""
        shape = self.study.run(name).target.shape
        return training_minutes(self.study.training_flops(name), shape, self.processes, self.cluster)

    def pruning_minutes(self, name: str) -> int:
        """Minutes that the scoring or pruning of a run is expected to take."""
        calibration, shape = self.study.config.pruning.calibration, self._pruned(name).target.shape
        passes = CALIBRATION_PASSES * shape.forward_flops(calibration.sequences, calibration.sequence_length)
        learned = self.study.training_flops(name) if self.study.run(name).pruning is not None else 0
        return pruning_minutes(passes + learned, shape, self.cluster)

    def _pruned(self, name: str) -> Run:
        """What is scored or pruned: the run itself, or what it is pruned from."""
        run = self.study.run(name)
        return run if run.pruning is None else self.study.run(str(run.start))

    def _training_megabytes(self, name: str) -> int:
        run = self.study.run(name)
        assert run.plan is not None
        megabytes = training_megabytes(
            run.target.shape, run.plan, self.processes, self.cluster.nodes, gpus=self.cluster.gpus
        )
        return megabytes if run.plan.distillation is None else megabytes + model_megabytes(self._teacher)

    @property
    def _teacher(self) -> ModelShape:
        return next(run.target.shape for run in self.study.runs.values() if run.role == "parent")

    @property
    def _queue(self) -> Queue:
        return self.site.gpu if self.cluster.gpus else self.site.cpu

    def _on_one_gpu(self, minutes: Amount, megabytes: Amount) -> Resources:
        return self._sized(self._queue, minutes, megabytes) | self._gpus(1)

    def _gpus(self, number: int) -> Resources:
        """So many GPUs a node, of the site's model."""
        if not self.cluster.gpus:
            return {}
        kind = ["gpu", *([self._queue.gpu_model] if self._queue.gpu_model else []), str(number)]
        # Without the latter, the executor asks for tasks by the number of GPUs.
        return {"gres": ":".join(kind), "tasks_per_gpu": 0}

    @staticmethod
    def _sized(queue: Queue, minutes: Amount, megabytes: Amount) -> Resources:
        longest = float("inf") if queue.max_hours is None else int(60 * queue.max_hours)
        return {
            "runtime": lambda wildcards, attempt: min(minutes(wildcards) * attempt, longest),
            "mem_mb": lambda wildcards, attempt: megabytes(wildcards) * attempt,
            **queue.resources,
        }
