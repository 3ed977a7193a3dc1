"""The pruning step of a study, from files to files: what it writes, what it records, what it refuses."""

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from models import Case, logits_of, same_tensors, tiny_model, weights_of
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import RECORDS, file_facts, sha256_of_file, sha256_of_path, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.masks import read_masks
from pruning_vs_scratch.study import Target
from pruning_world import LENGTH, PARENT, SCRIPTS, SEQUENCES, USER, VOCABULARY, WINDOWS, World, weight_files

SHORTGPT, DEPTH, WIDTH = Case("shortgpt"), Case("minitron_depth"), Case("minitron_width")
WANDA, MAGNITUDE = Case("wanda", 0.3, "unstructured"), Case("magnitude", 0.5, "2:4")
SPARSEGPT = Case("sparsegpt", 0.5, "2:4", {"block_size": 16})
CASES = [SHORTGPT, DEPTH, WIDTH, WANDA, SPARSEGPT, MAGNITUDE]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module", autouse=True)
def known_user() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            patch.setenv(variable, USER)
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / USER)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], World]:
    """A world that a case has pruned, made once for the tests that only look at it."""

    @cache
    def made(name: str) -> World:
        world = World(tmp_path_factory.mktemp("pruned") / USER)
        world.prune(next(case for case in CASES if str(case) == name))
        return world

    return lambda case: made(str(case))


# What is written


@each_case
def test_the_checkpoint_is_complete_and_of_the_target_shape(pruned: Callable[[Case], World], case: Case) -> None:
    world = pruned(case)
    written = {file.name for file in world.out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "pruning.json"} <= written
    assert ("mask.safetensors" in written) == case.is_sparse
    assert shape_of(load_model(world.out).config) == case.target(PARENT).shape
    assert sha256_of_file(world.out / "tokenizer.json") == sha256_of_file(world.tokenizer / "tokenizer.json")


@pytest.mark.parametrize("case", [WANDA, MAGNITUDE], ids=str)
def test_the_mask_next_to_the_weights_is_theirs(pruned: Callable[[Case], World], case: Case) -> None:
    world = pruned(case)
    masks, weights = read_masks(world.out / "mask.safetensors"), weights_of(load_model(world.out))
    parent = weights_of(load_model(world.model))
    expected = {name: w * masks[name] if name in masks else w for name, w in parent.items()}
    assert same_tensors(weights, expected)
    dropped = sum(int((~mask).sum()) for mask in masks.values())
    assert dropped == read_manifest(world.manifest)["facts"]["masked_weights"] > 0


@each_case
def test_pruning_json_records_what_was_chosen_and_why(pruned: Callable[[Case], World], case: Case) -> None:
    world = pruned(case)
    summary = world.summary()
    assert summary["method"] == case.method
    assert Target.from_dict(summary["target"]) == case.target(PARENT)
    assert summary["options"] == case.spec(PARENT).options.model_dump()
    assert summary["parent"] == PARENT.to_dict()
    assert summary["tokens"] == (0 if case.method == "magnitude" else SEQUENCES * LENGTH)
    assert summary["seconds"] > 0 < summary["peak_memory_bytes"]
    assert summary["before"] is None
    assert set(summary["kept"]) == {
        "shortgpt": {"blocks"},
        "minitron_depth": {"blocks"},
        "minitron_width": {"hidden", "ffn", "heads"},
    }.get(case.method, set())
    assert bool(summary["scores"]) == bool(summary["kept"])
    blocks = summary["kept"].get("blocks", [0, 1, 2, 3])
    assert sorted(blocks + summary["dropped"].get("blocks", [])) == [0, 1, 2, 3]


def test_the_kept_blocks_in_pruning_json_are_those_of_the_checkpoint(world: World) -> None:
    world.prune(SHORTGPT)
    parent, pruned = weights_of(load_model(world.model)), weights_of(load_model(world.out))
    for position, block in enumerate(world.summary()["kept"]["blocks"]):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(pruned[name.format(position)], parent[name.format(block)])


