"""Expected memory of training is what torch's own operations hold, counted on fake tensors at the paper's sizes."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from fake_memory import GPU_OF_GRADIENTS, FakeMemory
from pruning_vs_scratch.models.decoder import config_of
from pruning_vs_scratch.pruning.methods.sheared_llama.masked_model import masking
from pruning_vs_scratch.pruning.methods.sheared_llama.shape_masks import ShapeMasks
from pruning_vs_scratch.study.evaluation_memory import TOKENS_AT_ONCE, evaluation_memory
from pruning_vs_scratch.study.gpus import GPUS
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.training_memory import FREE, chosen_recomputing, memory_of_plan
from pruning_vs_scratch.training.dry_run import BETWEEN_NODES, IN_NODE, PRODUCTS, dry_run
from pruning_vs_scratch.training.loss import sequence_losses
from training_plans import make_plan

PARENT = ModelShape(128256, 32, 4096, 14336, 32, 8, 128, False, 500000.0, 1e-5)
"""Llama-3.1-8B."""
LARGEST_TARGET = replace(PARENT, layers=16)
SHALLOW = replace(PARENT, layers=2)
SMALL = ModelShape(32000, 12, 1024, 2816, 16, 4, 64, True, 10000.0, 1e-5)
H100 = GPUS["h100"]
LIMIT = 75e9
TOLERANCE = 0.15
PAPER: dict[str, Any] = {
    "sequence_length": 8192, "global_batch_size": 512, "micro_batch_size": 1, "window_start": 0, "window_end": 51200,
    "loss_chunk_tokens": 2048, "precision": "bf16", "activation_checkpointing": "auto", "sharding": "node",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "processes", "changes"),
    [
        pytest.param(PARENT, 64, {}, id="parent"),
        pytest.param(LARGEST_TARGET, 64, {}, id="largest target"),
        pytest.param(PARENT, 64, {"sharding": "all", "activation_checkpointing": True}, id="parent, no copies"),
        pytest.param(SHALLOW, 1, {"activation_checkpointing": False}, id="alone"),
        pytest.param(SHALLOW, 1, {"activation_checkpointing": 2}, id="alone, recomputed"),
        pytest.param(SHALLOW, 8, {"loss_chunk_tokens": 8192}, id="wide logits"),
        pytest.param(SMALL, 8, {"micro_batch_size": 8}, id="narrow"),
        *(
            pytest.param(replace(SHALLOW, family=family), 8, {"sequence_length": 4096}, id=family)
            for family in ("qwen3", "olmo3", "gemma2", "gemma3")
        ),
    ],
)
def test_expected_memory_equals_what_is_counted(shape: ModelShape, processes: int, changes: dict[str, Any]) -> None:
    found = dry_run(shape, make_plan(**PAPER | changes), H100, processes=processes, in_node=min(8, processes))
    assert found.peak_bytes < LIMIT
    assert found.expected.total == pytest.approx(found.peak_bytes, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype", "windows", "length"),
    [
        pytest.param(PARENT, torch.bfloat16, 4, 8192, id="parent"),
        pytest.param(SHALLOW, torch.bfloat16, 32, 8192, id="many windows"),
        pytest.param(SHALLOW, torch.float32, 4, 2048, id="fp32"),
        pytest.param(replace(SHALLOW, family="gemma2"), torch.bfloat16, 2, 8192, id="capped scores"),
        pytest.param(replace(SHALLOW, family="gemma3"), torch.bfloat16, 4, 8192, id="windows"),
    ],
)
def test_evaluation_takes_what_is_counted(shape: ModelShape, dtype: torch.dtype, windows: int, length: int) -> None:
    with FakeMemory() as memory:
        torch.set_default_dtype(dtype)
        try:
            with GPU_OF_GRADIENTS:
                model = AutoModelForCausalLM.from_config(config_of(shape, length), dtype=dtype).eval()
        finally:
            torch.set_default_dtype(torch.float32)
        memory.see(list(model.parameters()))
        sequence_losses(model, torch.zeros(2 * windows, length + 1, dtype=torch.long), windows, TOKENS_AT_ONCE)
    counted = memory.peak(GPU_OF_GRADIENTS.type)
    assert counted < LIMIT
    expected = evaluation_memory(shape, windows=windows, length=length, in_bf16=dtype == torch.bfloat16)
    assert expected == pytest.approx(counted, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("recomputed", [True, "auto"])
def test_learning_masks_of_the_parent_by_eight_processes(recomputed: Any) -> None:
    def masks(model: LlamaForCausalLM) -> AbstractContextManager[object]:
        goal = replace(PARENT, layers=16, hidden_size=3072, ffn_size=8192, heads=24)
        return masking(model, ShapeMasks(PARENT, goal, seed=0).sample(torch.Generator()))

    plan = make_plan(**PAPER | {"global_batch_size": 16, "activation_checkpointing": recomputed})
    found = dry_run(PARENT, plan, H100, processes=8, in_node=8, masking=masks)
    assert found.peak_bytes < LIMIT
    assert found.expected.total == pytest.approx(found.peak_bytes, rel=TOLERANCE)


@pytest.mark.slow
def test_fp32_is_counted_too() -> None:
    plan = make_plan(**PAPER | {"precision": "fp32"})
    for processes in (1, 8):
        found = dry_run(SMALL, plan, H100, processes=processes, in_node=processes)
        assert found.expected.total == pytest.approx(found.peak_bytes, rel=TOLERANCE)


def test_the_memory_chooses_how_many_blocks_are_run_again() -> None:
    plan = make_plan(**PAPER)

    def chosen(device_bytes: int | None) -> int | None:
        return chosen_recomputing(PARENT, plan, shards=8, in_bf16=True, device_bytes=device_bytes)

    choices = [chosen(10**9 * gigabytes) for gigabytes in (200, 80, 60, 40, 20, 5)]
    assert choices[0] is None
    assert choices[-1] == 1
    assert [choice or 99 for choice in choices] == sorted((choice or 99 for choice in choices), reverse=True)
    for gigabytes, every in zip((200, 80, 60, 40), choices, strict=False):
        expected = memory_of_plan(PARENT, plan, every, shards=8, in_bf16=True)
        assert expected.total <= (1 - FREE) * 1e9 * gigabytes
    assert chosen(None) is None


@pytest.mark.parametrize(("wanted", "every"), [(True, 1), (False, None), (3, 3)])
def test_a_plan_that_says_so_is_followed(wanted: Any, every: int | None) -> None:
    plan = make_plan(**PAPER | {"activation_checkpointing": wanted})
    assert chosen_recomputing(PARENT, plan, shards=8, in_bf16=True, device_bytes=1) == every


@pytest.mark.slow
def test_a_step_at_the_roofline_has_the_models_products_and_its_exchanges() -> None:
    plan = make_plan(**PAPER | {"activation_checkpointing": False, "sharding": "all"})
    alone = dry_run(SHALLOW, plan, H100, processes=1, in_node=1)
    # What the operations do at the peak: attention sees half of the scores, and makes them again in the backward pass.
    linear = 3 * 2 * (2 * SHALLOW.block_linear_params + SHALLOW.vocab_size * SHALLOW.hidden_size)
    attention = 2 * (2 + 5) * 8192 * SHALLOW.heads * SHALLOW.head_dim
    flops = 512 * 8192 * (linear + attention)
    assert alone.seconds[PRODUCTS] == pytest.approx(flops / (1e12 * H100.bf16_teraflops), rel=0.02)
    assert alone.seconds[IN_NODE] == alone.seconds[BETWEEN_NODES] == 0

    wide = dry_run(SHALLOW, plan, H100, processes=64, in_node=8)
    copies = dry_run(SHALLOW, plan.model_copy(update={"sharding": "node"}), H100, processes=64, in_node=8)
    assert wide.seconds[IN_NODE] == 0
    # Each micro-batch gathers the blocks twice and the rest at least once, in bf16, and scatters gradients in fp32.
    least = plan.global_batch_size // 64 * (2 + 4) * SHALLOW.params_total
    assert least < wide.seconds[BETWEEN_NODES] * 1e9 * H100.network_gigabytes < 1.5 * least
    # Copies add up their shards of the gradients once a step.
    once = 2 * 4 * SHALLOW.params_total / 8
    assert copies.seconds[BETWEEN_NODES] * 1e9 * H100.network_gigabytes == pytest.approx(once, rel=0.02)
    assert copies.step_seconds < wide.step_seconds
