"""Runs: the parent, the pruned, the retrained, their baselines, and which of them form a matched pair."""

from dataclasses import dataclass
from typing import Literal

from pruning_vs_scratch.study.plan import PruningPlan, TrainingPlan
from pruning_vs_scratch.study.targets import Target

Arm = Literal["distilled", "gradual", "joint", "early"]
"""What the paper leaves open: distillation, pruning in steps, one schedule for all steps, pruning a younger parent."""
Role = Literal["parent", "pruned", "retrained", "scratch", "rewind", "trunk", "trial", "candidate"] | Arm
"""Runs of an arm all have its name as their role, whatever their phase."""
Setting = Literal["equal", "full", "rewind"]
Match = Literal["tokens", "flops"]


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
    """Tokens read by all pruning steps."""
    tokens_retrained: int = 0
    """Tokens of retraining before the last pruning step; none unless a model is pruned gradually."""

    @property
    def is_parent(self) -> bool:
        """Whether it is a parent, or a trunk of one."""
        return self.target.granularity is None


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


@dataclass(frozen=True)
class ArmPair:
    """A run of an arm and what it is compared with, at the same tokens or FLOPs."""

    arm: Arm
    match: Match
    """What both sides share; of distilled ones, what they share with the runs that model language alone."""
    run: str
    """Starts from pruned weights."""
    baseline: str
    """Of the arm distilled, the same target from random weights, distilled too; of all others, ``usual``."""
    usual: str
    """The same target in the paper's way: a whole parent, pruned once, retrained on the budget by a new schedule."""
    method: str
    granularity: str
    pattern: str
    ratio: float
    budget: int
    """Retraining tokens of ``usual``."""
    seed: int
    steps: str = ""
    """Of the arm gradual, its ratios: '0.25+0.5'."""
    share: float = 1.0
    """Share of the parent's tokens after which the run was pruned."""
