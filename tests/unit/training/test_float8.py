"""Products in float8, whose rounding a CPU imitates."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models import tiny_model
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.training.export import write_checkpoint
from pruning_vs_scratch.training.float8 import use_float8
from training_world import ALONE, make_trainer, random_store, untimed_metrics

torchao = pytest.importorskip("torchao")

CPU = torch.device("cpu")
TOLERANCE = 0.1
"""Nats between the losses of float8 and of bf16 as they fall by more than two; float8 has three bits of mantissa."""


def text_of_a_cycle(folder: Path) -> TokenStore:
    """Text in which each token has one successor."""
    write_tokens(folder / "cycle", [[*range(60)] * 80], vocab_size=300, shard_tokens=1000, tokenizer_sha256="x")
    return TokenStore(folder / "cycle")


def curve(tmp_path: Path, name: str, **plan: object) -> np.ndarray:
    """Training losses of a run in bf16."""
    text = text_of_a_cycle(tmp_path / name)
    trainer = make_trainer(text, tmp_path / name, precision="bf16", window_end=8 + 4 * 40, **plan)  # type: ignore[arg-type]
    trainer.train()
    return np.array([record["loss"] for record in untimed_metrics(trainer) if "loss" in record])


def test_a_run_in_float8_follows_the_one_in_bf16(tmp_path: Path) -> None:
    found, plain = curve(tmp_path, "float8", float8=True), curve(tmp_path, "bf16")
    assert not np.array_equal(found, plain)
    np.testing.assert_allclose(found, plain, rtol=0, atol=TOLERANCE)
    assert plain[-1] < plain[0] - 2


def test_only_linear_layers_of_blocks_with_fitting_sizes_change() -> None:
    model = tiny_model(vocab_size=320, hidden_size=32, ffn_size=40)
    use_float8(model, CPU, "bf16")
    changed = {name for name, module in model.named_modules() if type(module).__name__ == "Float8Linear"}
    assert changed == {
        f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(len(model.model.layers)) for name in "qkvo"
    }


def test_what_was_trained_is_a_plain_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(random_store(tmp_path), tmp_path / "work", precision="bf16", float8=True)
    trainer.train_step()
    (tmp_path / "model").mkdir()
    write_checkpoint(trainer.decoder, tmp_path / "model", ALONE)
    loaded = dict(load_model(tmp_path / "model").named_parameters())
    assert all(torch.equal(loaded[name], value) for name, value in trainer.decoder.named_parameters())


def test_it_needs_bf16(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.float8 needs training\.precision bf16, not fp32"):
        make_trainer(random_store(tmp_path), tmp_path / "work", precision="fp32", float8=True)


def test_it_needs_torchao(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(UserError, match=r"training\.float8 needs torchao: pip install"):
        use_float8(tiny_model(vocab_size=300), CPU, "bf16")
