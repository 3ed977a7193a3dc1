"""Targets: the shape or mask that a ratio means. The pruned run and its scratch baseline share one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pruning_vs_scratch.config.model import WidthTarget
from pruning_vs_scratch.config.pruning import Comparison
from pruning_vs_scratch.config.steps import Step, method_of, parse_chain, ratio_of
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.facts import Granularity
from pruning_vs_scratch.study.candidate_shapes import candidate_shapes
from pruning_vs_scratch.study.names import pruning_label, target_name
from pruning_vs_scratch.study.shape import ModelShape


@dataclass(frozen=True)
class Target:
    """A target's name and meaning."""

    name: str
    granularity: Granularity | None
    """'hybrid' for a chain of methods."""
    ratio: float
    """Of a chain, the share that all steps together prune."""
    pattern: str
    shape: ModelShape
    mask_method: str | None = None
    """The method or chain whose mask a sparse target is; None for dense targets."""
    steps: tuple[str, ...] = ()
    """The steps of a chain, such as 'wanda@2:4'; empty for a single method."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the target file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Target":
        """The inverse of ``to_dict``.

        Raises:
            UserError: the values are not those of a target.
        """
        try:
            return cls(**{**values, "shape": ModelShape.from_dict(values["shape"]), "steps": tuple(values["steps"])})
        except (KeyError, TypeError) as error:
            raise UserError(f"not a target file ({error}); write_target.py writes them") from error

    @property
    def last_step(self) -> "Target":
        """The target of the last step of a chain; for a single method, the target itself."""
        if not self.steps:
            return self
        step = Step.parse(self.steps[-1])
        method = step.method if step.granularity == "sparse" else None
        return Target(self.name, step.granularity, step.ratio, step.pattern, self.shape, method)


def parent_target(config: StudyConfig) -> Target:
    """The parent's own shape, as a target that prunes nothing."""
    return Target("parent", None, 0.0, "dense", parent_shape(config))


def parent_shape(config: StudyConfig) -> ModelShape:
    """The parent's shape, with the tokenizer's vocabulary."""
    return ModelShape.of(config.parent.shape, config.tokenizer.vocab_size)


def pipelines_of(comparison: Comparison) -> list[tuple[Step, ...]]:
    """The pipelines of one block of the matrix: single methods at each ratio and pattern, then chains."""
    singles = []
    for method in comparison.methods:
        for ratio in comparison.ratios:
            if Step(method, ratio, "").granularity == "sparse":
                singles += [(Step(method, ratio, pattern),) for pattern in comparison.patterns]
            else:
                singles.append((Step(method, ratio, "dense"),))
    return singles + [parse_chain(chain) for chain in comparison.chains]


def target_of(config: StudyConfig, steps: Sequence[Step]) -> Target:
    """The target of a method or chain. Methods that make the same shape share one; each mask has its own.

    If the shape is searched, the first candidate's is used here, as all have the same size; the target's file has the
    chosen one.
    """
    shape, last = parent_shape(config), steps[-1]
    for step in steps:
        shape = _shape_after(config, shape, step)
    sparse, chain = last.granularity == "sparse", len(steps) > 1
    shape_name = "+".join(target_name(_family(config, step), step.ratio) for step in steps)
    return Target(
        name=pruning_label(steps) if sparse else shape_name,
        granularity="hybrid" if chain else last.granularity,
        ratio=ratio_of(steps) if chain else last.ratio,
        pattern=last.pattern,
        shape=shape,
        mask_method=method_of(steps) if sparse else None,
        steps=tuple(map(str, steps)) if chain else (),
    )


def is_searched(config: StudyConfig, ratio: float) -> bool:
    """Whether a search finds the shape that width methods share at a ratio."""
    return config.shape_search is not None and ratio in config.shape_search.ratios


def _shape_after(config: StudyConfig, shape: ModelShape, step: Step) -> ModelShape:
    if step.granularity == "depth":
        return shape.with_depth(next(t for t in config.targets.depth if t.ratio == step.ratio))
    if step.granularity == "width":
        if _family(config, step) == "width" and is_searched(config, step.ratio):
            return candidate_shapes(config, shape, step.ratio)[0]
        return width_shape(config, step.method, shape, _width_target(config, step))
    return shape


def width_shape(config: StudyConfig, method: str, shape: ModelShape, target: WidthTarget) -> ModelShape:
    """What a width method makes of a shape: the target's numbers, and the biases that it adds.

    Raises:
        UserError: the ratio alone decides the shape, and the target has another.
    """
    facts, options = facts_of(method), config.pruning.options(method)
    wanted = shape.with_width(target).with_biases(facts.adds(options))
    if facts.shape_at is not None and facts.ratio_decides(options):
        decided = facts.shape_at(shape, target.ratio, options)
        for key in ("kv_heads", "heads", "ffn_size"):
            if getattr(wanted, key) != getattr(decided, key):
                raise UserError(
                    f"targets.width.{config.targets.width.index(target)}.{key}: {method} with its options keeps "
                    f"{getattr(decided, key)} at the ratio {target.ratio:g}, not {getattr(wanted, key)}"
                )
    return wanted


def shapes_to_score(config: StudyConfig, method: str, shape: ModelShape) -> list[ModelShape]:
    """All shapes that the targets of a method's granularity make from a shape, whatever is in the matrix. None for a
    method whose scores serve any shape.
    """
    facts, targets = facts_of(method), config.targets
    if not facts.needs_goals:
        return []
    if facts.granularity == "depth":
        layers = sorted({target.layers for target in targets.depth if target.layers < shape.layers})
        return [replace(shape, layers=number) for number in layers]
    own = [targets.width_of(method, target.ratio) for target in targets.width]
    shapes = [width_shape(config, method, shape, target) for target in own if target is not None]
    return list(dict.fromkeys(shapes))


def _width_target(config: StudyConfig, step: Step) -> WidthTarget:
    target = config.targets.width_of(step.method, step.ratio)
    assert target is not None, f"the configuration has a width target for {step}"
    return target


def _family(config: StudyConfig, step: Step) -> str:
    """'depth', 'width', or the methods that have the shape to themselves: 'flap'."""
    target = config.targets.width_of(step.method, step.ratio) if step.granularity == "width" else None
    return "-".join(sorted(target.methods)) if target is not None and target.methods else str(step.granularity)
