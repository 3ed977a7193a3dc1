"""Documents that share a window do not see each other, if that is asked for."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import tiny_model
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import families, family_facts
from pruning_vs_scratch.training.attention import NAME
from pruning_vs_scratch.training.loss import document_positions, last_hidden_states, loss_sum, sequence_losses
from training_world import make_trainer, random_store, untimed_metrics

SEPARATOR = 0
DOCUMENTS = ([5, 7, 9], [0, 3, 4, 8, 6], [0], [0, 11, 12])
WINDOW = torch.tensor([[token for document in DOCUMENTS for token in document]])


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4))
def test_positions_restart_at_each_separator(rows: list[list[int]]) -> None:
    length = min(map(len, rows))
    tokens = torch.tensor([row[:length] for row in rows])
    expected = []
    for row in tokens.tolist():
        position, found = -1, []
        for token in row:
            position = 0 if token == SEPARATOR else position + 1
            found.append(position)
        expected.append(found)
    assert document_positions(tokens, SEPARATOR).tolist() == expected


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("attention", ["sdpa", "eager", NAME])
def test_a_packed_window_is_its_documents_one_by_one(attention: str, family: str) -> None:
    if attention == "sdpa" and family_facts(family).caps_attention:
        pytest.skip("no fused kernel caps scores")
    model = tiny_model(vocab_size=300, family=family)
    model.set_attn_implementation(attention)
    alone = torch.cat([last_hidden_states(model, torch.tensor([document])) for document in DOCUMENTS], dim=1)
    torch.testing.assert_close(last_hidden_states(model, WINDOW, SEPARATOR), alone, rtol=1e-4, atol=1e-4)
    whole = last_hidden_states(model, WINDOW)
    assert not torch.allclose(whole[:, 4:], alone[:, 4:], atol=1e-2)


@pytest.mark.parametrize("chunk", [None, 4])
def test_gradients_are_those_of_the_documents_one_by_one(chunk: int | None) -> None:
    packed, alone = (tiny_model(vocab_size=300) for _ in range(2))
    targets = torch.roll(WINDOW, -1)
    total = loss_sum(packed, WINDOW, targets, chunk, SEPARATOR)
    total.backward()
    start, expected = 0, torch.zeros(())
    for document in DOCUMENTS:
        part = slice(start, start := start + len(document))
        expected = expected + loss_sum(alone, WINDOW[:, part], targets[:, part])
    expected.backward()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(packed.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-5)


def test_a_window_of_one_document_is_the_plain_one() -> None:
    model = tiny_model(vocab_size=300)
    window = torch.arange(1, 12)[None]
    found, expected = (sequence_losses(model, window, 1, None, separator) for separator in (SEPARATOR, None))
    torch.testing.assert_close(found, expected)


def test_a_run_whose_attention_ends_at_documents_differs(tmp_path: Path) -> None:
    store = random_store(tmp_path)
    first = {}
    inside = int(make_trainer(store, tmp_path / "look").batches.of(0)[0, 5])
    for attention in ("window", "document"):
        trainer = make_trainer(store, tmp_path / attention, attention=attention, separator=inside, micro_batch_size=2)
        trainer.train_step()
        first[attention] = untimed_metrics(trainer)[0]["loss"]
    assert first["window"] != first["document"]


def test_a_tokenizer_without_a_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="attention within documents needs a tokenizer with a separator"):
        make_trainer(random_store(tmp_path), tmp_path / "work", attention="document")
