"""The plan of a study: everything known about its cost before it is run, as tables."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property

import pandas as pd

from pruning_vs_scratch.planning.estimate import Estimator, Load
from pruning_vs_scratch.planning.jobs import STAGES, Job, job_graph
from pruning_vs_scratch.planning.schedule import longest_chain, makespan
from pruning_vs_scratch.planning.sharing import sharing
from pruning_vs_scratch.planning.storage import storage
from pruning_vs_scratch.planning.throughput import COLUMNS, PROCESSOR, ThroughputTable
from pruning_vs_scratch.study.costs import planned_costs, scoring_flops
from pruning_vs_scratch.study.study import Study

PAPERS_MILLION = 2**20
"""The paper calls a step of 4,194,304 tokens 4.0M: it counts 2^20 tokens as a million."""
LEDGER = ("tokens_planned", "tokens_trunk", "flops", "flops_trunk", "flops_teacher", "flops_teacher_trunk")
"""Columns of the ledger that a plan can predict."""


class Plan:
    """A study on one kind of device.

    Raises:
        UserError: the throughput table has no rate for some of its work.
    """

    def __init__(
        self,
        study: Study,
        throughput: ThroughputTable,
        device: str,
        figures: Collection[str],
        pages: Collection[str],
        devices: int | None = None,
    ) -> None:
        self.study = study
        self.devices = study.config.cluster.devices if devices is None else devices
        """Number of devices; None if unknown."""
        self.device = device
        self.graph = job_graph(study, figures, pages)
        estimator = Estimator(study, throughput, device)
        self.loads: dict[Job, Load] = {job: estimator.load(job) for job in self.graph.jobs}
        self.precision = estimator.precision
        self.rates = pd.DataFrame([rate.model_dump() for rate in estimator.used], columns=list(COLUMNS))

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """A row per rule: jobs, and the hours of the longest."""
        rows = [
            {"rule": job.rule, "jobs": 1, "longest_hours": self.loads[job].seconds / 3600}
            for job in self.graph.in_order
        ]
        return _grouped(rows, "rule", jobs="sum", longest_hours="max")

    @cached_property
    def hours(self) -> float | None:
        """Hours until the last job ends, if jobs that hold up most start first; a run's threads come with each GPU."""
        if self.devices is None:
            return None
        is_cpu = self.device == PROCESSOR
        cores = self.devices if is_cpu else self.devices * self.study.config.training.threads
        return makespan(self.graph, self.loads, gpus=0 if is_cpu else self.devices, cores=cores) / 3600

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row for each trained run: its parameters, its processes and nodes, its hours and those of its devices."""
        trained = {job.subject: load for job, load in self.loads.items() if job.rule.startswith("train")}
        rows = []
        for name in self.study.trained_by_plan:
            if name in trained:
                processes, load = self.study.processes.training(name), trained[name]
                rows.append(
                    {
                        "run": name, "parameters": self.study.run(name).target.shape.params_total,
                        "processes": processes, "nodes": self.study.config.cluster.nodes_of(processes),
                        "hours": load.seconds / 3600, "device_hours": load.gpu_hours or load.core_hours,
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """A row per run: what its row of ledger.csv will have."""
        return _frame([asdict(costs) for costs in planned_costs(self.study)])

    @cached_property
    def stages(self) -> pd.DataFrame:
        """A row per stage, in pipeline order: jobs, tokens read, operations, hours, longest job."""
        rows = [
            {
                "stage": job.stage, "jobs": 1, "tokens": load.tokens, "flops": load.flops, "gpu_hours": load.gpu_hours,
                "core_hours": load.core_hours, "longest_hours": load.seconds / 3600,
            }
            for job, load in self.loads.items()
        ]  # fmt: skip
        sums = ("jobs", "tokens", "flops", "gpu_hours", "core_hours")
        table = _grouped(rows, "stage", **dict.fromkeys(sums, "sum"), longest_hours="max")
        return table.sort_values("stage", key=lambda stages: stages.map(STAGES.index), ignore_index=True)

    @cached_property
    def links(self) -> pd.DataFrame:
        """A row for each pair of stages where jobs of the second need jobs of the first, and how often."""
        rows = [
            {"stage": needed.stage, "next": job.stage, "files": 1}
            for job in self.graph.jobs
            for needed in self.graph.needs(job)
            if needed.stage != job.stage
        ]
        return pd.DataFrame(rows).groupby(["stage", "next"], sort=False, as_index=False).sum()

    @cached_property
    def budgets(self) -> pd.DataFrame:
        """A row for each training budget: exact, in steps, and as the paper counts."""
        plans = [run.plan for run in self.study.recorded_runs.values() if run.plan is not None]
        rows = [
            {"tokens": plan.tokens, "steps": plan.steps, "tokens_by_the_paper": plan.tokens * 10**6 // PAPERS_MILLION,
             "runs": 1, "phases": plan.phase}
            for plan in plans
        ]  # fmt: skip
        table = pd.DataFrame(rows).groupby(["tokens", "steps", "tokens_by_the_paper"], as_index=False)
        return table.agg({"runs": "sum", "phases": _joined})

    @cached_property
    def chain(self) -> pd.DataFrame:
        """A row per job of the longest chain: when it can begin and how long it takes, in hours."""
        rows, begins = [], 0.0
        for job in longest_chain(self.graph, self.loads):
            hours = self.loads[job].seconds / 3600
            rows.append({"job": job.label, "stage": job.stage, "begins_hours": begins, "hours": hours})
            begins += hours
        return pd.DataFrame(rows)

    @cached_property
    def shared(self) -> pd.DataFrame:
        """A row for each kind of work that is shared, and what that saves."""
        costs = {row.run: row for row in planned_costs(self.study)}
        scorings = {scoring: scoring_flops(self.study, *scoring) for scoring in self.study.scorings}
        rows = [asdict(row) | {"flops_saved": row.flops_saved} for row in sharing(self.study, costs, scorings)]
        return _frame(rows)

    @cached_property
    def storage(self) -> pd.DataFrame:
        """A row for each kind of files."""
        return pd.DataFrame([asdict(stored) for stored in storage(self.study)])

    @property
    def long(self) -> pd.DataFrame:
        """All tables as one: part, item, quantity, value."""
        return pd.DataFrame(self._long(), columns=["part", "item", "quantity", "value"])

    def _long(self) -> Iterator[tuple[str, str, str, object]]:
        phases = self.ledger.groupby("phase", sort=False, as_index=False)[list(LEDGER)].sum()
        yield from _melted("job", self.jobs, "rule")
        yield from _melted("stage", self.stages, "stage")
        yield from _melted("ledger", phases, "phase")
        yield from _melted("run", self.runs, "run")
        if self.hours is not None:
            yield "study", str(self.devices), "hours", self.hours
        yield from _melted("budget", self.budgets, "tokens")
        yield from _melted("chain", self.chain, "job")
        yield from _melted("shared", self.shared, "what")
        yield from _melted("storage", self.storage, "kind")
        named = self.rates.assign(row=[f"{r.device} {r.work} {r.params_from}" for r in self.rates.itertuples()])
        yield from _melted("rate", named, "row")


def _joined(words: "pd.Series[str]") -> str:
    return ", ".join(dict.fromkeys(words))


def _frame(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A table whose operations stay Python integers: their sums exceed 64 bits."""
    table = pd.DataFrame(list(rows))
    return table.astype({column: object for column in table.columns if str(column).startswith("flops")})


def _grouped(rows: Iterable[Mapping[str, object]], key: str, **how: str) -> pd.DataFrame:
    return _frame(rows).groupby(key, sort=False, as_index=False).agg(how)


def _melted(part: str, table: pd.DataFrame, key: str) -> Iterator[tuple[str, str, str, object]]:
    for row in table.to_dict("records"):
        for column, value in row.items():
            if column != key:
                yield part, str(row[key]), str(column), value
