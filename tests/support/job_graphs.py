"""Graphs of jobs by their numbers, and the plan of a study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.figures.catalogue import figures_of
from pruning_vs_scratch.planning.jobs import Job, JobGraph
from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.throughput import SHIPPED, ThroughputTable
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.published.catalogue import pages_of


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


def plan_of(values: dict[str, Any], device: str | None = None) -> Plan:
    """The plan of a study at the shipped rates, on its own device or another."""
    study = Study(values)
    throughput = ThroughputTable.read([REPOSITORY / SHIPPED])
    return Plan(study, throughput, device or study.config.cluster.device, figures_of(study), pages_of(bool(study.arms)))