@each_case
def test_the_manifest_has_the_hashes_of_what_was_read_and_written(pruned: Callable[[Case], World], case: Case) -> None:
    world = pruned(case)
    manifest = read_manifest(world.manifest)
    inputs = {name: getattr(world, name) for name in ("model", "target", "tokenizer")}
    inputs["calibration/0"] = world.calibration
    assert manifest["inputs"] == {name: sha256_of_path(path) for name, path in inputs.items()}
    expected = {"path": "run", "sha256": sha256_of_path(world.out), "files": file_facts(world.out)}
    assert manifest["outputs"] == {"model": expected}
    assert manifest["options"]["method"] == case.method
    assert manifest["options"]["options"] == case.options
    assert manifest["step"] == "prune"


def test_times_in_a_parents_records_are_no_part_of_what_was_read(world: World) -> None:
    hashes = []
    for seconds in (1.0, 2.0):
        for record in RECORDS:
            write_json(world.model / record, {"seconds": seconds, "kept": {}})
        world.prune(MAGNITUDE)
        hashes.append(read_manifest(world.manifest)["inputs"]["model"])
    assert hashes[0] == hashes[1]


def test_the_ledger_counts_the_calibration_that_was_read(world: World) -> None:
    world.prune(WANDA)
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert (row.run, row.phase, row.seed, row.steps) == ("run", "prune", 3, 0)
    assert row.tokens_planned == row.tokens_seen == SEQUENCES * LENGTH
    assert (row.window_start, row.window_end) == (0, SEQUENCES)
    assert (row.sequence_length, row.global_batch_size) == (LENGTH, 2)
    # Each block runs up to its last linear layer for its statistics, and again, pruned, for the blocks behind it.
    last_linear = 2 * SEQUENCES * LENGTH * PARENT.hidden_size * PARENT.ffn_size
    assert row.flops == 7 * PARENT.block_flops(SEQUENCES, LENGTH) - 4 * last_linear


def test_the_ledger_counts_nothing_for_a_method_without_calibration(world: World) -> None:
    world.prune(MAGNITUDE)
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert row.tokens_planned == row.tokens_seen == row.window_end == row.flops == 0


@each_case
def test_no_output_names_the_user_or_an_absolute_path(pruned: Callable[[Case], World], case: Case) -> None:
    world = pruned(case)
    texts = [world.manifest, *world.out.glob("*.json")]
    assert len(texts) >= 4
    for file in texts:
        content = file.read_text()
        for private in (USER, str(world.folder.parent), str(Path.home()), str(REPOSITORY)):
            assert private not in content, file.name


@each_case
def test_two_runs_write_the_same_weights_and_masks(world: World, pruned: Callable[[Case], World], case: Case) -> None:
    world.prune(case)
    assert weight_files(world.out) == weight_files(pruned(case).out)


def test_another_run_replaces_all_of_the_older_output(world: World) -> None:
    world.prune(WANDA)
    world.prune(SHORTGPT)
    assert not (world.out / "mask.safetensors").exists()
    assert world.summary()["method"] == "shortgpt"


def test_the_seed_chooses_the_calibration_windows(world: World) -> None:
    world.prune(SHORTGPT)
    first = world.summary()["scores"]
    world.prune(SHORTGPT, seed=5)
    assert world.summary()["scores"] != first


def test_a_chains_target_asks_each_method_for_the_last_step(world: World) -> None:
    shape = replace(PARENT, layers=2)
    chain = Target("a chain", "hybrid", 0.75, "2:4", shape, "shortgpt+wanda", ("shortgpt@0.5", "wanda@2:4"))
    world.prune(SHORTGPT)
    world.out.rename(world.folder / "shorter")
    world.model = world.folder / "shorter"
    world.prune(WANDA, chain)
    masks = read_masks(world.out / "mask.safetensors")
    assert len(masks) == 2 * 7
    assert all(set(mask.view(-1, 4).sum(dim=1).tolist()) == {2} for mask in masks.values())


# What is refused


