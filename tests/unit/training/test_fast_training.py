"""What makes training faster changes nothing but rounding."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import tiny_model
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import families
from pruning_vs_scratch.training.attention import NAME, causal_attention, use_fastest_attention
from pruning_vs_scratch.training.compiling import pays
from pruning_vs_scratch.training.linear import linear, use_fastest_linear
from training_world import make_trainer, random_store, untimed_metrics


def assert_same(
    found: torch.Tensor,
    expected: torch.Tensor,
    ours: list[torch.Tensor],
    theirs: list[torch.Tensor],
    generator: torch.Generator,
) -> None:
    """Two results are equal up to rounding, and so are the gradients of what each was made from."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(found.shape, generator=generator)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


@given(
    sequences=st.integers(1, 3), groups=st.integers(1, 3), share=st.integers(1, 3), length=st.integers(1, 9),
    masked=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_attention_written_out_is_torchs_own(
    sequences: int, groups: int, share: int, length: int, masked: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(sequences, groups * share, length, 4), *[(sequences, groups, length, 4)] * 2]
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    allowed = None
    if masked:
        allowed = (torch.rand(sequences, 1, length, length, generator=generator) < 0.5) | torch.eye(length).bool()
    found = causal_attention(*ours, 0.3, allowed)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=allowed, is_causal=allowed is None, scale=0.3, enable_gqa=True
    )
    assert_same(found, expected, ours, theirs, generator)


@pytest.mark.parametrize("family", families())
def test_a_model_gives_the_same_logits_with_it(family: str) -> None:
    tokens = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(0))
    model = tiny_model(vocab_size=300, family=family)
    expected = model(input_ids=tokens).logits
    model.set_attn_implementation(NAME)
    torch.testing.assert_close(model(input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("device", "precision", "length", "written_out"),
    [
        ("cpu", "bf16", 128, True),
        ("cpu", "fp32", 128, False),
        ("cuda", "bf16", 128, False),
        ("cpu", "bf16", 2048, False),
    ],
)
def test_it_is_taken_only_where_it_is_faster(device: str, precision: str, length: int, written_out: bool) -> None:
    model = tiny_model(vocab_size=300)
    use_fastest_attention(model, length, torch.device(device), precision)  # type: ignore[arg-type]
    assert (model.config._attn_implementation == NAME) == written_out
    assert NAME not in model.config.to_json_string()


@given(
    rows=st.lists(st.integers(1, 5), min_size=1, max_size=3), read=st.integers(1, 9), written=st.integers(1, 9),
    wanted=st.tuples(st.booleans(), st.booleans()).filter(any), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_linear_layer_is_torchs_own(
    rows: list[int], read: int, written: int, wanted: tuple[bool, bool], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(*rows, read), (written, read)]
    ours = [torch.randn(s, generator=generator).requires_grad_(w) for s, w in zip(shapes, wanted, strict=True)]
    theirs = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in ours]
    found, expected = linear(*ours), torch.nn.functional.linear(*theirs)
    assert_same(found, expected, ours, theirs, generator)


@pytest.mark.parametrize(
    ("device", "precision", "processor", "avx512", "ours"),
    [
        ("cpu", "fp32", "AMD EPYC", True, True),
        ("cpu", "bf16", "AMD EPYC", True, False),
        ("cuda", "fp32", "AMD EPYC", True, False),
        ("cpu", "fp32", "AMD EPYC", False, False),
        ("cpu", "fp32", "Intel(R) Xeon(R)", True, False),
    ],
)
def test_it_is_taken_only_where_torchs_own_is_slow(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, processor: str, avx512: bool, ours: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": processor, "avx512_f": avx512})
    model, tokens = tiny_model(vocab_size=300), torch.arange(40).view(2, 20)
    expected = model(input_ids=tokens).logits
    use_fastest_linear(model, torch.device(device), precision)  # type: ignore[arg-type]
    torch.testing.assert_close(model(input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-5)
    layer = model.model.layers[-1].mlp.down_proj
    assert (layer(torch.ones(2, layer.in_features)).grad_fn.name() == "_LinearBackward") == ours


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_train_the_same(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    curves = []
    for compiled in (False, True):
        trainer = make_trainer(store, tmp_path / str(compiled), compile=compiled)
        trainer.train()
        curves.append([record["loss"] for record in untimed_metrics(trainer) if "loss" in record])
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)


def test_only_long_runs_on_a_cpu_are_compiled_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    assert [pays(flops, cpu, "bf16") for flops in (1e12, 1e15)] == [False, True]
    assert not pays(1e15, cpu, "fp32")
    assert not pays(1e20, gpu, "bf16")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not pays(1e15, cpu, "bf16")


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"training.compile needs a compiler"):
        make_trainer(random_store(tmp_path), tmp_path / "work", compile=True)
