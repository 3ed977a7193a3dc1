"""FLAP on whole models: what an independent dense computation in double precision keeps, and what biases are worth."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from models import (
    SHAPE,
    STRUCTURED,
    Case,
    blockwise,
    logits_of,
    random_windows,
    recorded_inputs,
    shape_of_model,
    stream_of,
    tiny_model,
)
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import random_model, shape_of
from pruning_vs_scratch.models.portable import read_config, write_config
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PruningSpec, options_of
from pruning_vs_scratch.pruning.methods.flap import counts
from pruning_vs_scratch.pruning.structured import chosen_blocks
from pruning_vs_scratch.pruning.surgery import cut_model
from pruning_vs_scratch.study import ModelShape, Target
from pruning_world import VOCABULARY, World

pytestmark = pytest.mark.usefixtures("one_thread")

SIMILARITY = 1e-5
"""Relative: ours run in fp32, the oracle in fp64."""
GROUP = SHAPE.heads // SHAPE.kv_heads


def dense_inputs(model: Any, windows: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """Inputs of o_proj and down_proj of each block in double precision, shape (windows, length, channels)."""
    model = model.double()
    modules = {("attention", i): block.self_attn.o_proj for i, block in enumerate(model.model.layers)}
    modules |= {("ffn", i): block.mlp.down_proj for i, block in enumerate(model.model.layers)}
    with recorded_inputs(modules) as seen, torch.no_grad():
        model(input_ids=windows[:, :-1], use_cache=False)
    return {kind: [seen[kind, i] for i in range(SHAPE.layers)] for kind in ("attention", "ffn")}


def metric(inputs: torch.Tensor, weight: torch.Tensor, options: dict[str, str]) -> torch.Tensor:
    """FLAP's definition, over all windows at once; the code's variance skips the first and follows the running mean."""
    windows, channels = len(inputs), inputs.shape[2]
    if options["metric"] == "WIFN":
        return weight.abs().mean(dim=0) * (inputs.square().sum(dim=(0, 1)) / windows).sqrt()
    if options["variance"] == "paper":
        variance = inputs.reshape(-1, channels).var(dim=0, correction=1)
    else:
        variance = torch.zeros(channels, dtype=torch.float64)
        for k in range(2, windows + 1):
            running = inputs[:k].mean(dim=(0, 1))
            variance += (k - 1) / k * (inputs[k - 1] - running).square().sum(dim=0)
        variance /= windows - 1
    return variance if options["metric"] == "IFV" else variance * weight.square().sum(dim=0)


def goal_of(options: dict[str, str], groups: int = 1, neurons: int = 20) -> PruningSpec:
    case = Case("flap", options=options)
    shape = replace(case.target(SHAPE).shape, kv_heads=groups, heads=groups * GROUP, ffn_size=neurons)
    return PruningSpec(Target("narrow", "width", 0.5, "dense", shape), options_of("flap", options), seed=0)


@pytest.mark.parametrize("variance", ["code", "paper"])
@pytest.mark.parametrize("name", ["WIFV", "IFV", "WIFN"])
def test_scores_choices_and_biases_are_those_of_a_dense_computation(name: str, variance: str) -> None:
    options = {"metric": name, "variance": variance}
    model, spec = tiny_model(attention_bias=True), goal_of(options)
    parent = blockwise(model)
    scores = STRUCTURED["flap"].score(stream_of(parent), [], spec.options)
    kept = STRUCTURED["flap"].keep(scores, SHAPE, spec)
    blocks = list(chosen_blocks(parent, STRUCTURED["flap"], scores, kept, spec))
    copy = tiny_model(attention_bias=True)
    inputs = dense_inputs(copy, random_windows())
    for i, block in enumerate(copy.model.layers):
        for kind, layer in (("attention", block.self_attn.o_proj), ("ffn", block.mlp.down_proj)):
            expected = metric(inputs[kind][i], layer.weight, options)
            torch.testing.assert_close(scores[kind][i], expected, rtol=SIMILARITY, atol=0)
            if kind == "attention":
                per_head = expected.square().view(SHAPE.kv_heads, GROUP, SHAPE.head_dim).sum(dim=-1)
                best = int(per_head.mean(dim=-1).argmax())
                stays = torch.arange(best * GROUP, (best + 1) * GROUP)
                assert kept.heads is not None and kept.heads[i].tolist() == stays.tolist()
                channels = torch.arange(best * GROUP * SHAPE.head_dim, (best + 1) * GROUP * SHAPE.head_dim)
            else:
                channels = expected.topk(20).indices.sort().values
                assert kept.ffn is not None and kept.ffn[i].tolist() == channels.tolist()
            mean = inputs[kind][i].mean(dim=(0, 1))
            mean[channels] = 0
            bias = layer.weight @ mean + (layer.bias if layer.bias is not None else 0)
            module = {"attention": "self_attn.o_proj", "ffn": "mlp.down_proj"}[kind]
            found = blocks[i].tensors[f"{module}.bias"].double()
            torch.testing.assert_close(found, bias.detach(), rtol=SIMILARITY, atol=SIMILARITY)
        assert not blocks[i].tensors["mlp.gate_proj.bias"].any()
        assert torch.equal(blocks[i].tensors["self_attn.q_proj.bias"].double(), block.self_attn.q_proj.bias[
            channels_of(kept.heads[i])])  # fmt: skip


def channels_of(heads: torch.Tensor) -> torch.Tensor:
    return (heads[:, None] * SHAPE.head_dim + torch.arange(SHAPE.head_dim)).flatten()


def with_shifted_inputs() -> Any:
    """A model whose neurons are far from zero on average, as those of trained models are."""
    model = tiny_model(mlp_bias=True)
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.up_proj.bias.fill_(1.0)
            block.mlp.gate_proj.bias.fill_(1.0)
        model.lm_head.weight.mul_(4)
    return model


def perplexity(model: Any, writer: Any) -> float:
    """On text that another model writes: expected over its next token, so that nothing is sampled."""
    wanted, found = logits_of(writer).double(), logits_of(model).double()
    return math.exp(-(wanted.softmax(dim=-1) * found.log_softmax(dim=-1)).sum(dim=-1).mean().item())


def test_biases_lower_the_perplexity_of_the_text_that_the_dense_model_writes() -> None:
    found = {}
    for biases in ("both", "none"):
        model = with_shifted_inputs()
        found[biases] = perplexity(Case("flap", options={"biases": biases}).prune(model).model(model), model)
    assert perplexity(with_shifted_inputs(), with_shifted_inputs()) < found["both"] < found["none"]


@pytest.mark.parametrize("biases", ["both", "authors", "none"])
def test_a_written_checkpoint_loads_without_missing_or_unexpected_weights(biases: str, tmp_path: Path) -> None:
    model = tiny_model()
    pruned = Case("flap", options={"biases": biases}).prune(model)
    pruned.export(tmp_path / "out")
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", local_files_only=True, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["attention_bias"], config["mlp_bias"]) == (biases != "none", biases == "both")
    assert torch.equal(logits_of(loaded.eval()), logits_of(pruned.model(model)))


@pytest.mark.parametrize("structure", ["UL-UM", "UL-MM"])
def test_structures_of_equal_counts_make_the_shape_of_their_ratio(structure: str) -> None:
    options = {"structure": structure}
    spec = goal_of(options)
    choose = counts.ul_um_counts(SHAPE, 0.5) if structure == "UL-UM" else counts.ul_mm_counts(SHAPE, 0.5, 1)
    scores = STRUCTURED["flap"].score(stream_of(tiny_model()), [], spec.options)
    exact = goal_of(options, choose.groups, choose.neurons)
    kept = STRUCTURED["flap"].keep(scores, SHAPE, exact)
    assert {len(row) for row in kept.ffn or []} == {choose.neurons}
    with pytest.raises(UserError, match=f"structure {structure} of flap keeps {choose.groups} key-value groups"):
        STRUCTURED["flap"].keep(scores, SHAPE, goal_of(options, choose.groups, choose.neurons + 1))


@pytest.mark.parametrize("structure", ["AL-MM", "AL-AM"])
def test_structures_of_unequal_counts_are_refused(structure: str) -> None:
    spec = goal_of({"structure": structure})
    scores = STRUCTURED["flap"].score(stream_of(tiny_model()), [], spec.options)
    with pytest.raises(UserError, match=f"{structure} of flap keeps .* to .* use structure uniform, or another"):
        STRUCTURED["flap"].keep(scores, SHAPE, spec)


def test_heads_that_do_not_divide_the_hidden_size_are_written_and_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The authors' shape, 20 heads in 4,096 channels, is one that transformers 5 refuses to load."""
    model = tiny_model(heads=8, kv_heads=8, head_dim=4)
    parent = blockwise(model)
    shape = replace(parent.shape, heads=5, kv_heads=5, ffn_size=20, attention_bias=True, mlp_bias=True)
    spec = PruningSpec(Target("uneven", "width", 0.5, "dense", shape), options_of("flap", {}), seed=0)
    pruned = Case("flap").prune_by(STRUCTURED["flap"].score(stream_of(parent), [], spec.options), parent, spec)
    pruned.export(tmp_path / "out")
    assert "its heads (5)" in caplog.text
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_attention_heads"] == 5
    again = load_model(tmp_path / "out").eval()
    assert shape_of_model(again) == shape
    assert torch.equal(logits_of(again), logits_of(pruned.model(model)))
    scratch = random_model(shape, positions=64, seed=1)
    write_config(scratch.config, tmp_path)
    assert shape_of(read_config(tmp_path)) == shape_of_model(scratch) == shape
    with pytest.raises(Exception, match="not a multiple of the number of attention heads"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)


