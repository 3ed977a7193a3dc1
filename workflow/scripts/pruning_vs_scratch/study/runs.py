"""Runs: the parent, the pruned, the retrained, the scratch baselines, and which of them form a matched pair."""

from dataclasses import dataclass
from typing import Literal

from pruning_vs_scratch.study.plan import TrainingPlan
from pruning_vs_scratch.study.targets import Target

Role = Literal["parent", "pruned", "retrained", "scratch"]
Setting = Literal["equal", "full"]


@dataclass(frozen=True)
class Run:
    """One model of the study and how it comes to be."""

    name: str
    role: Role
    target: Target
    seed: int
    plan: TrainingPlan | None = None
    """Token plan; a pruned run has none."""
    method: str | None = None
    """Pruning method; of a sparse scratch baseline, the method that made its mask."""
    start: str | None = None
    """Run whose weights this one starts from; None for random weights."""
    mask: str | None = None
    """Pruned run whose mask this one keeps; None for dense models."""
    tokens_parent: int = 0
    """Tokens that the starting weights were pretrained on."""
    tokens_prune: int = 0
    """Tokens read by pruning, before any retraining."""


@dataclass(frozen=True)
class Pair:
    """A retrained run and the scratch baseline that it is compared with."""

    setting: Setting
    """Equal training budget (the paper's setting 1), or full pipeline budget (setting 2)."""
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
