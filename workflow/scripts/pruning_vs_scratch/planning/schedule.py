"""How long a study takes on so many devices: its jobs in the order in which a scheduler would start them."""

from collections.abc import Mapping

from pruning_vs_scratch.planning.estimate import Load
from pruning_vs_scratch.planning.jobs import Job, JobGraph
from pruning_vs_scratch.study.scheduling import Takes, Waiting


def makespan(graph: JobGraph, loads: Mapping[Job, Load], *, gpus: int, cores: int) -> float:
    """Seconds until the last job ends. A job takes its GPUs, or its cores if it has none."""
    waiting = Waiting({job: graph.needs(job) for job in graph.in_order})
    return waiting.makespan({job: _takes(loads[job]) for job in graph.jobs}, {"gpus": gpus, "cores": cores})


def _takes(load: Load) -> Takes:
    return Takes(load.seconds, "gpus", load.gpus) if load.gpus else Takes(load.seconds, "cores", load.cores)
