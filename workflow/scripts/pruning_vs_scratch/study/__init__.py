"""From a configuration to runs, token plans and files: everything that the workflow needs."""

from pruning_vs_scratch.study.plan import PruningPlan, TrainingPlan
from pruning_vs_scratch.study.runs import ArmPair, Pair, Run
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.study.targets import Target

__all__ = ["ArmPair", "ModelShape", "Pair", "PruningPlan", "Run", "Study", "Target", "TrainingPlan"]
