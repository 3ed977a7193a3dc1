"""In which arithmetic calibration text passes through a model, and that written weights know nothing of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fake_memory import GPU, FakeMemory
from models import SHAPE, Case, held, same_tensors, tiny_model, weights_of
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.models import device as devices
from pruning_vs_scratch.models.attention import attend
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import config_of, weight_shapes
from pruning_vs_scratch.models.device import compute_dtype
from pruning_vs_scratch.models.skeleton import Skeleton
from pruning_world import World

CPU = torch.device("cpu")
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("stored", "device", "fast", "precision", "dtype"),
    [
        (FP32, GPU, True, "auto", BF16),
        (BF16, GPU, True, "auto", BF16),
        (FP16, GPU, True, "auto", BF16),
        (FP32, GPU, False, "auto", FP32),
        (FP16, GPU, False, "auto", FP16),
        (FP32, CPU, True, "auto", FP32),
        (BF16, CPU, True, "auto", BF16),
        (BF16, CPU, False, "auto", FP32),
        (BF16, GPU, True, "fp32", FP32),
        (FP32, CPU, False, "bf16", BF16),
    ],
)
def test_auto_is_bf16_on_a_gpu_whatever_the_weights_are_stored_in(
    stored: torch.dtype,
    device: torch.device,
    fast: bool,
    precision: WantedPrecision,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "native_bf16", lambda _: fast)
    assert compute_dtype(stored, device, precision) == dtype


def attention_by_loops(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, allowed: torch.Tensor
) -> torch.Tensor:
    """softmax(scale * q k) v for each head of each sequence, in fp64."""
    heads = []
    for head in range(query.shape[1]):
        group = head // (query.shape[1] // key.shape[1])
        scores = scale * query[:, head].double() @ key[:, group].double().mT
        heads.append(scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value[:, group].double())
    return torch.stack(heads, dim=2)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_repeated_heads_is_attention(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 7, 4, generator=generator) for heads in (6, 2, 2))
    allowed = torch.ones(7, 7, dtype=torch.bool).tril()
    if masked:
        allowed = allowed.triu(-2)
    mask = allowed.expand(2, 1, 7, 7) if masked else None
    found, _ = attend(nn.Identity(), query, key, value, mask, 0.3)
    torch.testing.assert_close(
        found.double(), attention_by_loops(query, key, value, 0.3, allowed), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("model", [tiny_model(), tiny_model(family="mistral")], ids=["llama", "mistral"])
def test_a_model_whose_heads_are_repeated_computes_the_same(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where both ways are there; the last digits of fp32 differ."""
    usual = Case("minitron_width").prune(model).scores
    monkeypatch.setattr(
        "pruning_vs_scratch.models.skeleton.use_fused_attention",
        lambda made, _device, _dtype: made.set_attn_implementation("sdpa_with_repeated_heads"),
    )
    repeated = Case("minitron_width").prune(model).scores
    for name, values in usual.items():
        torch.testing.assert_close(repeated[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_no_matrix_of_scores_is_made_on_a_gpu(dtype: torch.dtype) -> None:
    """Scores of 1 x 32 x 8,192 x 8,192 take 8.6 GB in fp32; a block of this width needs less than 3 GB without."""
    assert peak_of_a_block(dtype) < 3e9


def test_grouped_heads_in_fp32_would_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruning_vs_scratch.models.skeleton.use_fused_attention", lambda *_: None)
    assert peak_of_a_block(FP32) > 2 * 8.5e9


def peak_of_a_block(dtype: torch.dtype) -> int:
    """Bytes on a GPU while a block of 8B runs on a window of 8,192 tokens."""
    shape = replace(
        SHAPE, vocab_size=1024, layers=1, hidden_size=4096, ffn_size=14336, heads=32, kv_heads=8, head_dim=128
    )
    config = config_of(shape, positions=8192)
    outside, inside = weight_shapes(config)
    with FakeMemory() as memory, torch.no_grad():
        skeleton = Skeleton(config, {name: torch.empty(size) for name, size in outside.items()}, GPU, dtype)
        states, keywords = skeleton.first_inputs(torch.empty(1, 8192, dtype=torch.int64))
        block = skeleton.block({name: torch.empty(size) for name, size in inside.items()}, 0)
        block(states.to(GPU), **keywords[skeleton.layer_types[0]])
    return memory.peak("cuda")


@pytest.mark.parametrize("case", [Case("wanda", 0.5, "unstructured"), Case("magnitude", 0.5, "2:4")], ids=str)
def test_what_stays_of_fp32_weights_has_all_its_digits_where_the_text_passes_in_bf16(case: Case) -> None:
    model = tiny_model()
    before = weights_of(model)
    outcome = case.prune(BlockwiseModel(model.config, held(model), CPU, precision="bf16"))
    assert all(mask.any() and not mask.all() for mask in outcome.masks.values())
    expected = {name: before[name] * outcome.masks.get(name, True) for name in outcome.weights}
    assert same_tensors(outcome.weights, expected)
    assert same_tensors(weights_of(model), before)


def test_sparsegpt_updates_the_stored_weights_not_their_rounded_copies() -> None:
    """In the first block, where both precisions see nearly the same inputs, updates are near; bf16 has 3 digits."""
    model = tiny_model()
    case = Case("sparsegpt", 0.5, "2:4", {"block_size": 8})
    exact, coarse = (
        case.prune(BlockwiseModel(model.config, held(model), CPU, precision=precision)).weights
        for precision in ("fp32", "bf16")
    )
    name = "model.layers.0.self_attn.q_proj.weight"
    assert coarse[name].dtype == FP32
    assert not torch.equal(coarse[name], coarse[name].bfloat16().float())
    both = (coarse[name] != 0) & (exact[name] != 0)
    assert both.double().mean() > 0.4
    assert (coarse[name] - exact[name])[both].abs().median() < 0.01


def test_the_arithmetic_is_part_of_the_identity_of_a_step_if_it_was_chosen(tmp_path: Path) -> None:
    world, rows, options = World(tmp_path), {}, {}
    for precision in ("auto", "bf16", "fp32"):
        world.prune(Case("shortgpt"), precision=precision)
        manifest = read_manifest(world.manifest)
        rows[precision], options[precision] = LedgerRow(**manifest["facts"]["ledger"]), manifest["options"]
    assert [row.precision for row in rows.values()] == ["fp32", "bf16", "fp32"]
    assert len({row.spec_hash for row in rows.values()}) == 3
    assert [recorded.get("precision") for recorded in options.values()] == [None, "bf16", "fp32"]
