"""Memory of pruning an 8B model with the settings of the study `paper`, counted on tensors without values.

Each method scores the text on a GPU, block by block, exactly as it does with values: what is alive at the peak must fit
an 80 GB card, and be what the estimate says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fake_checkpoint import fake_model, fake_stream
from fake_memory import FakeMemory
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.models import device as devices
from pruning_vs_scratch.models import tensors
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.pruning import export as exporting
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
from pruning_vs_scratch.pruning.facts import Text, WeightBytes
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.memory import Means, Memory, pruning_memory
from pruning_vs_scratch.pruning.method import PrunedBlock, PruningSpec, SparseMethod
from pruning_vs_scratch.pruning.methods.sparsegpt import method as sparsegpt
from pruning_vs_scratch.pruning.placement import Buffers, SideBySide, side_by_side
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import structured_blocks
from pruning_vs_scratch.pruning.surgery import kept_shape
from pruning_vs_scratch.study import ModelShape, Study, Target
from pruning_vs_scratch.study.targets import shapes_to_score

CARD = 75e9
"""Bytes of an 80 GB card that a step may take; the rest is for the CUDA context and fragments."""
NEAR = 0.15
SEEN_BLOCKS, SEEN_BATCHES = 2, 2
"""Further ones of a kind take what these took; but where blocks stay on the device, all do."""
METHODS = [
    ("minitron_depth", "dense"),
    ("shortgpt", "dense"),
    ("minitron_width", "dense"),
    ("flap", "dense"),
    ("wanda_sp", "dense"),
    ("wanda", "unstructured"),
    ("wanda", "2:4"),
    ("sparsegpt", "unstructured"),
    ("sparsegpt", "2:4"),
    ("magnitude", "unstructured"),
]
FLAP_SHAPE = {"heads": 20, "kv_heads": 5, "ffn_size": 6528}
KEPT: dict[str, Callable[[ModelShape], Kept]] = {
    "depth": lambda shape: Kept(blocks=list(range(shape.layers // 2))),
    "width": lambda shape: Kept(hidden=torch.arange(3072), ffn=[torch.arange(9216)] * shape.layers),
}
"""What is written of the parent at a ratio of a half."""
PROBE_LENGTH = 64
each_method = pytest.mark.parametrize(("method", "pattern"), METHODS)


@dataclass(frozen=True)
class Setting:
    """The study's settings for pruning its parent."""

    shape: ModelShape
    goals: list[ModelShape]
    text: Text
    buffers: Buffers


