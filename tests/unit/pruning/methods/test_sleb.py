"""SLEB removes the block without which the loss is lowest, round by round, as models without these blocks say."""

import math
from dataclasses import replace

import pytest
import torch

from models import SHAPE, STRUCTURED, Case, random_windows, stream_of, tiny_model
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.surgery import cut_model
from pruning_vs_scratch.training.loss import token_losses

pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = 6


def loss_of(blocks: list[int]) -> float:
    """Loss of the whole model that has these blocks alone."""
    model, windows = cut_model(tiny_model(layers=LAYERS), Kept(blocks)), random_windows()
    with torch.no_grad():
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return float(token_losses(logits, windows[:, 1:]).double().mean())


def test_each_round_drops_the_block_without_which_the_loss_is_lowest() -> None:
    goals = [replace(SHAPE, layers=layers) for layers in (2, 4)]
    scores = STRUCTURED["sleb"].score(stream_of(tiny_model(layers=LAYERS)), goals, None)
    left = list(range(LAYERS))
    for round_, (gone, loss) in enumerate(zip(scores["order"].tolist(), scores["loss"].tolist(), strict=True)):
        without = {block: loss_of([b for b in left if b != block]) for block in left[1:-1]}
        assert gone == min(without, key=without.__getitem__)
        assert loss == pytest.approx(without[gone], rel=1e-5)
        if round_ == 0:
            alone = scores["loss_without_block"].tolist()
            assert [math.isnan(value) for value in alone] == [True, *[False] * (LAYERS - 2), True]
            assert alone[1:-1] == pytest.approx(list(without.values()), rel=1e-5)
        left.remove(gone)
    assert left == [0, LAYERS - 1]


def test_a_shallower_model_keeps_what_no_round_dropped_yet() -> None:
    method, parent = STRUCTURED["sleb"], replace(SHAPE, layers=LAYERS)
    scores = method.score(stream_of(tiny_model(layers=LAYERS)), [replace(SHAPE, layers=3)], None)
    order = scores["order"].tolist()
    spec = Case("sleb").spec(parent)
    for layers in (5, 4, 3):
        target = replace(spec.target, shape=replace(parent, layers=layers))
        kept = method.keep(scores, parent, replace(spec, target=target))
        assert kept.blocks == sorted(set(range(LAYERS)) - set(order[: LAYERS - layers]))
    too_shallow = replace(spec, target=replace(spec.target, shape=replace(parent, layers=2)))
    with pytest.raises(UserError, match="the scores know 3 blocks that go, but target asks for 4; score"):
        method.keep(scores, parent, too_shallow)


def test_the_first_and_the_last_block_stay() -> None:
    method = STRUCTURED["sleb"]
    scores = method.score(stream_of(tiny_model()), [replace(SHAPE, layers=1)], None)
    assert sorted(scores["order"].tolist()) == list(range(1, SHAPE.layers - 1))
    facts = facts_of("sleb")
    assert facts.score_numbers(SHAPE, [replace(SHAPE, layers=1)], None) == sum(map(torch.numel, scores.values()))
