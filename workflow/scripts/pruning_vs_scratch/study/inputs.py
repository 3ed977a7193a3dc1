"""Files from which the training or pruning of a run starts, by the options that name them. No torch here."""

from pathlib import Path

from pruning_vs_scratch.study.study import Study


def starting_point(study: Study, name: str) -> dict[str, Path]:
    """What a training run starts from, by option of train.py: a checkpoint or a target, a mask, and a trunk.

    A target is completed by the configuration of a published parent, so that both sides share everything but the
    weights.
    """
    run, paths = study.run(name), study.paths
    if run.start is not None:
        start = {"model": paths.model(run.start)}
    elif run.redrawn is not None:
        option = "redraw-linears" if study.config.baselines.redraw == "linear" else "redraw-linears-and-head"
        start = {option: paths.model(run.redrawn)}
    elif run.rewound is not None:
        start = {"target": paths.target("parent"), "cut-like": paths.model(run.rewound)}
    else:
        start = {"target": paths.target(run.target.name)}
    if "target" in start and study.sources.parent_folder is not None:
        start |= {"like": paths.model(study.parent_of(run).name)}
    if run.plan is not None and run.plan.distillation is not None:
        start |= {"teacher": paths.model(study.parent_of(run).name)}
    if study.rate_from_sweep(name) is not None:
        start |= {"learning-rates": paths.sweep}
    if run.trunk is not None:
        start |= {"state": paths.state(run.trunk), "state-metrics": paths.metrics(run.trunk)}
    return start | ({"mask": paths.model(run.mask)} if run.mask is not None else {})


def pruning_inputs(study: Study, name: str) -> dict[str, Path]:
    """What a pruning step reads, by option of prune.py: text to learn from or scores, or neither."""
    run, plan, paths = study.run(name), study.pruning_plan(name), study.paths
    if study.is_scored_once(name):
        return {"scores": paths.scores(str(run.start), plan.method)}
    if plan.training is not None:
        text = {"calibration": study.text.of_run(name)}
        return text | ({"validation": paths.tokens / "validation"} if study.config.corpus.domains else {})
    return {"calibration": paths.tokens / "calibration"} if plan.sequences else {}
