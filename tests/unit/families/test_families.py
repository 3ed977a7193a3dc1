"""What a family's facts say is what transformers makes of its configuration."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from models import FAMILIES, VARIANTS, logits_of, random_windows, shape_of_model, tiny_config, tiny_model
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.config.model import ShapeConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import USUAL, families, family_facts, family_of
from pruning_vs_scratch.families.parts import EMBEDDING, FINAL_NORM, LINEAR_NAMES, OUTPUT
from pruning_vs_scratch.files import read_json_object
from pruning_vs_scratch.models.decoder import empty_model, random_model
from pruning_vs_scratch.models.portable import read_config, write_config
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.training.loss import chunked_loss_sum, loss_sum, sequence_losses, token_losses
from studies import BASE

each_family = pytest.mark.parametrize("family", families())
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def sizes(vocabulary: int, layers: int, hidden: int, ffn: int, heads: int, kv: int, dim: int, *, tied: bool) -> Any:
    """Values of a shape."""
    return {
        "vocab_size": vocabulary, "layers": layers, "hidden_size": hidden, "ffn_size": ffn, "heads": heads,
        "kv_heads": kv, "head_dim": dim, "tie_embeddings": tied,
    }  # fmt: skip


@each_family
def test_the_class_is_the_one_of_the_facts(family: str) -> None:
    facts, model = family_facts(family), tiny_model(family=family)
    assert type(model).__name__ == facts.architecture
    assert family_of(model.config.model_type) == family == shape_of_model(model).family
    assert facts.label and facts.checkpoints


def test_the_guide_has_a_row_for_every_family() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", (REPOSITORY / "docs/parents.md").read_text(), re.MULTILINE)
    assert {name: re.findall(r"`([^`]+)`", checkpoints) for name, checkpoints in rows} == {
        name: list(facts.checkpoints) for name, facts in families().items()
    }


@each_variant
def test_the_parts_are_where_the_facts_say(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    shape = shape_of_model(model)
    facts, block = shape.facts, model.model.layers[1]
    linears = {name for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linears == {*LINEAR_NAMES}
    biased = facts.biased({"attention_bias": shape.attention_bias, "mlp_bias": shape.mlp_bias})
    assert {name for name in linears if block.get_submodule(name).bias is not None} == {*biased}
    wide = {name for name, module in block.named_modules() if name.endswith("norm") and "self_attn" not in name}
    assert wide == {*facts.block_norms}
    of_heads = {name: p.numel() for name, p in block.self_attn.named_parameters() if "norm" in name}
    sizes = {"none": (), "head_dim": (shape.head_dim,) * 2}
    sizes["heads"] = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim)
    assert tuple(of_heads.values()) == sizes[facts.head_norms]
    assert {EMBEDDING, FINAL_NORM, OUTPUT} <= {name for name, _ in model.named_modules()}


@each_variant
def test_parameters_are_counted_as_transformers_makes_them(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    shape = shape_of_model(model)
    assert shape.params_total == sum(p.numel() for p in model.parameters())
    assert shape.block_params == sum(p.numel() for p in model.model.layers[0].parameters())


PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "meta-llama/Llama-3.1-8B": (sizes(128256, 32, 4096, 14336, 32, 8, 128, tied=False), 8030261248),
    "mistralai/Mistral-7B-v0.3": (sizes(32768, 32, 4096, 14336, 32, 8, 128, tied=False), 7248023552),
    "Qwen/Qwen2.5-0.5B": (sizes(151936, 24, 896, 4864, 14, 2, 64, tied=True), 494032768),
    "Qwen/Qwen3-0.6B-Base": (sizes(151936, 28, 1024, 3072, 16, 8, 128, tied=True), 596049920),
    "Qwen/Qwen3-8B-Base": (sizes(151936, 36, 4096, 12288, 32, 8, 128, tied=False), 8190735360),
    "allenai/OLMo-2-0425-1B": (sizes(100352, 16, 2048, 8192, 16, 16, 128, tied=False), 1484916736),
    "allenai/Olmo-3-1025-7B": (sizes(100278, 32, 4096, 11008, 32, 32, 128, tied=False), 7298011136),
    "google/gemma-2-2b": (sizes(256000, 26, 2304, 9216, 8, 4, 256, tied=True), 2614341888),
    "google/gemma-3-270m": (sizes(262144, 18, 640, 2048, 4, 1, 256, tied=True), 268098176),
    "google/gemma-3-1b-pt": (sizes(262144, 26, 1152, 6912, 4, 1, 256, tied=True), 999885952),
}
"""Sizes and number of parameters, as the pages of the models state them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_parameters_that_their_publishers_count(name: str) -> None:
    (family,) = (family for family, facts in families().items() if name in facts.checkpoints)
    values, parameters = PUBLISHED[name]
    assert ModelShape(rope_theta=1e4, norm_eps=1e-6, family=family, **values).params_total == parameters