def test_baselines_have_the_same_biases_at_zero() -> None:
    pruned = Case("flap").prune(tiny_model())
    rewound = cut_model(tiny_model(seed=7), pruned.kept)
    scratch = random_model(pruned.shape, positions=64, seed=3)
    for model in (rewound, scratch):
        assert shape_of_model(model) == pruned.shape
        biases = {name: tensor for name, tensor in model.named_parameters() if name.endswith(".bias")}
        assert len(biases) == 7 * SHAPE.layers
        assert not any(bias.any() for bias in biases.values())
    assert Kept.from_dict(pruned.kept.to_dict()).added == pruned.kept.added == ("attention_bias", "mlp_bias")


def test_the_authors_shape_has_the_weights_of_their_checkpoints() -> None:
    shape = ModelShape(128256, 32, 4096, 6528, 32, 8, 128, False, 5e5, 1e-5)
    with torch.device("meta"):
        model = random_model(replace(shape, heads=20, kv_heads=5), positions=64, seed=0)
    assert sum(weight.numel() for weight in model.parameters()) == 4_456_714_240


# The command


OPTIONS = '{"metric": "WIFV", "structure": "uniform", "variance": "code", "biases": "both"}'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_by_hand_a_shape_is_given_in_one_word(world: World) -> None:
    words = ["--shape", "kv_heads=1,heads=3,ffn_size=20", "--options", OPTIONS, "--calibration", world.array]
    world.by_hand("flap", *words)
    record = world.summary()
    assert record["options"] == json.loads(OPTIONS)
    assert [len(row) for row in record["kept"]["ffn"]] == [20] * SHAPE.layers
    assert [len(row) for row in record["kept"]["heads"]] == [3] * SHAPE.layers
    assert record["target"]["shape"]["mlp_bias"] and record["target"]["shape"]["attention_bias"]