@pytest.mark.slow
def test_the_command_ends_with_one_readable_line(world: World) -> None:
    (world.model / "model.safetensors").unlink()
    finished = subprocess.run(
        [sys.executable, SCRIPTS / "prune.py", *world.study_arguments(SHORTGPT)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1].startswith(f"error: no weights in {world.model}")
    assert "Traceback" not in finished.stderr


def test_a_pickle_checkpoint_is_refused(world: World) -> None:
    (world.model / "model.safetensors").rename(world.model / "pytorch_model.bin")
    world.assert_refused(r"pickle weights \(pytorch_model\.bin\); only safetensors are read", WANDA)


def test_a_folder_without_a_checkpoint_is_refused(world: World) -> None:
    (world.model / "config.json").unlink()
    world.assert_refused(r"no checkpoint in .*config\.json is missing", WANDA)


def test_a_missing_shard_is_named(world: World) -> None:
    (world.model / "model.safetensors").rename(world.model / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    write_json(world.model / "model.safetensors.index.json", index)
    world.assert_refused(r"lacks shards: model-00002-of-00002\.safetensors", WANDA)


@pytest.mark.parametrize("kept_bytes", [0, 100, -1])
def test_damaged_weights_are_refused(world: World, kept_bytes: int) -> None:
    weights = world.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept_bytes])
    world.assert_refused("weights of the checkpoint .* are damaged", WANDA)


def test_a_damaged_configuration_is_refused(world: World) -> None:
    (world.model / "config.json").write_text('{"architectures": ["Llama')
    world.assert_refused(r"config\.json is not valid JSON", WANDA)


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_missing_weight_is_named(world: World, name: str) -> None:
    world.change_weights(lambda weights: weights.pop(name))
    world.assert_refused(f"lacks 1 weights, first {name}", WANDA)


def test_a_missing_output_projection_is_refused_unless_it_is_the_embedding(world: World) -> None:
    world.save(tiny_model(vocab_size=VOCABULARY, tie_embeddings=False))
    world.change_weights(lambda weights: weights.pop("lm_head.weight"))
    world.assert_refused(r"lacks 1 weights, first lm_head\.weight", WANDA, replace_shape(WANDA, tie_embeddings=False))


def replace_shape(case: Case, **changes: object) -> Target:
    return replace(case.target(PARENT), shape=replace(PARENT, **changes))


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight"]
)
def test_a_weight_that_is_no_number_is_named(world: World, name: str) -> None:
    world.change_weights(lambda weights: weights[name].view(-1)[5:6].fill_(torch.nan))
    world.assert_refused(f"{name} of the checkpoint .* holds NaN or inf", WANDA)


@pytest.mark.parametrize("case", [WANDA, SHORTGPT], ids=str)
def test_a_weight_of_another_shape_is_named(world: World, case: Case) -> None:
    name = "model.layers.2.mlp.up_proj.weight"
    world.change_weights(lambda weights: weights.update({name: torch.ones(39, 24)}))
    world.assert_refused(name, case)


@pytest.mark.parametrize("architectures", [["Phi3ForCausalLM"], ["LlamaForSequenceClassification"], None])
def test_another_architecture_is_refused(world: World, architectures: list[str] | None) -> None:
    world.change_config(architectures=architectures)
    name = architectures[0] if architectures else "unknown"
    world.assert_refused(f"is a {name}.*supported: LlamaForCausalLM, .*MistralForCausalLM", WANDA)


def test_tokens_of_another_tokenizer_are_refused(world: World) -> None:
    save_tokenizer(train_bpe(["quite another text, quite another one"] * 3, VOCABULARY), world.tokenizer)
    world.assert_refused("was tokenised with another tokenizer", WANDA)


def test_tokens_of_a_larger_vocabulary_are_refused(world: World) -> None:
    world.write_calibration(WINDOWS * (LENGTH + 1), vocab_size=VOCABULARY + 1)
    world.assert_refused(f"has a vocabulary of {VOCABULARY}, but .* {VOCABULARY + 1} entries", WANDA)


def test_too_little_calibration_text_is_refused_with_the_tokens_that_are_missing(world: World) -> None:
    world.write_calibration((SEQUENCES - 2) * (LENGTH + 1) + 1)
    world.assert_refused(rf"--calibration needs {SEQUENCES * LENGTH} tokens .* {2 * LENGTH} are missing", WANDA)