@each_family
def test_a_norm_multiplies_by_its_offset_plus_its_weight(family: str) -> None:
    norm = tiny_model(family=family).model.norm
    x = torch.randn(5, len(norm.weight), generator=torch.Generator().manual_seed(0))
    plain = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), plain * (family_facts(family).norm_offset + norm.weight))


@each_family
def test_embeddings_are_scaled_where_the_facts_say_so(family: str) -> None:
    embedding = tiny_model(family=family).model.embed_tokens
    growth = embedding(torch.tensor([3])) / embedding.weight[3]
    expected = len(embedding.weight[3]) ** 0.5 if family_facts(family).scales_embedding else 1.0
    torch.testing.assert_close(growth, torch.full_like(growth, expected))


@each_family
def test_a_new_model_is_sound_and_the_same_for_a_seed(family: str) -> None:
    shape = replace(shape_of_model(tiny_model(family=family)), tie_embeddings=True)
    first, again = (random_model(shape, 64, seed=3) for _ in range(2))
    assert shape_of_model(first) == shape
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))
    # Fresh weights know nothing: the loss is that of guessing.
    loss = float(sequence_losses(first.eval(), random_windows(), 5).mean())
    assert loss == pytest.approx(torch.tensor(float(shape.vocab_size)).log().item(), abs=0.3)


@each_family
def test_every_token_that_is_read_is_learned(family: str) -> None:
    """Some families have a padding token by default, whose embedding is zero and gets no gradient."""
    shape = replace(shape_of_model(tiny_model(family=family)), tie_embeddings=False)
    model, tokens = random_model(shape, 64, seed=0), torch.arange(shape.vocab_size)[None]
    assert model.model.embed_tokens.weight.any(dim=1).all()
    model(input_ids=tokens).logits.square().sum().backward()
    assert model.model.embed_tokens.weight.grad.any(dim=1).all()


@each_variant
def test_a_model_without_values_gets_what_is_computed(variant: str) -> None:
    """Other processes of a training run make one, and receive parameters alone."""
    model = tiny_model(**VARIANTS[variant])
    empty = empty_model(model.config)
    with torch.no_grad():
        for mine, theirs in zip(empty.parameters(), model.parameters(), strict=True):
            mine.copy_(theirs)
    assert torch.equal(logits_of(empty.eval()), logits_of(model))


@each_family
def test_a_configuration_is_read_as_it_was_written(family: str, tmp_path: Path) -> None:
    config = tiny_model(family=family).config
    write_config(config, tmp_path)
    again = read_config(tmp_path)
    torch.manual_seed(0)
    first = AutoModelForCausalLM.from_config(config).eval()
    second = AutoModelForCausalLM.from_config(again).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(logits_of(first), logits_of(second))


def test_settings_of_both_rotations_are_written_for_older_versions(tmp_path: Path) -> None:
    config = tiny_config(family="gemma3", rope_theta=1e6)
    write_config(config, tmp_path)
    stored = read_json_object(tmp_path / "config.json")
    assert (stored["rope_theta"], stored["rope_local_base_freq"]) == (1e6, 1e4)