@pytest.fixture
def paper(study_values: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A GPU that is fast in bf16, and the study `paper`."""
    monkeypatch.setattr(devices, "native_bf16", lambda _: True)
    # What the loop over single columns holds is a few of them; it would take minutes, at 14,336 columns.
    monkeypatch.setattr(sparsegpt, "_prune_block", lambda columns, *_: torch.empty_like(columns))
    # What a candidate's loss takes does not add up: the first two show it.
    losses, take = [], CalibrationStream.language_model_loss
    monkeypatch.setattr(
        CalibrationStream,
        "language_model_loss",
        lambda *call: losses.append(0.0) or (take(*call) if len(losses) <= SEEN_BATCHES else 0.0),
    )
    study = Study(study_values("paper"))
    parent = next(name for name, run in study.runs.items() if run.role == "parent")
    pruning = study.config.pruning
    calibration = pruning.calibration
    return Setting(
        study.runs[parent].target.shape,
        shapes_to_score(study.config, "minitron_depth", study.runs[parent].target.shape),
        Text(calibration.sequences, calibration.sequence_length, calibration.batch_size),
        Buffers(round(pruning.host_buffer_gib * 2**30), round(pruning.device_buffer_gib * 2**30)),
    )


def seen_shape(setting: Setting, method: str) -> ModelShape:
    """The parent with few blocks, where they do not stay."""
    compared = facts_of(method).candidates is not None
    return setting.shape if compared else replace(setting.shape, layers=SEEN_BLOCKS)


def measured(setting: Setting, method: str, pattern: str, precision: WantedPrecision = "auto") -> Memory:
    """Peaks of scoring the parent, stored in fp32, and of writing what is made of it."""
    facts, implementation, text = facts_of(method), implementation_of(method), setting.text
    compared, options, shape = facts.candidates is not None, facts.options(), seen_shape(setting, method)
    with FakeMemory() as memory, torch.no_grad():
        model, stream = fake_model(shape, torch.float32, text.length, precision), None
        if facts.reads == "calibration":
            stream = fake_stream(
                model,
                text.sequences,
                text.length,
                text.batch_size,
                buffer_bytes=setting.buffers.host,
                device_buffer_bytes=setting.buffers.device,
                compared=compared,
            )
            stream.batches = stream.batches[:SEEN_BATCHES]
            stream.sequences = stream.batches[-1].stop
        if isinstance(implementation, SparseMethod):
            spec = PruningSpec(Target("mask", "sparse", 0.5, pattern, shape, method), options, 0)
            write(model, Kept(), sparse_blocks(model, implementation, spec, stream))
        else:
            implementation.score(stream, setting.goals if compared else [replace(shape, **FLAP_SHAPE)], options)
            scoring = memory.peak("cpu")
            device = memory.peak("cuda")
            del model, stream
            memory.reset_peak()
            # With scores from a file, in a separate process.
            model = fake_model(shape, torch.float32, text.length, precision)
            kept = KEPT[facts.granularity](shape)
            write(model, kept, structured_blocks(model, kept))
            return Memory(device, max(scoring, memory.peak("cpu")), 0)
        return Memory(memory.peak("cuda"), memory.peak("cpu"), 0)


def write(model: BlockwiseModel, kept: Kept, blocks: Iterable[PrunedBlock]) -> None:
    """Write a checkpoint whose files are not needed, and read it again."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_config", "write_packed_masks", "_require_equal"):
            patch.setattr(exporting, name, lambda *_: None)
        patch.setattr(exporting, "pack_mask", lambda mask: torch.empty(mask.numel() // 8, dtype=torch.uint8))
        patch.setattr(tensors, "save_tensors", lambda *_, **__: None)
        patch.setattr(exporting.CheckpointWriter, "close", exporting.CheckpointWriter._flush)
        shape = kept_shape(model.shape, kept)
        patch.setattr(
            exporting.BlockwiseModel,
            "open",
            lambda *_, **__: fake_model(shape, torch.float32, PROBE_LENGTH, device=torch.device("cpu")),
        )
        exporting.export(model, kept, blocks, Path(), low_memory=True)


def estimated(setting: Setting, method: str, computed: int = 2) -> Memory:
    means = Means(WeightBytes(stored=4, computed=computed), setting.buffers, gpu=True)
    options, shape = facts_of(method).options(), seen_shape(setting, method)
    return pruning_memory(shape, method, setting.text, means, setting.goals, options)


@pytest.mark.slow
@each_method
def test_a_card_holds_each_method_and_the_estimates_are_near(paper: Setting, method: str, pattern: str) -> None:
    found, expected = measured(paper, method, pattern), estimated(paper, method)
    assert found.device < CARD
    assert found.device == pytest.approx(expected.device, rel=NEAR)
    assert found.host == pytest.approx(expected.host, rel=NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["shortgpt", "minitron_width", "flap", "wanda", "sparsegpt"])
def test_fp32_fits_where_it_is_asked_for(paper: Setting, method: str) -> None:
    pattern = "unstructured" if facts_of(method).granularity == "sparse" else "dense"
    found, expected = measured(paper, method, pattern, "fp32"), estimated(paper, method, computed=4)
    assert found.device < CARD
    assert found.device == pytest.approx(expected.device, rel=NEAR)
    assert found.host == pytest.approx(expected.host, rel=NEAR)


def test_the_documented_figures_of_the_paper_are_those_of_the_estimate(paper: Setting) -> None:
    lines = []
    for method in ("minitron_depth", "shortgpt", "minitron_width", "flap", "wanda", "sparsegpt"):
        means = Means(WeightBytes(stored=4, computed=2), paper.buffers, gpu=True)
        found = pruning_memory(paper.shape, method, paper.text, means, paper.goals, facts_of(method).options())
        lines.append(f"| `{method}` | {found.device / 1e9:.1f} GB | {found.host / 1e9:.1f} GB |")
    assert "\n".join(lines) in (REPOSITORY / "docs" / "pruning.md").read_text(encoding="utf-8")


def test_the_paper_reads_its_parent_once_to_score_depth(paper: Setting) -> None:
    """By the sizes alone: all blocks in bf16 stay on the card, with the states of 34 candidates and the whole model."""
    block_bytes = 2 * paper.shape.layers * paper.shape.block_params
    batch_bytes = 2 * paper.text.batch_tokens * paper.shape.hidden_size
    facts = facts_of("minitron_depth")
    assert facts.candidates is not None
    sets = facts.candidates(paper.shape, paper.goals, facts.options()) + 1
    way = side_by_side(sets, batch_bytes, paper.text.batch_size, block_bytes, paper.buffers, blocks_at_hand=False)
    assert (sets, way) == (35, SideBySide(blocks_on_device=True, states_on_device=True, windows=4))
    # As it was with a buffer on the host only: once for each of 32 batches.
    host = side_by_side(
        sets, batch_bytes, paper.text.batch_size, block_bytes, Buffers(paper.buffers.host), blocks_at_hand=False
    )
    assert paper.text.sequences // host.windows == 32
