"""The measured speed of a model is what happened: the tokens, the seconds and the memory."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from evaluation_world import SHAPE, write_checkpoint
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.cluster.speed import speed_seconds
from pruning_vs_scratch.config.evaluation import SpeedConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.evaluation import speed
from pruning_vs_scratch.evaluation.semi_structured import skips_zeros, two_of_four_masks, with_packed_weights
from pruning_vs_scratch.files import MASK_FILE, PRUNING_FILE, read_json, write_json
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.pruning.masks import keep_n_of_m, masked, write_masks
from pruning_vs_scratch.study import Study

CPU = torch.device("cpu")
WIDE = replace(SHAPE, hidden_size=64, heads=4, kv_heads=1, head_dim=16)
SETTINGS = SpeedConfig(prompt_tokens=20, new_tokens=6, repeats=3, warmup=1)


def test_generation_reads_the_prompt_once_and_then_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(SHAPE, 64, 0).eval()
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
    found = {each.metric: each for each in speed.measure(lambda: random_model(SHAPE, 64, 0), SETTINGS, CPU)}
    prefill, decode = found["prefill_seconds"], found["decode_tokens_per_second"]
    assert (prefill.low, prefill.value, prefill.high) == (1.0, 2.0, 3.0)
    assert (decode.low, decode.value, decode.high) == (0.6, 6.0, 6.0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a peak that can be set back")
def test_peak_memory_is_that_of_this_model_and_not_of_an_earlier_one() -> None:
    def peak(ballast: int) -> float:
        def load() -> torch.nn.Module:
            torch.ones(ballast << 18)  # megabytes that are given back at once
            return random_model(SHAPE, 64, 0).eval()

        return next(e.value for e in speed.measure(load, SETTINGS, CPU) if e.metric == "peak_memory_bytes")

    large, small = peak(200), peak(1)
    assert large > 190e6
    assert small < 100e6


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(UserError, match="20 tokens of a prompt and 6 new ones are beyond the 25 positions"):
        speed.measure(lambda: random_model(SHAPE, 25, 0), SETTINGS, CPU)


@pytest.mark.slow
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


# Kernels for 2:4


def two_of_four(folder: Path) -> dict[str, torch.Tensor]:
    """Write a model whose attention is masked to 2:4 and whose feed-forward layers are not, with its masks."""
    model = random_model(WIDE, 64, 0)
    masks = {}
    for name, parameter in model.named_parameters():
        if "self_attn" in name:
            masks[name] = keep_n_of_m(parameter.detach().abs(), 2, 4)
            parameter.data = masked(parameter.detach(), masks[name])
    model.save_pretrained(folder)
    write_masks(masks, folder / MASK_FILE)
    write_json(folder / PRUNING_FILE, {"target": {"pattern": "2:4"}})
    return masks


class Packed(torch.Tensor):
    """A dense weight that stands for one that was packed."""


def test_all_and_only_masked_weights_that_kernels_can_take_are_packed(tmp_path: Path) -> None:
    masks = two_of_four(tmp_path)
    model = load_model(tmp_path)
    tokens = torch.arange(8)[None]
    expected = model(input_ids=tokens).logits
    found = two_of_four_masks(tmp_path)
    assert found.keys() == masks.keys()
    packed = with_packed_weights(model, found, lambda weight: weight.as_subclass(Packed))
    for name, parameter in packed.named_parameters():
        # Keys and values of 16 rows are too few for the kernels, which take 32 at a time.
        takes = "q_proj" in name or "o_proj" in name
        assert isinstance(parameter.data, Packed) == takes, name
    assert torch.equal(packed(input_ids=tokens).logits.as_subclass(torch.Tensor), expected)


def test_packing_keeps_every_weight(tmp_path: Path) -> None:
    """By torch's own conversion, which works without a GPU."""
    masks = two_of_four(tmp_path)
    weight = load_model(tmp_path).get_parameter("model.layers.0.self_attn.q_proj.weight").detach().to(torch.bfloat16)
    assert weight.shape == masks["model.layers.0.self_attn.q_proj.weight"].shape
    values, places = sparse_semi_structured_from_dense_cutlass(weight)
    assert values.numel() == weight.numel() // 2
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(values, places), weight)


def test_a_weight_with_other_zeros_is_not_packed(tmp_path: Path) -> None:
    two_of_four(tmp_path)
    model = random_model(WIDE, 64, 0)
    with pytest.raises(ValueError, match=r"self_attn\.\w_proj\.weight is not zero in two of each four"):
        with_packed_weights(model, two_of_four_masks(tmp_path), lambda weight: weight)


def test_only_such_checkpoints_and_devices_have_this_speed(tmp_path: Path) -> None:
    two_of_four(tmp_path)
    write_json(tmp_path / PRUNING_FILE, {"target": {"pattern": "unstructured"}})
    assert two_of_four_masks(tmp_path) == {}
    (tmp_path / PRUNING_FILE).unlink()
    assert two_of_four_masks(tmp_path) == {}
    assert not skips_zeros(CPU, torch.bfloat16)


def test_its_time_follows_from_the_models_that_are_timed(study_values: Callable[[str], dict[str, Any]]) -> None:
    """Of the paper's: 20 models of 91B parameters in all, of which the first and two of 2:4 are timed twice."""
    study = Study(study_values("paper"))
    runs = [study.run(name) for name in study.measured_runs.values()]
    again = [runs[0], *(run for run in runs if run.target.pattern == "2:4")]
    read = sum(run.target.shape.params_total for run in (*runs, *again))
    assert 60 * read / 1e9 < speed_seconds(study) < 2 * 60 * read / 1e9
    values = study_values("paper")
    values["evaluation"]["speed"] |= {"new_tokens": 1280}
    generated = 7 * (1280 - 128) * 1e-3 * sum(run.target.shape.layers for run in (*runs, *again))
    assert speed_seconds(Study(values)) - speed_seconds(study) > generated
    del values["evaluation"]["speed"]
    assert speed_seconds(Study(values)) == 0
