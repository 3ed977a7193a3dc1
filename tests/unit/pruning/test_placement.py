"""Where states and blocks are kept follows from sizes and buffers, and decides how often blocks are read."""

import pytest
import torch

from fake_checkpoint import FakeTensors, fake_model, fake_stream
from fake_memory import FakeMemory
from models import AMPLE, SHAPE, stream_of, tiny_model
from pruning_vs_scratch.models import device as devices
from pruning_vs_scratch.pruning.depth_losses import losses
from pruning_vs_scratch.pruning.methods.minitron_depth.facts import candidates_of
from pruning_vs_scratch.pruning.placement import Buffers, SideBySide, pinned_bytes, side_by_side

BATCH = 100
CANDIDATES = candidates_of(SHAPE.layers, [1, 2])


@pytest.mark.parametrize(
    ("host", "device", "at_hand", "expected"),
    [
        # 3 sets of 100 bytes a batch, blocks of 1,000: all of it stays on the device.
        (0, 1300, False, SideBySide(True, True, 4)),
        # The blocks stay, the states wait on the host.
        (0, 1299, False, SideBySide(True, False, 4)),
        (0, 1000, False, SideBySide(True, False, 4)),
        # States alone fit: three batches of them read the blocks a third as often.
        (0, 999, False, SideBySide(False, True, 12)),
        (0, 999, True, SideBySide(False, True, 4)),
        # Neither fits.
        (900, 299, False, SideBySide(False, False, 12)),
        (899, 0, False, SideBySide(False, False, 8)),
        (299, 0, False, SideBySide(False, False, 4)),
        (10**6, 0, True, SideBySide(False, False, 4)),
    ],
)
def test_blocks_stay_first_then_states(host: int, device: int, at_hand: bool, expected: SideBySide) -> None:
    assert side_by_side(3, BATCH, 4, 1000, Buffers(host, device), blocks_at_hand=at_hand) == expected


@pytest.mark.parametrize(("size", "taken"), [(1, 1), (2, 2), (3, 4), (1 << 33, 1 << 33), ((1 << 33) + 1, 1 << 34)])
def test_pinned_memory_comes_in_powers_of_two(size: int, taken: int) -> None:
    assert pinned_bytes(size) == taken


def times_read(monkeypatch: pytest.MonkeyPatch, device_buffer_bytes: int) -> list[int]:
    """How often each block of a model on a GPU is read while three batches are scored."""
    monkeypatch.setattr(devices, "native_bf16", lambda _: True)
    names: list[str] = []
    read = FakeTensors.read

    def remembered(self: FakeTensors, wanted: list[str]) -> dict[str, torch.Tensor]:
        names.extend(wanted)
        return read(self, wanted)

    monkeypatch.setattr(FakeTensors, "read", remembered)
    with FakeMemory(), torch.no_grad():
        model = fake_model(SHAPE, torch.float32, length=16)
        stream = fake_stream(model, 5, 16, 2, buffer_bytes=3840, device_buffer_bytes=device_buffer_bytes, compared=True)
        losses(stream, CANDIDATES, "test")
    return [names.count(f"model.layers.{i}.mlp.up_proj.weight") for i in range(SHAPE.layers)]


@pytest.mark.slow
def test_blocks_that_stay_on_the_gpu_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times_read(monkeypatch, device_buffer_bytes=1 << 20) == [1] * 4
    assert times_read(monkeypatch, device_buffer_bytes=0) == [3] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device_bytes", "kind"), [(5 * 16 * 24 * 2, "cuda"), (5 * 16 * 24 * 2 - 1, "cpu"), (0, "cpu")]
)
def test_states_of_the_text_stay_on_the_gpu_where_they_fit(
    device_bytes: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "native_bf16", lambda _: True)
    with FakeMemory(), torch.no_grad():
        model = fake_model(SHAPE, torch.float32, length=16)
        stream = fake_stream(model, 5, 16, 2, buffer_bytes=1 << 20, device_buffer_bytes=device_bytes)
        assert stream.hidden.device.type == kind
        for block in model.blocks("test"):
            stream.advance(block)


def test_a_cpu_has_no_buffer_of_a_device() -> None:
    assert stream_of(tiny_model()).buffers == Buffers(AMPLE, 0)