def test_by_hand_counts_that_break_groups_are_refused(world: World) -> None:
    words = ["--shape", "kv_heads=1,heads=2", "--calibration", world.array]
    message = world.message_by_hand("flap", *words)
    assert (
        "asks for 2 heads in 1 key-value groups; whole groups of 3 query heads are dropped, which leaves 3 heads"
        in message
    )


def test_by_hand_the_hidden_size_stays(world: World) -> None:
    message = world.message_by_hand("flap", "--shape", "hidden_size=12", "--calibration", world.array)
    assert "asks for hidden_size = 12" in message and "which flap keeps with these options" in message


def test_by_hand_a_structure_that_follows_from_the_ratio_takes_a_ratio(world: World) -> None:
    words = ["--options", '{"structure": "UL-UM"}', "--calibration", world.array]
    message = world.message_by_hand("flap", "--shape", "kv_heads=1,heads=3", *words)
    assert "flap with these options takes its shape from a ratio: give --ratio, not --shape" in message
    world.by_hand("flap", "--ratio", 0.5, *words)
    assert world.summary()["target"]["shape"]["kv_heads"] == 1


def test_by_hand_a_mistral_is_refused_before_any_text_is_read(world: World) -> None:
    world.save(tiny_model(family="mistral", vocab_size=VOCABULARY))
    message = world.message_by_hand("flap", "--ratio", 0.5, "--calibration", world.array)
    assert "a Mistral model has no biases of this kind in its linear layers (attention_bias)" in message
