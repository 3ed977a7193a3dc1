"""What is measured of a model's speed is what happened: so many tokens, in so many seconds, with so much memory."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pandas as pd
import pytest
import torch

from evaluation_world import SHAPE, write_checkpoint
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import SpeedConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.evaluation import speed
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.models.llama import random_llama

CPU = torch.device("cpu")
SETTINGS = SpeedConfig(prompt_tokens=20, new_tokens=6, repeats=3, warmup=1)


def test_generation_reads_the_prompt_once_and_then_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_llama(SHAPE, 64, 0).eval()
    lengths = []

    def note(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        lengths.append(inputs["input_ids"].shape[1])

    model.register_forward_pre_hook(note, with_kwargs=True)
    seconds = count()
    monkeypatch.setattr(speed, "_now", lambda _: float(next(seconds)))
    found = {each.metric: each for each in speed.measure(lambda: model, SETTINGS, CPU)}
    assert lengths == [20, 1, 1, 1, 1, 1, 1] * 4
    assert (found["prefill_seconds"].value, found["prefill_seconds"].n) == (1.0, 3)
    assert found["decode_tokens_per_second"].value == 6.0


def test_the_median_and_the_range_leave_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 100, 200, 0, 1, 2, 0, 3, 4, 0, 2, 12])
    monkeypatch.setattr(speed, "_now", lambda _: float(next(times)))
    found = {each.metric: each for each in speed.measure(lambda: random_llama(SHAPE, 64, 0), SETTINGS, CPU)}
    prefill, decode = found["prefill_seconds"], found["decode_tokens_per_second"]
    assert (prefill.low, prefill.value, prefill.high) == (1.0, 2.0, 3.0)
    assert (decode.low, decode.value, decode.high) == (0.6, 6.0, 6.0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a peak that can be set back")
def test_peak_memory_is_that_of_this_model_and_not_of_an_earlier_one() -> None:
    def peak(ballast: int) -> float:
        def load() -> torch.nn.Module:
            torch.ones(ballast << 18)  # megabytes that are given back at once
            return random_llama(SHAPE, 64, 0).eval()

        return next(e.value for e in speed.measure(load, SETTINGS, CPU) if e.metric == "peak_memory_bytes")

    large, small = peak(200), peak(1)
    assert large > 190e6
    assert small < 100e6


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match="20 tokens of a prompt and 6 new ones are beyond the 25 positions"):
        speed.measure(lambda: random_llama(SHAPE, 25, 0), SETTINGS, CPU)


def test_the_entry_point_names_the_hardware(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/measure_speed.py"), f"--checkpoint=depth-0.5={model}"]
    command += ["--settings", SETTINGS.model_dump_json(), "--out", str(tmp_path / "speed.csv")]
    subprocess.run([*command, "--manifest", str(tmp_path / "speed.json")], check=True, capture_output=True)
    table = pd.read_csv(tmp_path / "speed.csv")
    assert set(table["target"]) == {"depth-0.5"}
    assert table["hardware"].str.endswith(", 1 thread, fp32").all()
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert "model/depth-0.5" in read_json(tmp_path / "speed.json")["inputs"]
