"""Runs: the parent, the pruned, the retrained, their baselines, and which of them form a matched pair."""

from dataclasses import dataclass
from typing import Literal

from pruning_vs_scratch.study.plan import PruningPlan, TrainingPlan
from pruning_vs_scratch.study.targets import Target

Role = Literal["parent", "pruned", "retrained", "scratch", "rewind", "trunk", "trial", "candidate"]
Setting = Literal["equal", "full", "rewind"]


@dataclass(frozen=True)
class Run:
    """One model of the study, a trunk that some of them share, or a trial of a search, and how it comes to be."""

    name: str
    role: Role
    target: Target
    seed: int
    plan: TrainingPlan | None = None
    """Token plan of a run that the training loop makes."""
    pruning: PruningPlan | None = None
    """Plan of a run that a pruning method makes."""
    method: str | None = None
    """Pruning method, or methods of a chain; of a sparse scratch baseline, what made its mask."""
    start: str | None = None
    """Run whose weights this one starts from; None for random weights."""
    mask: str | None = None
    """Pruned run whose mask this one keeps; None for dense models."""
    redrawn: str | None = None
    """Pruned run whose embeddings and norms this one starts from, with all other weights redrawn."""
    rewound: str | None = None
    """Pruned run whose structure this one has, with the initial weights of the parent."""
    trunk: str | None = None
    """Trunk whose state this run continues from: the first steps of its plan, shared with other runs."""
    tokens_parent: int | None = 0
    """Tokens that the starting weights were pretrained on; None if unknown."""
    tokens_prune: int = 0
    """Tokens read by all pruning steps, before any retraining."""


@dataclass(frozen=True)
class Pair:
    """A retrained run and the baseline that it is compared with."""

    setting: Setting
    """Equal budget (the paper's setting 1), full pipeline budget (setting 2), or equal with the weights rewound."""
    retrained: str
    scratch: str
    parent: str
    method: str
    granularity: str
    pattern: str
    ratio: float
    budget: int
    """Retraining tokens."""
    seed: int
