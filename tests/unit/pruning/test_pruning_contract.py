"""What every pruning method of the catalogue has to do, whatever it chooses by."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from models import (
    IMPLEMENTATIONS,
    PLAIN,
    SHAPE,
    SPARSE,
    STRUCTURED,
    VARIANTS,
    Case,
    Outcome,
    Tensors,
    blockwise,
    hooks_of,
    logits_of,
    same_tensors,
    shape_of_model,
    stream_of,
    tiny_model,
    weights_of,
)
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.families.catalogue import USUAL, families
from pruning_vs_scratch.families.parts import LINEAR_NAMES
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import layer_types, shape_of, with_shape
from pruning_vs_scratch.models.skeleton import Skeleton
from pruning_vs_scratch.pruning.catalogue import facts_of, methods
from pruning_vs_scratch.pruning.masks import read_masks
from pruning_vs_scratch.pruning.method import LearnedMethod
from pruning_vs_scratch.pruning.sparse import sparse_blocks

UPDATING = {"sparsegpt", "flap"}
"""Methods that change the weights that they keep, or add biases."""
BY_ROW = {"wanda", "random"}
"""Methods with one unstructured cut for each output row; the others have one for each (small) matrix."""

STRUCTURED_CASES = [
    *map(Case, STRUCTURED),
    Case("minitron_depth", options={"criterion": "closest"}),
    Case("minitron_width", options={"importance": "authors"}),
    Case("minitron_width", options={"aggregate": "mean"}),
    Case("flap", options={"biases": "authors"}),
    Case("flap", options={"biases": "none", "variance": "paper"}),
]
SPARSE_CASES = [
    *(
        Case(method, ratio, pattern)
        for method in SPARSE
        for ratio, pattern in ((0.5, "unstructured"), (0.3, "unstructured"), (0.5, "2:4"), (0.5, "4:8"))
    ),
    Case("wanda", 0.3, "unstructured", {"order": "dense"}),
    Case("magnitude", 0.3, "unstructured", {"cut": "row"}),
]
EVERY_METHOD = [
    *STRUCTURED_CASES,
    *(case for case in SPARSE_CASES if case.ratio == 0.3 or case.pattern == "2:4"),
]
ONCE_PER_METHOD = [
    case for case in EVERY_METHOD if case.pattern != "2:4" and (not case.options or case.method == "wanda")
]

BIASES_IN = {"mistral": "none", "qwen2": "none"}
"""Those that FLAP can add in a family; in the others, those of attention."""


def in_family(case: Case, family: str) -> Case:
    """A case that models of a family have room for."""
    if case.method != "flap":
        return case
    return Case("flap", options={"biases": BIASES_IN.get(family, "authors")})


OTHER_FAMILIES = [family for family in families() if family != USUAL]
each_method_in_each_family = pytest.mark.parametrize(
    ("case", "family"),
    [
        pytest.param(in_family(case, family), family, id=f"{case.method} {family}")
        for case in ONCE_PER_METHOD
        for family in OTHER_FAMILIES
    ],
)
each_method = pytest.mark.parametrize("case", EVERY_METHOD, ids=str)
once_a_method = pytest.mark.parametrize("case", ONCE_PER_METHOD, ids=str)


def on_some_variant(cases: list[Case]) -> pytest.MarkDecorator:
    """Each case on one kind of model, each kind with many cases."""
    kinds = [list(PLAIN)[(i + i // 4) % 4] for i in range(len(cases))]
    pairs = zip(cases, kinds, strict=True)
    return pytest.mark.parametrize(
        ("case", "variant"), [pytest.param(*pair, id=" ".join(map(str, pair))) for pair in pairs]
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def outcome_of(case_and_variant: str) -> Outcome:
    """A method on a kind of model, run once for all tests that only look at the outcome."""
    cases = {str(case): case for case in [*STRUCTURED_CASES, *SPARSE_CASES]}
    case, variant = case_and_variant.split("/")
    return cases[case].prune(tiny_model(**VARIANTS[variant]))


def saved(model: Any, folder: Path, **options: Any) -> Path:
    """A checkpoint folder of a model."""
    model.save_pretrained(folder, **options)
    return folder


def opened(folder: Path, *, low_memory: bool = False) -> BlockwiseModel:
    return BlockwiseModel.open(folder, torch.device("cpu"), low_memory=low_memory)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def same_outcome(left: Outcome, right: Outcome) -> bool:
    same_choice = left.kept.to_dict() == right.kept.to_dict() and same_tensors(left.masks, right.masks)
    return same_choice and same_tensors(left.weights, right.weights)


# The catalogue


@pytest.mark.parametrize("method", methods())
def test_a_method_is_of_the_kind_that_its_facts_say(method: str) -> None:
    facts, made = facts_of(method), IMPLEMENTATIONS[method]
    assert (facts.granularity == "sparse") == (method in SPARSE)
    assert facts.learns_masks == isinstance(made, LearnedMethod)
    if method in SPARSE:
        assert (made.statistic is None) == (facts.reads == "nothing")
    else:
        assert facts.shrinks(facts.options())


@once_a_method
def test_a_method_that_stores_scores_says_how_many(case: Case) -> None:
    facts, spec = facts_of(case.method), case.spec(SHAPE)
    if facts.scored_once(spec.options):
        stored = sum(values.numel() for values in outcome_of(f"{case}/tied").scores.values())
        assert facts.score_numbers(SHAPE, [spec.target.shape], spec.options) == stored > 0


# The target


@on_some_variant([*STRUCTURED_CASES, *STRUCTURED_CASES[:3]])
def test_a_structured_method_meets_the_target_shape(case: Case, variant: str) -> None:
    assert_target_met(tiny_model(**VARIANTS[variant]), case)


@each_method_in_each_family
def test_a_method_meets_its_target_in_every_family(case: Case, family: str) -> None:
    model = tiny_model(**VARIANTS[family])
    if not case.is_sparse:
        assert_target_met(model, case)
    else:
        pruned = case.prune(model)
        assert_share_zeroed(pruned, case)
        assert_others_unchanged(dict(model.named_parameters()), pruned, case)


def assert_target_met(model: Any, case: Case) -> None:
    goal = case.target(shape_of_model(model)).shape
    pruned = case.prune(model)
    smaller = type(model)(pruned.model(model).config)
    expected = {name: tuple(w.shape) for name, w in smaller.named_parameters()}
    assert pruned.shape == goal != shape_of_model(model)
    assert {name: tuple(w.shape) for name, w in pruned.weights.items()} == expected
    assert expected["model.layers.1.mlp.down_proj.weight"] == (goal.hidden_size, goal.ffn_size)
    assert expected["model.layers.1.self_attn.q_proj.weight"] == (goal.heads * goal.head_dim, goal.hidden_size)
    assert not pruned.masks


@on_some_variant(SPARSE_CASES)
def test_a_sparse_method_zeroes_exactly_its_share_of_every_linear_layer(case: Case, variant: str) -> None:
    assert_share_zeroed(outcome_of(f"{case}/{variant}"), case)


def assert_share_zeroed(pruned: Outcome, case: Case) -> None:
    assert pruned.masks.keys() == {f"model.layers.{i}.{name}.weight" for i in range(4) for name in LINEAR_NAMES}
    for name, mask in pruned.masks.items():
        assert mask.dtype == torch.bool
        assert torch.equal(pruned.weights[name] != 0, mask), name
        assert dropped_counts(mask, case) == expected_counts(mask, case), name


def unit_columns(mask: torch.Tensor, case: Case) -> int:
    """Size of what a method's rule holds for: a group of N:M, an output row, a matrix."""
    if case.pattern != "unstructured":
        return int(case.pattern.split(":")[1])
    return mask.shape[1] if case.method in BY_ROW or case.options.get("cut") == "row" else mask.numel()


