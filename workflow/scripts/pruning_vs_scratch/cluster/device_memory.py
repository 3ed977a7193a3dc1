"""Jobs for which GPUs have too little memory, found by estimates from shapes alone: no torch."""

from collections.abc import Iterator

from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.study.evaluation_memory import evaluation_memory
from pruning_vs_scratch.study.possible_processes import device_bytes, training_bytes
from pruning_vs_scratch.study.training_memory import FREE


def device_memory_problems(allocation: Allocation) -> Iterator[str]:
    """One line with the remedy for each kind of job and size of model that does not fit; nothing without GPUs."""
    cluster, told = allocation.cluster, set()
    for what, needed, remedy in _needs(allocation) if cluster.gpus else ():
        if needed > 1e9 * cluster.device_gigabytes and (what, needed) not in told:
            told.add((what, needed))
            yield (
                f"{what} about {needed / 1e9:.0f} GB on each GPU, which has {cluster.device_gigabytes:g} "
                f"(cluster.device_gigabytes): {remedy}"
            )


def _needs(allocation: Allocation) -> Iterator[tuple[str, float, str]]:
    """Messages that say what needs so many bytes, including the reserve, and what would reduce them."""
    study = allocation.study
    for name in study.trained_by_plan:
        run, processes = study.run(name), study.processes.training(name)
        size = f"training {run.target.shape.params_total / 1e9:.2f}B parameters (processes: {processes}) needs"
        remedy = "raise training.processes, lower micro_batch_size, or set activation_checkpointing: auto"
        yield size, device_bytes(study.config, run, processes), remedy
    for name in study.pruned_runs:
        plan, shape = study.pruning_plan(name), study.run(str(study.run(name).start)).target.shape
        what = f"pruning {shape.params_total / 1e9:.2f}B parameters by {plan.method} needs"
        if plan.training is None:
            needed = allocation.memory_of_pruning(name, reads_text=plan.sequences > 0).device / (1 - FREE)
            yield what, needed, "lower pruning.calibration.batch_size or device_buffer_gib"
        else:
            processes = study.processes.pruning(name)
            needed = training_bytes(allocation.cluster, shape, plan.training, processes, masked=True)
            yield what, needed, "raise pruning.processes, or set training.activation_checkpointing: auto"
    evaluation = study.config.evaluation
    reading = evaluation.perplexity
    for name in {run for group in study.evaluation_groups.values() for run in group}:
        shape = study.run(name).target.shape
        needed = evaluation_memory(
            shape,
            windows=reading.batch_size,
            length=reading.sequence_length,
            in_bf16=evaluation.precision != "fp32",
        )
        what = f"evaluating {shape.params_total / 1e9:.2f}B parameters needs"
        yield what, needed / (1 - FREE), "lower evaluation.perplexity.batch_size, or set evaluation.precision: bf16"
