"""Calibration text flows through the blocks as it would through the whole model."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from models import (
    AMPLE,
    SHAPE,
    VARIANTS,
    blockwise,
    hooks_of,
    logits_of,
    random_windows,
    recorded_inputs,
    states_around_blocks,
    stream_of,
    tiny_model,
)
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.parts import LINEAR_NAMES
from pruning_vs_scratch.pruning.calibration import CalibrationStream, observing_inputs

TOKENS = random_windows()[:, :-1]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_stream_through_all_blocks_is_the_models_own_forward_pass(kind: str, batch_size: int) -> None:
    model = tiny_model(**VARIANTS[kind])
    expected = states_around_blocks(model, TOKENS)
    stream = stream_of(model, batch_size)
    torch.testing.assert_close(stream.hidden, expected[0])
    for block, leaving in zip(stream.model.blocks("test"), expected[1:], strict=True):
        stream.advance(block)
        torch.testing.assert_close(stream.hidden, leaving)
    losses = [stream.language_model_loss(batch, stream.hidden[batch]) for batch in stream.batches]
    summed = functional.cross_entropy(logits_of(model, TOKENS).flatten(0, 1), random_windows()[:, 1:].flatten())
    assert sum(losses) / stream.tokens == pytest.approx(summed.item(), rel=1e-5)
    assert (stream.tokens, stream.sequences, stream.length) == (55, 5, 11)
    assert stream.flops == stream.shape.forward_flops(5, 11)


def test_transitions_show_what_enters_and_leaves_and_move_on() -> None:
    model = tiny_model()
    expected, stream = states_around_blocks(model, TOKENS), stream_of(model)
    for i, block in enumerate(stream.model.blocks("test")):
        seen = list(stream.transitions(block))
        assert [len(entering) for entering, _ in seen] == [2, 2, 1]
        torch.testing.assert_close(torch.cat([entering for entering, _ in seen]), expected[i])
        torch.testing.assert_close(torch.cat([leaving for _, leaving in seen]), expected[i + 1])
        torch.testing.assert_close(stream.hidden, expected[i + 1])


def test_observing_a_block_shows_all_its_layers_their_inputs_and_leaves_the_stream_where_it_is() -> None:
    model = tiny_model()
    stream = stream_of(model)
    with recorded_inputs({name: model.model.layers[0].get_submodule(name) for name in LINEAR_NAMES}) as expected:
        logits_of(model, TOKENS)
    before, block = stream.hidden.clone(), stream.model.block(0)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in LINEAR_NAMES}
    with observing_inputs({block.get_submodule(name): values.append for name, values in seen.items()}):
        stream.observe(block)
    for name, values in seen.items():
        torch.testing.assert_close(torch.cat(values), expected[name])
    assert torch.equal(stream.hidden, before)
    assert hooks_of(block) == 0
    # The last linear layer shows its inputs, but need not multiply them.
    assert stream.flops == SHAPE.block_flops(5, 11) - 2 * 5 * 11 * SHAPE.hidden_size * SHAPE.ffn_size


def test_states_that_do_not_fit_are_mapped_from_a_file_without_a_name(tmp_path: Path) -> None:
    model, folder = blockwise(tiny_model()), tmp_path / "new"
    size = 5 * 11 * 24 * 4
    in_memory = CalibrationStream(model, random_windows(), 2, size, folder)
    assert not folder.exists()
    mapped = CalibrationStream(model, random_windows(), 2, size - 1, folder)
    assert list(folder.iterdir()) == []
    for block in model.blocks("test"):
        in_memory.advance(block)
        mapped.advance(block)
    assert torch.equal(mapped.hidden, in_memory.hidden)
    assert mapped.bytes_per_window == 11 * 24 * 4
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert f"{folder}/.hidden-states." in maps.read_text()


def test_the_tokens_of_the_windows_are_left_alone(tmp_path: Path) -> None:
    windows = random_windows()
    stream = CalibrationStream(blockwise(tiny_model()), windows, 2, AMPLE, tmp_path)
    stream.advance(stream.model.block(0))
    assert torch.equal(windows, random_windows())


@pytest.mark.parametrize("way", ["advance", "transitions"])
def test_a_block_that_overflows_is_named(way: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(3e38)
    stream = stream_of(model)
    stream.advance(stream.model.block(0))
    with pytest.raises(UserError, match="decoder block 1 produced NaN or inf on the calibration text"):
        list(getattr(stream, way)(stream.model.block(1)) or ())


def test_what_is_observed_is_the_input() -> None:
    linear, seen = nn.Linear(3, 2), []
    x = torch.rand(4, 3)
    with observing_inputs({linear: lambda value: seen.append(value)}):
        linear(x)
    linear(x)
    assert len(seen) == 1
    assert seen[0] is x


def test_observers_go_after_an_error_too() -> None:
    linear = nn.Linear(3, 2)
    with pytest.raises(KeyError), observing_inputs({linear: print}):
        assert hooks_of(linear) == 1
        raise KeyError
    assert hooks_of(linear) == 0


def test_a_bf16_models_loss_and_states_are_finite_and_near_those_of_fp32() -> None:
    exact, rounded = stream_of(tiny_model()), stream_of(tiny_model().bfloat16())
    for stream in (exact, rounded):
        for block in stream.model.blocks("test"):
            stream.advance(block)
    found, expected = (
        sum(stream.language_model_loss(batch, stream.hidden[batch]) for batch in stream.batches) / 55
        for stream in (rounded, exact)
    )
    assert math.isfinite(found)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_whole_window_is_fed_to_its_last_token_and_predicts_from_its_second_on(
    batch_size: int, tmp_path: Path
) -> None:
    model, windows = tiny_model(), random_windows()
    stream = CalibrationStream(blockwise(model), windows, batch_size, AMPLE, tmp_path, whole=True)
    with torch.no_grad():
        output = model(input_ids=windows, output_hidden_states=True, use_cache=False)
    for block in stream.model.blocks("whole"):
        stream.advance(block)
    states = model.model.norm(stream.hidden)
    torch.testing.assert_close(states, output.hidden_states[-1], rtol=1e-5, atol=1e-5)
    wanted = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten())
    found = sum(stream.language_model_loss(batch, stream.hidden[batch]) for batch in stream.batches)
    assert found / stream.predicted_tokens == pytest.approx(wanted.item(), rel=1e-5)
    assert (stream.tokens, stream.predicted_tokens) == (windows.numel(), windows[:, 1:].numel())
