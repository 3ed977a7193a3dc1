"""Scores are taken once and serve every ratio: as a file, and by the commands that write and read it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import STRUCTURED, Case, blockwise, same_tensors, stream_of, tiny_model
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, methods
from pruning_vs_scratch.pruning.method import options_of
from pruning_vs_scratch.pruning.scores import TextRead, read_scores, score, write_scores
from pruning_world import LENGTH, PARENT, SEQUENCES, World, weight_files

SCORED = [
    Case("shortgpt"),
    Case("minitron_depth"),
    Case("minitron_depth", options={"criterion": "closest"}),
    Case("minitron_width"),
    Case("wanda", 0.3, "unstructured", {"order": "dense"}),
    Case("wanda", 0.5, "2:4", {"order": "dense"}),
]
each_scored = pytest.mark.parametrize("case", SCORED, ids=str)
TEXT = TextRead(5, 11, 123, "bf16")

SEQUENTIAL = {"wanda_sp"}
"""Structured methods that score each block behind the pruned ones before it."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    torch.set_num_threads(1)
    return World(tmp_path)


@pytest.fixture
def no_block_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Inside, a calibration stream is an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("a calibration stream was opened")

    with monkeypatch.context() as patch:
        yield lambda: patch.setattr(CalibrationStream, "__init__", refuse)


# The file


@each_scored
def test_a_choice_by_scores_from_a_file_is_that_without(case: Case, tmp_path: Path) -> None:
    parent = blockwise(tiny_model())
    spec = case.spec(parent.shape)
    scores = score(stream_of(parent), case.method, [spec.target.shape], spec.options)
    write_scores(scores, case.method, spec.options, TEXT, tmp_path / "scores", "hash")
    found, text = read_scores(tmp_path / "scores", case.method, spec.options, "hash")
    assert text == TEXT
    assert text.tokens == 55
    assert same_tensors(found, scores)
    assert {name: values.dtype for name, values in found.items()} == {n: v.dtype for n, v in scores.items()}
    by_file, directly = case.prune_by(found, parent), case.prune(parent)
    assert by_file.kept.to_dict() == directly.kept.to_dict()
    assert same_tensors(by_file.masks, directly.masks)
    assert same_tensors(by_file.weights, directly.weights)


def test_one_set_of_scores_serves_every_ratio_and_pattern() -> None:
    parent = blockwise(tiny_model())
    scores = score(stream_of(parent), "wanda", [], options_of("wanda", {"order": "dense"}))
    for ratio, pattern in ((0.3, "unstructured"), (0.7, "unstructured"), (0.5, "4:8")):
        case = Case("wanda", ratio, pattern, {"order": "dense"})
        assert same_tensors(case.prune_by(scores, parent).masks, case.prune(parent).masks)
    assert scores.keys() == {
        f"model.layers.{i}.{name}"
        for i in range(4)
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
    }


@pytest.mark.parametrize(
    ("method", "options"),
    [("minitron_width", {"aggregate": "mean"}), ("minitron_width", {"importance": "authors"}), ("shortgpt", {})],
)
def test_scores_of_another_method_or_other_options_are_refused(
    method: str, options: dict[str, str], tmp_path: Path
) -> None:
    write_scores(
        {"a": torch.ones(2)}, "minitron_width", options_of("minitron_width", {}), TEXT, tmp_path / "scores", "hash"
    )
    with pytest.raises(UserError, match=f"holds scores of .*minitron_width.*not of .*{method}.*score the checkpoint"):
        read_scores(tmp_path / "scores", method, options_of(method, options), "hash")


