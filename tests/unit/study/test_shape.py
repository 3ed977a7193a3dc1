"""Parameters and floating-point operations are counted as the real models have them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from models import SHAPE, Case, random_windows, tiny_model
from pruning_vs_scratch.config.model import DepthTarget, ShapeConfig, WidthTarget
from pruning_vs_scratch.models.decoder import config_of, random_model, shape_of
from pruning_vs_scratch.study import ModelShape, Target

SHAPES = [
    SHAPE,
    replace(SHAPE, tie_embeddings=False),
    replace(SHAPE, layers=1, hidden_size=16, ffn_size=50, heads=1, kv_heads=1, head_dim=64),
    replace(SHAPE, vocab_size=300, layers=3, hidden_size=64, heads=8, kv_heads=8, head_dim=4, tie_embeddings=False),
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["tied", "untied", "wide head", "no groups"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def any_shape() -> st.SearchStrategy[ModelShape]:
    """Small shapes; the model library wants the heads to divide the residual stream."""

    def build(kv_heads: int, group: int, width: int, **others: int) -> ModelShape:
        heads = kv_heads * group
        return replace(SHAPE, kv_heads=kv_heads, heads=heads, hidden_size=heads * width, **others)

    return st.builds(
        build,
        kv_heads=st.integers(1, 3),
        group=st.integers(1, 3),
        width=st.integers(1, 5),
        head_dim=st.integers(1, 4).map(lambda n: 2 * n),
        layers=st.integers(1, 3),
        ffn_size=st.integers(1, 40),
        vocab_size=st.integers(2, 90),
        tie_embeddings=st.booleans(),
    )


@settings(deadline=None, max_examples=25)
@given(any_shape())
def test_parameters_are_those_of_the_real_model(shape: ModelShape) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(config_of(shape, positions=8))
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    embeddings = sum(count for name, count in counts.items() if "embed_tokens" in name or "lm_head" in name)
    assert shape.params_total == sum(counts.values())
    assert shape.embedding_params == embeddings
    assert shape.params_nonembedding == sum(counts.values()) - embeddings
    assert shape_of(model.config) == shape


def eager(shape: ModelShape) -> LlamaForCausalLM:
    """A model whose attention is plain matrix products, which the counter of PyTorch sees."""
    model = random_model(shape, 64, seed=0)
    model.set_attn_implementation("eager")
    return model


def windows_for(shape: ModelShape) -> torch.Tensor:
    return random_windows(sequences=3, length=10, vocab_size=shape.vocab_size)


@each_shape
def test_forward_flops_are_all_matrix_products_of_a_real_forward_pass(shape: ModelShape) -> None:
    """Compared with PyTorch's own count of every mm, addmm and bmm: linear layers, QK^T and AV over the full square
    (the causal mask saves nothing), and the output projection. Norms, softmax, rotations and the embedding look-up
    count nothing on either side.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        eager(shape)(input_ids=windows_for(shape)[:, :-1], use_cache=False)
    assert shape.forward_flops(3, 10) == counter.get_total_flops()


@each_shape
def test_training_flops_are_those_of_a_real_forward_and_backward_pass(shape: ModelShape) -> None:
    windows = windows_for(shape)
    with FlopCounterMode(display=False) as counter:
        logits = eager(shape)(input_ids=windows[:, :-1], use_cache=False).logits
        functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
    assert shape.training_flops(3, 10) == counter.get_total_flops() == 3 * shape.forward_flops(3, 10)


def test_flops_grow_linearly_with_sequences_and_quadratically_in_attention() -> None:
    assert SHAPE.forward_flops(6, 10) == 2 * SHAPE.forward_flops(3, 10)
    attention = 4 * SHAPE.heads * SHAPE.head_dim * SHAPE.layers
    assert SHAPE.forward_flops(1, 20) - 2 * SHAPE.forward_flops(1, 10) == attention * (20**2 - 2 * 10**2)


def test_the_density_of_linear_layers_saves_only_in_linear_layers() -> None:
    dense, half, none = (SHAPE.forward_flops(2, 8, density) for density in (1.0, 0.5, 0.0))
    assert dense - half == half - none == SHAPE.layers * 16 * SHAPE.block_linear_params
    assert none == SHAPE.layers * 4 * 16 * 8 * SHAPE.heads * SHAPE.head_dim + SHAPE.output_flops(2, 8)


def narrowing() -> Iterator[ModelShape]:
    yield SHAPE
    yield SHAPE.with_depth(DepthTarget(ratio=0.5, layers=2))
    yield SHAPE.with_depth(DepthTarget(ratio=0.5, layers=2)).with_width(
        WidthTarget(ratio=0.5, hidden_size=12, ffn_size=20, heads=4)
    )


def test_targets_change_only_what_they_name() -> None:
    parent, shallow, narrow = narrowing()
    assert shallow == replace(parent, layers=2)
    assert narrow == replace(parent, layers=2, hidden_size=12, ffn_size=20, heads=4)
    assert all(small.params_total < large.params_total for large, small in pairwise(narrowing()))


def test_a_shape_and_a_target_survive_json() -> None:
    target = Case("minitron_width").target(SHAPE)
    assert ModelShape.from_dict(json.loads(json.dumps(SHAPE.to_dict()))) == SHAPE
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_a_shape_from_the_configuration_takes_its_vocabulary_from_the_tokenizer() -> None:
    values = SHAPE.to_dict()
    values.pop("vocab_size")
    assert ModelShape.of(ShapeConfig(**values), vocab_size=61) == SHAPE


def test_a_random_model_has_its_shape_and_is_the_same_for_the_same_seed() -> None:
    first, again, other = (random_model(SHAPE, 64, seed).state_dict() for seed in (1, 1, 2))
    assert shape_of(random_model(SHAPE, 64, 1).config) == SHAPE
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert sum(p.numel() for p in tiny_model().parameters()) == SHAPE.params_total
