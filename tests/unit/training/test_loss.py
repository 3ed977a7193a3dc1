"""The loss a chunk of tokens at a time: the same sum, the same gradients, and far less memory."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from models import tiny_model
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.training.loss import chunked_loss_sum, fused_loss_sum, loss_sum, sequence_losses
from steady_memory import printed_by
from training_world import make_trainer, random_store, untimed_metrics

PEAK_OF_A_STEP = """
import resource, sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from pruning_vs_scratch.training.loss import loss_sum

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(1)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=131072, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
    tie_word_embeddings=True,
))
tokens = torch.arange(4 * 257).view(4, 257)
before = peak()
loss_sum(model, tokens[:, :-1], tokens[:, 1:], int(sys.argv[1]) or None).backward()
print(peak() - before)
"""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers that gradients flow to."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@given(tokens=st.integers(1, 9), vocabulary=st.integers(2, 12), chunk=st.integers(1, 12), seed=st.integers(0, 99))
def test_sum_and_gradients_are_those_of_all_logits_at_once(tokens: int, vocabulary: int, chunk: int, seed: int) -> None:
    targets = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed))
    found, expected = ((drawn(tokens, 4, seed=seed), drawn(vocabulary, 4, seed=seed + 1)) for _ in range(2))
    # A factor after the sum: the step divides it by the tokens of the global batch.
    loss = chunked_loss_sum(*found, targets, chunk) / 7
    whole = torch.nn.functional.cross_entropy(expected[0] @ expected[1].T, targets, reduction="sum") / 7
    loss.backward()
    whole.backward()
    torch.testing.assert_close(loss, whole)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_of_a_model_gets_the_same_gradient(tied: bool) -> None:
    tokens = torch.randint(300, (3, 11), generator=torch.Generator().manual_seed(0))
    gradients = []
    for chunk in (None, 7):
        model = tiny_model(vocab_size=300, tie_embeddings=tied)
        loss_sum(model, tokens[:, :-1], tokens[:, 1:], chunk).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 20, 1000])
def test_losses_of_sequences_do_not_depend_on_the_chunk(chunk: int) -> None:
    windows = torch.randint(300, (5, 11), generator=torch.Generator().manual_seed(0))
    model = tiny_model(vocab_size=300)
    torch.testing.assert_close(sequence_losses(model, windows, 2, chunk), sequence_losses(model, windows, 2))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_in_chunks_follows_the_same_curve(tmp_path: Path, precision: str) -> None:
    store: TokenStore = random_store(tmp_path)
    curves = []
    for chunk in (None, 24):
        trainer = make_trainer(store, tmp_path / str(chunk), precision=precision, loss_chunk_tokens=chunk)
        trainer.train()
        curves.append([r.get("loss", r.get("validation_loss")) for r in untimed_metrics(trainer)])
    assert curves[1] == pytest.approx(curves[0], rel=1e-5 if precision == "fp32" else 2e-3)


@pytest.mark.slow
def test_at_a_vocabulary_of_128k_the_peak_is_less_than_half() -> None:
    plain, chunked = (printed_by("-c", PEAK_OF_A_STEP, chunk) for chunk in ("0", "64"))
    assert chunked < 0.5 * plain


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_fused_loss_is_the_plain_one_and_is_not_rounded_to_bf16(
    chunk: int | None, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Exact in bf16, so that only the kernel's own rounding counts.
    hidden = (torch.randn(40, 16, generator=generator).bfloat16().float()).requires_grad_()
    weight = (torch.randn(70, 16, generator=generator).bfloat16().float()).requires_grad_()
    targets = torch.randint(70, (40,), generator=generator)
    plain = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    wanted = torch.autograd.grad(plain, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        fused = fused_loss_sum(hidden, weight, targets, chunk)
    assert fused.dtype == torch.float32
    # Rounded as a sum, a loss of this size in bf16 would be off by up to one part in 256.
    assert float(fused) == pytest.approx(float(plain), rel=min(tolerance, 1 / 1024))
    for found, expected in zip(torch.autograd.grad(fused, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