def dropped_counts(mask: torch.Tensor, case: Case) -> set[int]:
    return set((~mask).view(-1, unit_columns(mask, case)).sum(dim=1).tolist())


def expected_counts(mask: torch.Tensor, case: Case) -> set[int]:
    return {round(1000 * case.ratio) * unit_columns(mask, case) // 1000}


@on_some_variant(SPARSE_CASES)
def test_a_sparse_method_changes_nothing_that_its_mask_does_not_name(case: Case, variant: str) -> None:
    before = dict(tiny_model(**VARIANTS[variant]).named_parameters())
    assert_others_unchanged(before, outcome_of(f"{case}/{variant}"), case)


def assert_others_unchanged(before: Tensors, pruned: Outcome, case: Case) -> None:
    after = pruned.weights
    assert after.keys() == before.keys()
    assert not {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} & pruned.masks.keys()
    for name, weight in before.items():
        if name not in pruned.masks:
            assert torch.equal(after[name], weight), name
        elif case.method not in UPDATING:
            assert torch.equal(after[name], weight * pruned.masks[name]), name


def test_a_matrix_that_does_not_divide_into_groups_is_refused() -> None:
    for method in SPARSE:
        with pytest.raises(UserError, match="38 columns does not divide into groups of 4 for 2:4"):
            Case(method, 0.5, "2:4").prune(tiny_model(ffn_size=38))


# What is written


def assert_written_as_pruned(model: Any, case: Case, folder: Path) -> None:
    """The checkpoint, loaded by transformers alone, has the logits of the model of the pruned blocks."""
    pruned = case.prune(opened(saved(model, folder / "parent")))
    exported = pruned.export(folder / "out")
    loaded = AutoModelForCausalLM.from_pretrained(folder / "out", local_files_only=True).eval()
    assert type(loaded) is type(model)
    assert shape_of(loaded.config) == case.target(shape_of_model(model)).shape
    assert torch.equal(logits_of(loaded), logits_of(pruned.model(model)))
    stored = load_file(folder / "out" / "model.safetensors")
    assert same_tensors(stored, pruned.weights)
    assert (folder / "out" / "mask.safetensors").exists() == case.is_sparse
    if case.is_sparse:
        assert same_tensors(read_masks(folder / "out" / "mask.safetensors"), pruned.masks)
    assert exported.masked_weights == sum(int((~mask).sum()) for mask in pruned.masks.values())


@on_some_variant([case for case in EVERY_METHOD if case.pattern != "2:4"])
def test_a_checkpoint_that_transformers_loads_has_the_pruned_blocks_logits(
    case: Case, variant: str, tmp_path: Path
) -> None:
    assert_written_as_pruned(tiny_model(**VARIANTS[variant]), case, tmp_path)


@each_method_in_each_family
def test_a_checkpoint_of_every_family_is_written_as_one_and_with_little_memory(
    case: Case, family: str, tmp_path: Path
) -> None:
    model = tiny_model(**VARIANTS[family])
    assert_written_as_pruned(model, case, tmp_path)
    case.prune(opened(tmp_path / "parent", low_memory=True), buffer_bytes=4).export(
        tmp_path / "little", low_memory=True
    )
    assert contents(tmp_path / "little") == contents(tmp_path / "out")


@pytest.mark.parametrize("family", [family for family in OTHER_FAMILIES if families()[family].has_layer_types])
@pytest.mark.parametrize("method", ["shortgpt", "minitron_depth", "sleb"])
def test_a_block_that_stays_sees_the_tokens_that_it_saw(method: str, family: str, tmp_path: Path) -> None:
    model = tiny_model(**VARIANTS[family])
    assert len(set(layer_types(model.config))) == 2
    pruned = Case(method).prune(model)
    pruned.export(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "config.json").read_text())
    assert stored["layer_types"] == [layer_types(model.config)[index] for index in pruned.kept.blocks]


