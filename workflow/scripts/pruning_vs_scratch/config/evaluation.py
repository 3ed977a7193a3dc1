"""What is measured on each checkpoint, and how certain it must be."""

from typing import Annotated, Literal

from pydantic import Field

from pruning_vs_scratch.config.base import Name, PositiveInt, Section

TaskKind = Literal["continuation", "scramble", "last_word"]


class PerplexityConfig(Section):
    """Loss on windows of held-out corpora, stored per window so that differences are paired."""

    sequence_length: PositiveInt
    """Tokens a window; windows do not overlap and carry no BOS of their own."""
    batch_size: PositiveInt = 32
    """Windows, or lm-eval requests, run through the model together."""
    corpora: dict[Name, PositiveInt]
    """Corpus (test, or a key of corpus.evaluation) and the number of windows, spread over it."""


class TaskItemsConfig(Section):
    """Multiple-choice items made from the test split by a seeded generator."""

    items: PositiveInt
    """Items a task."""
    seed: int = 0


class TasksConfig(Section):
    """lm-eval tasks, zero-shot, through lm-eval's own harness."""

    local: dict[TaskKind, TaskItemsConfig] = {}
    """Tasks of config/tasks, over items made from the study's own test split."""


class EvaluationConfig(Section):
    """Evaluation of every checkpoint."""

    perplexity: PerplexityConfig
    tasks: TasksConfig = TasksConfig()
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
