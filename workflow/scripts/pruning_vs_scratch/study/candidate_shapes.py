"""The shapes that a search tries for a width ratio: given or computed."""

import math

from pruning_vs_scratch.config.shape_search import ShapeSearchConfig
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.solve import Widths, deviation, distance, solved_widths


def candidate_shapes(config: StudyConfig, parent: ModelShape, ratio: float) -> list[ModelShape]:
    """The candidates of a ratio that is searched.

    Raises:
        UserError: a given one is larger or smaller than the tolerance allows, or too few can be computed.
    """
    search = config.shape_search
    assert search is not None, "no shape is searched"
    given = {i: candidate for i, candidate in enumerate(search.candidates) if candidate.ratio == ratio}
    all_heads = "heads" not in facts_of(search.method).shrinks(config.pruning.options(search.method))
    widths = solved_widths(parent, ratio, tolerance=search.tolerance, all_heads=all_heads)
    if not given:
        return _solved(search, parent, ratio, widths)
    shapes = {i: parent.with_width(candidate) for i, candidate in given.items()}
    problems = [
        _size_problem(search, f"shape_search.candidates.{i}", shape, parent, ratio, widths)
        for i, shape in shapes.items()
        if abs(deviation(shape, parent, ratio)) > search.tolerance
    ]
    if problems:
        raise UserError("candidates of a search are of equal size:\n" + "\n".join(f"  {line}" for line in problems))
    return list(shapes.values())


def shape_words(shape: ModelShape) -> str:
    """'hidden_size 24, ffn_size 32, heads 4'."""
    return f"hidden_size {shape.hidden_size}, ffn_size {shape.ffn_size}, heads {shape.heads}"


def _solved(search: ShapeSearchConfig, parent: ModelShape, ratio: float, widths: Widths) -> list[ModelShape]:
    if len(widths.fitting) > 1:
        return widths.fitting[: search.max]
    enough = math.ceil(abs(deviation(widths.nearest[:2][-1], parent, ratio)) * 1000) / 1000
    left = (1 - ratio) * parent.params_nonembedding
    nearest = "; ".join(
        f"{shape_words(shape)} ({deviation(shape, parent, ratio):+.1%})" for shape in widths.nearest[:2]
    )
    raise UserError(
        f"shape_search.ratios.{search.ratios.index(ratio)}: a search needs two shapes of the size that {ratio:g} "
        f"leaves, {left:,.0f} decoder parameters, and {len(widths.fitting)} of this parent are within "
        f"shape_search.tolerance = {search.tolerance:g}. Nearest: {nearest}. Choose another ratio, or a tolerance of "
        f"{enough:g} or more"
    )


def _size_problem(
    search: ShapeSearchConfig, path: str, shape: ModelShape, parent: ModelShape, ratio: float, widths: Widths
) -> str:
    nearest = min(widths.fitting or widths.nearest, key=lambda other: distance(shape, other, parent))
    return (
        f"{path}: {shape_words(shape)} has {shape.params_nonembedding:,} decoder parameters, "
        f"{deviation(shape, parent, ratio):+.1%} of the {(1 - ratio) * parent.params_nonembedding:,.0f} that {ratio:g} "
        f"leaves; shape_search.tolerance allows {search.tolerance:.1%}; nearest: {shape_words(nearest)}"
    )
