"""Targets: what shape or mask a ratio means. The pruned run and its scratch baseline share one."""

from dataclasses import asdict, dataclass
from typing import Any

from pruning_vs_scratch.config import StudyConfig
from pruning_vs_scratch.config.pruning import GRANULARITY, Comparison, Granularity
from pruning_vs_scratch.study.names import target_name
from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class Target:
    """A target's name and meaning. ``mask_method`` is set for sparse targets, whose mask a method makes."""

    name: str
    granularity: Granularity | None
    ratio: float
    pattern: str
    shape: ModelShape
    mask_method: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the target file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Target":
        """The inverse of ``to_dict``."""
        return cls(**{**values, "shape": ModelShape.from_dict(values["shape"])})


def parent_target(config: StudyConfig) -> Target:
    """The parent's own shape, as a target that prunes nothing."""
    return Target("parent", None, 0.0, "dense", parent_shape(config))


def parent_shape(config: StudyConfig) -> ModelShape:
    """The parent's shape, with the tokenizer's vocabulary."""
    return ModelShape.of(config.parent.shape, config.tokenizer.vocab_size)


def targets_of(config: StudyConfig, method: str, comparison: Comparison) -> list[Target]:
    """The targets of one method in one block of the matrix, one for each ratio and pattern."""
    granularity, parent = GRANULARITY[method], parent_shape(config)
    if granularity == "sparse":
        return [
            Target(target_name(method, ratio, pattern), "sparse", ratio, pattern, parent, method)
            for ratio in comparison.ratios
            for pattern in comparison.patterns
        ]
    shapes: dict[float, ModelShape]
    if granularity == "depth":
        shapes = {target.ratio: parent.with_depth(target) for target in config.targets.depth}
    else:
        shapes = {target.ratio: parent.with_width(target) for target in config.targets.width}
    return [
        Target(target_name(granularity, ratio), granularity, ratio, "dense", shapes[ratio])
        for ratio in comparison.ratios
    ]