# Capped logits


def capped_model() -> Any:
    model = tiny_model(family="gemma2")
    assert float(logits_of(model).abs().max()) > 0.9 * model.config.final_logit_softcapping
    return model


def oracle(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """Summed loss by transformers' own logits."""
    return token_losses(model(input_ids=windows[:, :-1], use_cache=False).logits, windows[:, 1:]).sum()


@pytest.mark.parametrize("chunk", [None, 7])
def test_the_loss_and_its_gradients_are_those_of_capped_logits(chunk: int | None) -> None:
    model, plain, windows = capped_model(), capped_model(), random_windows()
    loss = loss_sum(model, windows[:, :-1], windows[:, 1:], chunk)
    expected = oracle(plain, windows)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-5)


def test_a_cap_that_is_left_out_is_noticed() -> None:
    model, windows = capped_model(), random_windows()
    hidden = model.model(input_ids=windows[:, :-1]).last_hidden_state.flatten(0, 1)
    uncapped = chunked_loss_sum(hidden, model.lm_head.weight, windows[:, 1:].flatten(), 7)
    assert float((uncapped - oracle(model, windows)).abs()) > 1


def test_losses_of_windows_are_those_of_capped_logits() -> None:
    model, windows = capped_model(), random_windows()
    found = sequence_losses(model, windows, batch_size=2, chunk=4)
    assert float(found.sum() * 11) == pytest.approx(float(oracle(model, windows)), rel=1e-6)


# A study's parent


def shape_values(**values: Any) -> dict[str, Any]:
    sizes = {"layers": 4, "hidden_size": 24, "ffn_size": 40, "heads": 6, "kv_heads": 2, "head_dim": 8}
    return sizes | values


def test_a_shape_states_its_family_unless_it_is_a_llama() -> None:
    assert ModelShape.of(ShapeConfig(**shape_values()), 61).family == USUAL
    shape = ModelShape.of(ShapeConfig(**shape_values(family="qwen3")), 61)
    assert shape.family == "qwen3"
    assert ModelShape.from_dict(shape.to_dict()) == shape


def with_parent(family: str, **shape: Any) -> Any:
    values = deepcopy(BASE)
    values["parent"]["shape"] |= {"family": family, **shape}
    return values


def with_fused_loss(family: str) -> Any:
    values = with_parent(family)
    values["training"]["fused_loss"] = True
    return values


def with_flap(family: str) -> Any:
    values = with_parent(family)
    values["matrix"][1]["methods"] = ["flap"]
    return values


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (with_parent("qwen33"), "parent.*shape.family: unknown family 'qwen33' of models; did you mean 'qwen3'"),
        (with_parent("qwen3", mlp_bias=True), "parent.shape.mlp_bias: a Qwen3 has no such biases to switch on"),
        (with_fused_loss("gemma2"), "training.fused_loss: the fused loss cannot cap logits, as Gemma 2 does"),
        (with_flap("qwen3"), "flap adds mlp_bias with these options, which a Qwen3 has no room for"),
    ],
    ids=["family", "bias", "fused loss", "flap"],
)
def test_what_a_family_cannot_have_is_refused(values: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        parse_config(values)
    parse_config(values | {"parent": BASE["parent"]})


@pytest.mark.parametrize("variant", FAMILIES)
def test_a_family_other_than_llama_makes_a_difference(variant: str) -> None:
    """Else the tests on it would be tests of a Llama."""
    model = tiny_model(**VARIANTS[variant])
    assert model.config.model_type != "llama"
    full = tiny_config(**VARIANTS[variant])
    if getattr(full, "sliding_window", None):
        full.update({"sliding_window": 64})
        wide = AutoModelForCausalLM.from_config(full).eval()
        wide.load_state_dict(model.state_dict())
        assert not torch.allclose(logits_of(wide)[:, -1], logits_of(model)[:, -1])
