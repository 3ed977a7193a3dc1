"""A ratio without a target file leads to a shape that prunes that share."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import SHAPE
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study import ModelShape
from pruning_vs_scratch.study.solve import shape_for
from usual_shapes import RATIOS, usual_shapes

WIDTH_METHODS = st.sampled_from(["minitron_width", "sheared_llama"])
DEPTH_METHODS = st.sampled_from(["shortgpt", "minitron_depth"])


@given(usual_shapes(), WIDTH_METHODS, RATIOS)
def test_a_width_ratio_is_met_with_a_shape_that_loads_and_keeps_the_proportions(
    parent: ModelShape, method: str, ratio: float
) -> None:
    shape = shape_for(parent, method, ratio, facts_of(method).options())
    assert replace(shape, hidden_size=parent.hidden_size, ffn_size=parent.ffn_size) == parent
    assert 1 - shape.params_nonembedding / parent.params_nonembedding == pytest.approx(ratio, abs=0.01)
    assert shape.hidden_size % (2 * shape.heads if shape.heads % 2 else shape.heads) == 0
    assert shape.ffn_size % 8 == 0 < shape.ffn_size <= parent.ffn_size
    hidden, ffn = shape.hidden_size / parent.hidden_size, shape.ffn_size / parent.ffn_size
    assert abs(hidden - ffn) < 0.08


@given(usual_shapes(), DEPTH_METHODS, RATIOS)
def test_a_depth_ratio_is_met_as_nearly_as_whole_blocks_can(parent: ModelShape, method: str, ratio: float) -> None:
    wanted = (1 - ratio) * parent.layers
    if round(wanted) in (0, parent.layers):
        with pytest.raises(UserError, match=f"--ratio {ratio:g}"):
            shape_for(parent, method, ratio, facts_of(method).options())
        return
    shape = shape_for(parent, method, ratio, facts_of(method).options())
    assert replace(shape, layers=parent.layers) == parent
    assert abs(shape.layers - wanted) <= 0.5


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "magnitude", "random"])
def test_a_sparse_method_keeps_the_shape(method: str) -> None:
    assert shape_for(SHAPE, method, 0.7, facts_of(method).options()) == SHAPE


@pytest.mark.parametrize(
    ("method", "ratio", "message"),
    [
        ("shortgpt", 0.1, "--ratio 0.1 is too small for shortgpt to prune anything"),
        ("minitron_depth", 0.9, "--ratio 0.9 leaves none of the 4 decoder blocks"),
        ("minitron_width", 0.001, "--ratio 0.001 is too small for minitron_width"),
        ("minitron_width", 0.99, "--ratio 0.99 leaves no width that this checkpoint can be cut to; give --shape"),
        ("sheared_llama", 0.99, "--ratio 0.99 leaves no width"),
    ],
)
def test_a_ratio_that_prunes_nothing_or_all_is_refused(method: str, ratio: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        shape_for(SHAPE, method, ratio, facts_of(method).options())
