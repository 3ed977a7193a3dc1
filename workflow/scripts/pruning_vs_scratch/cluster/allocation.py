"""The resources of each kind of rule in Snakemake's form: numbers, and functions of wildcards and attempt.

They are ignored without a scheduler. Time and memory grow with every attempt.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pruning_vs_scratch.cluster.demand import (
    START_MEGABYTES,
    calibration_megabytes,
    evaluation_minutes,
    pruning_minutes,
    text_minutes,
    training_minutes,
)
from pruning_vs_scratch.cluster.host_memory import (
    Start,
    evaluation_megabytes,
    mask_learning_megabytes,
    training_megabytes,
)
from pruning_vs_scratch.cluster.request import JobRequest
from pruning_vs_scratch.cluster.site import Queue, Site
from pruning_vs_scratch.cluster.speed import speed_minutes
from pruning_vs_scratch.pruning.facts import Text
from pruning_vs_scratch.pruning.memory import Memory, means_of, pruning_memory
from pruning_vs_scratch.study.costs import calibration_costs
from pruning_vs_scratch.study.priority import training_flops
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.study.targets import shapes_to_score

Resources = dict[str, Any]


class Allocation:
    """What the jobs of one study request at one site."""

    def __init__(self, study: Study, site: Site) -> None:
        self.study = study
        self.site = site
        self.cluster = study.config.cluster

    @property
    def text(self) -> Resources:
        """Rules that read or tokenise text."""
        return _resources(self._text(), lambda _: self._text())

    @property
    def part(self) -> Resources:
        """Rules that read or tokenise one part of the training text."""
        request = self._part()
        return _resources(request, lambda _: request)

    @property
    def pruning(self) -> Resources:
        """Rules that prune one model (wildcard: run), in one process or in several."""
        resources = _resources(self._pruning(self.study.pruned_runs[0]), lambda wildcards: self._pruning(wildcards.run))
        if self.cluster.gpus:
            # Only the number of GPUs varies: CPUs are the rule's threads, and there is one node.
            resources["gres"] = lambda wildcards: self._pruning(wildcards.run).geometry["gres"]
        return resources | {"processes": lambda wildcards: self.study.processes.pruning(wildcards.run)}

    @property
    def scoring(self) -> Resources:
        """The rule that scores one model for a method (wildcards: run, method), always in one process."""
        # In a study that scores nothing, the rule requests the same as pruning.
        any_scoring = next(iter(self.study.scorings), None)
        any_request = self._scored(*any_scoring) if any_scoring else self._pruning(self.study.pruned_runs[0])
        return _resources(any_request, lambda wildcards: self._scored(wildcards.run, wildcards.method))

    @property
    def evaluation(self) -> Resources:
        """Rules that evaluate the models of a group (wildcard: group)."""
        any_group = next(iter(self.study.evaluation_groups))
        return _resources(self._evaluation(any_group), lambda wildcards: self._evaluation(wildcards.group))

    @property
    def speed(self) -> Resources:
        """The rule that times one model of each target, with nothing running in parallel."""
        megabytes = self._scoring_megabytes(self.study.measured_runs.values(), processes=1)
        request = self._single_node("speed", speed_minutes(self.study), megabytes)
        # Not the rule's threads: those are all of one machine's, so that nothing else runs there.
        return _resources(request, lambda _: request) | {"cpus_per_task": request.cpus}

    @property
    def training(self) -> Resources:
        """Rules that train one run (wildcard: run), on one node or several, depending on its number of processes."""
        resources = _resources(
            self._training(self.study.trained_runs[0]), lambda wildcards: self._training(wildcards.run)
        )
        geometries = {}
        for name in self.study.trained_by_plan:
            request, processes = self._training(name), self.study.processes.training(name)
            geometries[name] = request.geometry | {"nodes": request.nodes, "processes": processes}
        return resources | _by_run(geometries)

    @property
    def requests(self) -> list[JobRequest]:
        """For each kind and geometry of jobs, the most time and memory that any of them requests."""
        every = (
            self._part() if self.study.text.parts else self._text(),
            *(self._scored(*scoring) for scoring in self.study.scorings),
            *map(self._pruning, self.study.pruned_runs),
            *map(self._training, self.study.trained_by_plan),
            *map(self._evaluation, self.study.evaluation_groups),
        )
        most: dict[tuple[str, int, int, int], JobRequest] = {}
        for request in every:
            geometry = (request.kind, request.nodes, request.gpus, request.cpus)
            other = most.get(geometry, request)
            minutes, megabytes = max(other.minutes, request.minutes), max(other.megabytes, request.megabytes)
            most[geometry] = replace(request, minutes=minutes, megabytes=megabytes)
        return list(most.values())

    def memory_of_pruning(self, name: str, *, reads_text: bool) -> Memory:
        """The memory to prune a run with passes over calibration text, or without any."""
        start, plan, pruning = str(self.study.run(name).start), self.study.pruning_plan(name), self.study.config.pruning
        return pruning_memory(
            self._shape(start),
            plan.method,
            Text(plan.sequences if reads_text else 0, plan.sequence_length, plan.batch_size),
            means_of(pruning, gpu=self.cluster.gpus),
            shapes_to_score(self.study.config, plan.method, self._shape(start)),
            pruning.options(plan.method),
        )

    def _text(self) -> JobRequest:
        """Reading or tokenising a whole corpus; if the training text is read in parts, the other texts."""
        text = self.study.text
        needs = [need for corpus in text.extracted_corpora for need in text.windows_needed(corpus)]
        tokens = max(number * (length + 1) for number, length in needs)
        return JobRequest("text", text_minutes(tokens), START_MEGABYTES, self.site.cpu)

    def _part(self) -> JobRequest:
        source = self.study.config.corpus.numbered_source
        assert source is not None
        tokens = source.files_per_part * source.tokens_per_file
        return JobRequest("text", text_minutes(tokens), START_MEGABYTES, self.site.cpu)

    def _pruning(self, name: str) -> JobRequest:
        """Pruning of a run: its source is read, or trained if masks are learned."""
        start, plan = str(self.study.run(name).start), self.study.pruning_plan(name).training
        if plan is None:
            return self._by_calibration(name, reads_text=not self.study.is_scored_once(name))
        shape, processes = self._shape(start), self.study.processes.pruning(name)
        return self._single_node(
            "pruning",
            pruning_minutes(training_flops(self.study.recorded_runs, name), shape, processes, self.cluster),
            mask_learning_megabytes(shape, plan, processes, gpus=self.cluster.gpus),
            processes,
        )

    def _scored(self, start: str, method: str) -> JobRequest:
        """Scoring of a run for a method."""
        return self._by_calibration(self.study.scorings[start, method][0], reads_text=True)

    def _by_calibration(self, name: str, *, reads_text: bool) -> JobRequest:
        """Scoring a run's source, or pruning it, or both; with scores from a file, no text is read."""
        run = self.study.run(name)
        flops = calibration_costs(self.study, run) if reads_text else 0
        minutes = pruning_minutes(flops, self._shape(str(run.start)), 1, self.cluster)
        memory = self.memory_of_pruning(name, reads_text=reads_text)
        return self._single_node("pruning", minutes, calibration_megabytes(memory, gpu=self.cluster.gpus))

    def _evaluation(self, group: str) -> JobRequest:
        runs, processes = self.study.evaluation_groups[group], self.study.config.evaluation.processes
        minutes, megabytes = evaluation_minutes(len(runs), self.cluster), self._scoring_megabytes(runs, processes)
        return self._single_node("evaluation", minutes, megabytes, processes)

    def _scoring_megabytes(self, runs: Iterable[str], processes: int) -> int:
        """Memory to load any of some runs and to run it on text, in each of some processes."""
        evaluation, gpus = self.study.config.evaluation, self.cluster.gpus
        return max(evaluation_megabytes(self._shape(run), evaluation, processes, gpus=gpus) for run in runs)

    def _training(self, name: str) -> JobRequest:
        run, gpus, processes = self.study.run(name), self.cluster.gpus, self.study.processes.training(name)
        assert run.plan is not None
        shape, nodes = run.target.shape, self.cluster.nodes_of(processes)
        per_node = processes // nodes
        megabytes = training_megabytes(shape, run.plan, self._start(run), processes, nodes, gpus=gpus)
        return JobRequest(
            "training",
            training_minutes(training_flops(self.study.recorded_runs, name), shape, processes, self.cluster),
            megabytes,
            self._queue,
            cpus=self.study.config.training.threads * per_node,
            nodes=nodes,
            gpus=per_node if gpus else 0,
        )

    def _single_node(self, kind: str, minutes: int, megabytes: int, processes: int = 1) -> JobRequest:
        cpus, gpus = self.study.config.training.threads * processes, int(self.cluster.gpus) * processes
        return JobRequest(kind, minutes, megabytes, self._queue, cpus=cpus, gpus=gpus)

    @property
    def _queue(self) -> Queue:
        return self.site.gpu if self.cluster.gpus else self.site.cpu

    def _shape(self, run: str) -> ModelShape:
        return self.study.run(run).target.shape

    def _start(self, run: Run) -> Start:
        """What the first process of a run holds at first: its weights, what they are made from, and a teacher."""
        shape = run.target.shape
        params = shape.params_total
        if run.rewound is not None:
            params += self.study.parent_of(run).target.shape.params_total
        if run.redrawn is not None:
            params *= 2
        if run.plan is not None and run.plan.distillation is not None:
            params += self.study.parent_of(run).target.shape.params_total
        return Start(params, shape.layers * shape.block_linear_params if run.mask is not None else 0)


def _resources(any_request: JobRequest, request: Callable[[Any], JobRequest]) -> Resources:
    """Time and memory by a job's wildcards; the geometry of one job for the whole rule."""
    return {
        "runtime": lambda wildcards, attempt: request(wildcards).minutes_of(attempt),
        "mem_mb": lambda wildcards, attempt: attempt * request(wildcards).megabytes,
        **any_request.geometry,
    }


def _by_run(geometries: Mapping[str, Resources]) -> Resources:
    """Resources by a wildcard ``run``: a constant if it is the same for all runs, otherwise a function of the run. A
    resource that is None for a run is left out.
    """
    resources: Resources = {}
    for key in dict.fromkeys(key for geometry in geometries.values() for key in geometry):
        values = {run: geometry.get(key) for run, geometry in geometries.items()}
        first = next(iter(values.values()))
        same = all(value == first for value in values.values())
        resources[key] = first if same else lambda wildcards, values=values: values[wildcards.run]
    return resources
