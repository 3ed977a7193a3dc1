"""The loss curve of a 20-step run, as it was when it was written down, on each kind of machine.

After a change that is meant to move it, `PYTHONPATH=tests/support python tests/unit/training/test_golden.py` writes
the curves of this machine again.
"""

import json
import platform
import tempfile
from pathlib import Path

import pytest
import torch

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from training_world import make_trainer, untimed_metrics

FILE = REPOSITORY / "tests/support/golden_losses.json"
STEPS = 20
TOLERANCE = {"fp32": 5e-5, "bf16": 1e-2}
TOLERANCE_ELSEWHERE = {"fp32": 2e-3, "bf16": 5e-2}
"""On a kind of machine whose curve was never written down, against that of another."""


def machine() -> str:
    """The kind of machine, as far as it decides the rounding: system, processor family, vector instructions."""
    return f"{platform.system()}-{platform.machine()}-{torch.backends.cpu.get_cpu_capability()}"


def curve(folder: Path, precision: str) -> list[float]:
    """Losses of 20 steps of a small model on a text with a rule."""
    tokens = [number * number % 97 for number in range(6000)]
    write_tokens(folder / "text", [tokens], vocab_size=300, shard_tokens=10**6, tokenizer_sha256="x")
    trainer = make_trainer(
        TokenStore(folder / "text"), folder / precision, precision=precision, window_end=8 + 4 * STEPS,
        micro_batch_size=2, validation=None,
    )  # fmt: skip
    trainer.train()
    return [record["loss"] for record in untimed_metrics(trainer)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_curve_is_the_one_that_was_written_down(tmp_path: Path, precision: str) -> None:
    golden: dict[str, dict[str, list[float]]] = json.loads(FILE.read_text())
    known = machine() in golden
    expected = golden.get(machine(), next(iter(golden.values())))[precision]
    found = curve(tmp_path, precision)
    assert len(found) == STEPS
    assert found[-1] < found[0] - 1, "the model learned nothing"
    assert found == pytest.approx(expected, abs=(TOLERANCE if known else TOLERANCE_ELSEWHERE)[precision])


if __name__ == "__main__":
    torch.set_num_threads(1)
    written = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        written[machine()] = {p: [round(loss, 6) for loss in curve(Path(folder), p)] for p in TOLERANCE}
    FILE.write_text(json.dumps(written, indent=1) + "\n")