def test_just_enough_calibration_text_is_enough(world: World) -> None:
    world.write_calibration(SEQUENCES * (LENGTH + 1))
    world.prune(WANDA)
    assert world.summary()["tokens"] == SEQUENCES * LENGTH


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        (SHORTGPT, {"layers": 5}, "layers = 5, but .* has 4"),
        (SHORTGPT, {"layers": 2, "ffn_size": 20}, "ffn_size = 20, but .* has 40"),
        (WIDTH, {"hidden_size": 30}, "hidden_size = 30, but .* has 24"),
        (WIDTH, {"kv_heads": 1}, "kv_heads = 1, but .* has 2"),
        (WIDTH, {"heads": 3}, "3 heads, not a multiple of the 2 key-value heads"),
        (WIDTH, {"hidden_size": 20}, "hidden_size = 20, which is not a multiple of the 6 heads"),
        (MAGNITUDE, {"layers": 2}, "layers = 2, but .* has 4"),
        (MAGNITUDE, {"vocab_size": 200}, "vocab_size = 200, but .* has 260"),
    ],
)
def test_a_target_that_does_not_fit_the_checkpoint_is_refused(
    world: World, case: Case, changes: dict[str, int], message: str
) -> None:
    world.assert_refused(message, case, replace_shape(case, **changes))


def test_a_target_of_another_kind_of_method_is_refused(world: World) -> None:
    world.assert_refused("is a width target, but shortgpt is a depth method", SHORTGPT, WIDTH.target(PARENT))


def test_a_matrix_that_does_not_divide_into_groups_is_refused(world: World) -> None:
    world.save(tiny_model(vocab_size=VOCABULARY, ffn_size=38))
    target = replace_shape(MAGNITUDE, ffn_size=38)
    world.assert_refused("38 columns does not divide into groups of 4 for 2:4", MAGNITUDE, target)


def test_a_full_disk_leaves_nothing_half_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pruning_vs_scratch.pruning.export.write_packed_masks", no_space)
    world.assert_refused("cannot write .*No space left on device", WANDA)


def test_a_checkpoint_that_does_not_read_as_it_was_written_is_never_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = "pruning_vs_scratch.pruning.export._reloaded_logits"
    monkeypatch.setattr(read, lambda folder, tokens, low_memory: torch.zeros(1, len(tokens[0]), VOCABULARY))
    with pytest.raises(AssertionError, match="gives other logits than the pruned model, by up to"):
        world.prune(WANDA)
    assert not world.left_behind()


def test_a_failure_leaves_the_older_output_as_it_was(world: World) -> None:
    world.prune(WANDA)
    before, logits = sha256_of_path(world.out), logits_of(load_model(world.out))
    world.write_calibration(LENGTH)
    with pytest.raises(UserError, match="are missing"):
        world.prune(SHORTGPT)
    assert sha256_of_path(world.out) == before
    assert torch.equal(logits_of(load_model(world.out)), logits)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "magnitude"])
def test_a_sparse_model_pruned_further_keeps_its_zeros(method: str, world: World) -> None:
    """Except by SparseGPT, whose update may fill zeros in columns that it has not reached yet."""
    options = {"block_size": 16} if method == "sparsegpt" else {}
    world.prune(Case(method, 0.25, "unstructured", options))
    first = read_masks(world.out / "mask.safetensors")
    world.model, world.out, world.manifest = (
        world.out,
        world.folder / "models/again",
        world.folder / "manifests/again.json",
    )
    world.prune(Case(method, 0.5, "unstructured", options))
    second = read_masks(world.out / "mask.safetensors")
    weights = load_model(world.out).state_dict()
    for name, kept in second.items():
        assert method == "sparsegpt" or not (kept & ~first[name]).any()
        assert kept.float().mean().item() == pytest.approx(0.5, abs=0.02)
        assert (weights[name] != 0).sum() == kept.sum()


def test_a_narrow_or_shallow_model_is_pruned_further(world: World) -> None:
    for case, shapes in (
        (DEPTH, [replace(PARENT, layers=layers) for layers in (3, 2)]),
        (WIDTH, [replace(PARENT, hidden_size=hidden, ffn_size=ffn) for hidden, ffn in ((18, 32), (12, 24))]),
    ):
        folder = world.model
        for shape in shapes:
            world.out = world.folder / f"models/{case}-{shape.layers}-{shape.hidden_size}"
            world.manifest = world.folder / f"manifests/{world.out.name}.json"
            target = replace(case.target(PARENT), shape=shape)
            world.prune(case, target)
            world.model = world.out
            assert shape_of(load_model(world.out).config) == shape
        world.model = folder