@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_biases_that_a_family_has_no_room_for_are_refused(family: str) -> None:
    config = tiny_model(**VARIANTS[family]).config
    with pytest.raises(
        UserError, match=r"model has no biases of this kind in its linear layers \((attention|mlp)_bias\)"
    ):
        with_shape(config, Case("flap").target(shape_of(config)).shape)


@once_a_method
def test_a_bf16_checkpoint_stays_bf16(case: Case, tmp_path: Path) -> None:
    parent = saved(tiny_model(**VARIANTS["biased"]).bfloat16(), tmp_path / "parent")
    pruned = case.prune(opened(parent))
    pruned.export(tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    assert loaded.dtype == torch.bfloat16
    before = load_file(parent / "model.safetensors")
    if case.is_sparse and case.method not in UPDATING:
        assert same_tensors(stored, {n: w * pruned.masks[n] if n in pruned.masks else w for n, w in before.items()})
    assert torch.equal(stored["model.norm.weight"], before["model.norm.weight"]) == (pruned.kept.hidden is None)


@once_a_method
def test_little_memory_gives_the_same_bytes(case: Case, tmp_path: Path) -> None:
    model = tiny_model(tie_embeddings=False)
    whole, sharded = saved(model, tmp_path / "whole"), saved(model, tmp_path / "sharded", max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 3
    case.prune(opened(whole)).export(tmp_path / "usual")
    case.prune(opened(sharded, low_memory=True), buffer_bytes=4).export(tmp_path / "little", low_memory=True)
    assert contents(tmp_path / "little") == contents(tmp_path / "usual")


# Nothing else changes


@each_method
def test_two_runs_are_the_same_bit_for_bit(case: Case) -> None:
    first, second = outcome_of(f"{case}/tied"), case.prune(tiny_model())
    assert same_outcome(first, second)
    assert same_tensors(first.scores, second.scores)


def reads_text(case: Case) -> bool:
    return facts_of(case.method).reads == "calibration"


each_method_with_text = pytest.mark.parametrize("case", [*filter(reads_text, ONCE_PER_METHOD)], ids=str)


@each_method_with_text
@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_does_not_change_what_is_kept(case: Case, batch_size: int) -> None:
    usual, other = outcome_of(f"{case}/tied"), case.prune(tiny_model(), batch_size)
    if case.method in UPDATING:
        assert same_tensors(other.masks, usual.masks)
        assert other.kept.to_dict() == usual.kept.to_dict()
        torch.testing.assert_close(other.weights, usual.weights, rtol=1e-3, atol=1e-4)
    else:
        assert same_outcome(other, usual)


@on_some_variant(ONCE_PER_METHOD)
def test_the_parent_is_left_alone(case: Case, variant: str, tmp_path: Path) -> None:
    model = tiny_model(**VARIANTS[variant])
    before, config, logits = weights_of(model), model.config.to_dict(), logits_of(model)
    case.prune(model).export(tmp_path / "out")
    assert same_tensors(weights_of(model), before)
    assert model.config.to_dict() == config
    assert torch.equal(logits_of(model), logits)


@once_a_method
def test_no_hook_stays_on_any_block(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, handed_out = blockwise(tiny_model()), []
    hand_out = Skeleton.block

    def remembered(self: Skeleton, tensors: Tensors, index: int) -> torch.nn.Module:
        handed_out.append(hand_out(self, tensors, index))
        return handed_out[-1]

    monkeypatch.setattr(Skeleton, "block", remembered)
    case.prune(model)
    assert handed_out
    assert sum(map(hooks_of, handed_out)) == 0
    assert hooks_of(model.skeleton._model) == 0


# Damage


@once_a_method
@pytest.mark.parametrize(("damaged", "low_memory"), [(math.nan, False), (-math.inf, True)])
def test_a_damaged_weight_is_named(case: Case, damaged: float, low_memory: bool, tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 4] = damaged
    with pytest.raises(UserError, match=r"model\.layers\.2\.mlp\.up_proj\.weight of .* holds NaN or inf"):
        case.prune(opened(saved(model, tmp_path / "parent"), low_memory=low_memory))


@each_method_with_text
def test_weights_that_overflow_are_an_error_that_names_the_block(case: Case) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight.fill_(1e30)
        model.model.layers[2].mlp.gate_proj.weight.fill_(1e30)
    with pytest.raises(UserError, match=r"(decoder block 2 produced|layers\.2\..* hold) NaN or inf"):
        case.prune(model)


WITH_STATISTICS = [name for name, method in SPARSE.items() if method.statistic is not None]


@pytest.mark.parametrize("method", WITH_STATISTICS)
def test_statistics_that_overflow_are_an_error_that_names_the_layer(method: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1e22)
        model.model.layers[1].mlp.down_proj.weight.mul_(1e-22)
    with pytest.raises(UserError, match=r"model\.layers\.1\.mlp\.down_proj.*NaN or inf"):
        Case(method, 0.3, "unstructured").prune(model)


# What it cost

LAST_LINEAR = 2 * 5 * 11 * SHAPE.hidden_size * SHAPE.ffn_size
PASSES = {
    "shortgpt": 4 * SHAPE.block_flops(5, 11),
    "minitron_width": 4 * SHAPE.block_flops(5, 11),
    "flap": 4 * SHAPE.block_flops(5, 11),
    # Statistics do not need a block's last linear layer, and the output of the last pruned block is never read.
    "wanda": 7 * SHAPE.block_flops(5, 11) - 4 * LAST_LINEAR,
    "sparsegpt": 7 * SHAPE.block_flops(5, 11) - 4 * LAST_LINEAR,
    # Starts 0, 1 and 2 run two, one and no blocks after the gap and end in a loss; two blocks advance the prefix.
    "minitron_depth": 5 * SHAPE.block_flops(5, 11) + 3 * SHAPE.output_flops(5, 11),
}


@pytest.mark.parametrize("method", PASSES)
def test_the_work_that_is_counted_is_the_blocks_that_ran(method: str) -> None:
    stream = stream_of(tiny_model())
    case = Case(method, 0.5, "unstructured" if method in SPARSE else "dense")
    spec = case.spec(SHAPE)
    if method in STRUCTURED:
        STRUCTURED[method].score(stream, [spec.target.shape], spec.options)
    else:
        assert len(list(sparse_blocks(stream.model, SPARSE[method], spec, stream))) == 4
    assert stream.flops == PASSES[method]
    assert stream.tokens == 5 * 11
