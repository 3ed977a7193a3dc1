"""Batches read ahead are those of their steps, each read once; errors are raised where the batch is asked for."""

import pytest
import torch

from pruning_vs_scratch.training.ahead import BatchesAhead

CPU = torch.device("cpu")


class Reader:
    """Batches that hold their step, and which steps were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, step: int) -> torch.Tensor:
        self.read.append(step)
        if step == 7:
            raise OSError("unreadable")
        return torch.tensor([step])


def test_each_batch_is_read_once_and_none_past_the_end() -> None:
    reader = Reader()
    batches = BatchesAhead(reader, 5, CPU)
    assert [int(batches.of(step)) for step in range(5)] == [*range(5)]
    assert reader.read == [*range(5)]


def test_a_step_other_than_the_one_read_ahead_can_be_read() -> None:
    batches = BatchesAhead(Reader(), 10, CPU)
    batches.of(0)
    assert int(batches.of(4)) == 4
    assert int(batches.of(5)) == 5


def test_nothing_is_read_before_it_is_asked_for_if_nothing_may_be() -> None:
    reader = Reader()
    batches = BatchesAhead(reader, 0, CPU)
    assert int(batches.of(2)) == 2
    assert reader.read == [2]


def test_an_error_is_raised_at_its_own_step() -> None:
    batches = BatchesAhead(Reader(), 10, CPU)
    assert int(batches.of(6)) == 6
    with pytest.raises(OSError, match="unreadable"):
        batches.of(7)