def test_a_missing_or_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    path, options = tmp_path / "scores", options_of("shortgpt", {})
    with pytest.raises(UserError, match=str(path)):
        read_scores(path, "shortgpt", options, "hash")
    write_scores({"block_influence": torch.ones(2)}, "shortgpt", options, TEXT, path, "hash")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=str(path)):
        read_scores(path, "shortgpt", options, "hash")
    save_file({"block_influence": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"holds scores of .*None"):
        read_scores(path, "shortgpt", options, "hash")


def test_equal_scores_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        scores = {"loss": torch.tensor(1.0), "loss_without_1": torch.ones(4), "loss_without_2": torch.ones(3)}
        write_scores(scores, "minitron_depth", options_of("minitron_depth", {}), TEXT, tmp_path / name, "hash")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("method", methods())
def test_methods_that_choose_behind_pruned_blocks_or_train_have_no_scores(method: str) -> None:
    options = options_of(method, {})
    has_scores = method in STRUCTURED and method not in SEQUENTIAL
    assert facts_of(method).scored_once(options) == has_scores
    if not has_scores:
        with pytest.raises(UserError, match=f"{method} has no scores that serve every ratio: prune with it directly"):
            score(stream_of(tiny_model()), method, [], options)


# The commands


@each_scored
def test_pruning_by_the_commands_scores_is_pruning_without(case: Case, world: World, no_block_runs: Any) -> None:
    world.prune(case)
    expected, summary = weight_files(world.out), world.summary()
    ledger = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    world.score(case)
    no_block_runs()
    world.prune(case, calibration=None, scores=world.scores)
    assert weight_files(world.out) == expected
    found = world.summary()
    for name in ("kept", "scores", "tokens", "options", "target"):
        assert found[name] == summary[name], name
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert row.tokens_seen == SEQUENCES * LENGTH
    assert (row.flops, row.sequence_length, row.precision) == (ledger.flops, ledger.sequence_length, ledger.precision)
    assert read_manifest(world.manifest)["inputs"].keys() == {"model", "target", "tokenizer", "scores"}


def test_one_scoring_serves_every_depth_that_was_asked_for(world: World, no_block_runs: Any) -> None:
    case = Case("minitron_depth")
    shapes = [replace(PARENT, layers=layers).to_dict() for layers in (3, 2)]
    world.score(case, shapes=json.dumps(shapes))
    no_block_runs()
    for layers in (2, 3):
        target = replace(case.target(PARENT), shape=replace(PARENT, layers=layers))
        world.prune(case, target, calibration=None, scores=world.scores)
        assert len(world.summary()["kept"]["blocks"]) == layers


def test_a_depth_that_was_not_asked_for_is_refused(world: World) -> None:
    case = Case("minitron_depth")
    world.score(case)
    target = replace(case.target(PARENT), shape=replace(PARENT, layers=3))
    world.assert_refused("scores", case, target, calibration=None, scores=world.scores)


def test_scores_of_another_checkpoint_are_refused(world: World) -> None:
    case = Case("minitron_width")
    world.score(case)
    world.save(tiny_model(vocab_size=260, layers=3))
    target = replace(case.target(PARENT), shape=replace(case.target(PARENT).shape, layers=3))
    world.assert_refused("scores", case, target, calibration=None, scores=world.scores)


def test_scoring_writes_its_manifest_and_is_repeatable(world: World) -> None:
    case, contents = Case("minitron_width"), []
    for _ in range(2):
        world.score(case)
        contents.append(world.scores.read_bytes())
    assert contents[0] == contents[1]
    manifest = read_manifest(world.folder / "scores.json")
    assert manifest["step"] == "score"
    assert manifest["facts"] == {"tokens": SEQUENCES * LENGTH, "flops": 4 * PARENT.block_flops(SEQUENCES, LENGTH)}
    assert manifest["inputs"].keys() == {"model", "calibration/0"}


def test_scoring_a_method_without_scores_is_refused_and_writes_nothing(world: World) -> None:
    with pytest.raises(UserError, match="wanda has no scores that serve every ratio"):
        world.score(Case("wanda", 0.5, "unstructured"))
    assert not world.scores.exists()


def test_a_shape_is_given_in_the_form_that_prune_takes(world: World) -> None:
    case = Case("minitron_depth")
    world.score(case, shapes=None, shape="layers=3", manifest=None)
    assert load_file(world.scores)["loss_without_1"].shape == (PARENT.layers,)
    assert world.scores.with_suffix(".manifest.json").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [(None, "the scores of sleb depend on what will be asked for: give --shape"), ("blocks=3", "--shape blocks=3: ")],
)
def test_a_shape_that_is_missing_or_wrong_is_refused(world: World, shape: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        world.score(Case("sleb"), shapes=None, shape=shape)
    assert not world.scores.exists()
