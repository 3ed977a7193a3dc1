"""The pruning step from files to files: what it writes, what it records, what it refuses."""

import errno
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import SHAPE, Case, logits_of, same_tensors, tiny_llama, weights_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file, sha256_of_path, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.manifest import read_manifest
from pruning_vs_scratch.models.checkpoint import load_llama, save_llama
from pruning_vs_scratch.models.llama import shape_of
from pruning_vs_scratch.pruning.masks import read_masks
from pruning_vs_scratch.study import Target

SCRIPT = REPOSITORY / "workflow" / "scripts" / "prune.py"
VOCABULARY = 260
PARENT = replace(SHAPE, vocab_size=VOCABULARY)
WINDOWS = 7
"""Calibration windows in the token store."""
SEQUENCES, LENGTH = 5, 12
USER = "zaphod-beeblebrox"
"""Stands in the path of everything and is the name of the user: it must not appear in any output."""

CASES = [
    Case("shortgpt"),
    Case("minitron_depth"),
    Case("minitron_width"),
    Case("wanda", 0.3, "unstructured"),
    Case("magnitude", 0.5, "2:4"),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


class World:
    """A checkpoint, its tokenizer and calibration tokens in a folder, and the pruning step run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.tokenizer = folder / "parent", folder / "tokenizer"
        self.calibration, self.target = folder / "calibration", folder / "target.json"
        self.out, self.manifest = folder / "models" / "run", folder / "manifests" / "run.json"
        save_tokenizer(train_bpe(["the cat sat on the mat and that is that"] * 3, VOCABULARY), self.tokenizer)
        self.write_calibration(WINDOWS * (LENGTH + 1))
        self.model.mkdir()
        save_llama(tiny_llama(vocab_size=VOCABULARY), self.model, self.tokenizer)

    def write_calibration(self, tokens: int, vocab_size: int = VOCABULARY) -> None:
        stream = torch.randint(VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(5)).tolist()
        sha256 = sha256_of_file(self.tokenizer / "tokenizer.json")
        write_tokens(self.calibration, [stream], vocab_size=vocab_size, shard_tokens=1000, tokenizer_sha256=sha256)

    def arguments(self, case: Case, target: Target | None = None, seed: int = 3) -> list[str]:
        write_json(self.target, (target or case.target(PARENT)).to_dict())
        options: dict[str, Any] = {
            "run": "run",
            "model": self.model,
            "method": case.method,
            "target": self.target,
            "calibration": self.calibration,
            "sequences": SEQUENCES,
            "sequence-length": LENGTH,
            "batch-size": 2,
            "tokenizer": self.tokenizer,
            "seed": seed,
            "out": self.out,
            "manifest": self.manifest,
        }
        return [str(word) for name, value in options.items() for word in (f"--{name}", value)]

    def prune(self, case: Case, target: Target | None = None, seed: int = 3) -> None:
        """Run the script's main function in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(SCRIPT), *self.arguments(case, target, seed)])
            runpy.run_path(str(SCRIPT))["main"]()

    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "pruning.json").read_text())

    def assert_nothing_written(self) -> None:
        assert not self.manifest.exists()
        assert not list(self.folder.glob("models/*")) + list(self.folder.glob("models/.*"))

    def assert_refused(self, message: str, case: Case = CASES[3], target: Target | None = None) -> None:
        with pytest.raises(UserError, match=message):
            self.prune(case, target)
        self.assert_nothing_written()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    torch.set_num_threads(1)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, USER)
    return World(tmp_path / USER)


# What is written


@each_case
def test_the_checkpoint_is_complete_and_of_the_target_shape(world: World, case: Case) -> None:
    world.prune(case)
    written = {file.name for file in world.out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "pruning.json"} <= written
    assert ("mask.safetensors" in written) == (case.method in ("wanda", "magnitude"))
    assert shape_of(load_llama(world.out).config) == case.target(PARENT).shape
    assert sha256_of_file(world.out / "tokenizer.json") == sha256_of_file(world.tokenizer / "tokenizer.json")


@pytest.mark.parametrize("case", CASES[3:], ids=str)
def test_the_mask_beside_the_weights_is_theirs(world: World, case: Case) -> None:
    world.prune(case)
    masks, weights = read_masks(world.out / "mask.safetensors"), weights_of(load_llama(world.out))
    parent = weights_of(load_llama(world.model))
    expected = {name: w * masks[name] if name in masks else w for name, w in parent.items()}
    assert same_tensors(weights, expected)
    dropped = sum(int((~mask).sum()) for mask in masks.values())
    assert dropped == read_manifest(world.manifest)["facts"]["masked_weights"] > 0


@each_case
def test_pruning_json_says_what_was_chosen_and_by_what(world: World, case: Case) -> None:
    world.prune(case)
    summary = world.summary()
    assert summary["method"] == case.method
    assert Target.from_dict(summary["target"]) == case.target(PARENT)
    assert summary["tokens"] == (0 if case.method == "magnitude" else SEQUENCES * LENGTH)
    assert summary["seconds"] >= 0 < summary["peak_memory_bytes"]
    assert set(summary["kept"]) == {
        "shortgpt": {"blocks"},
        "minitron_depth": {"blocks"},
        "minitron_width": {"hidden", "ffn", "heads"},
    }.get(case.method, set())
    assert bool(summary["scores"]) == bool(summary["kept"])


def test_the_kept_blocks_in_pruning_json_are_those_of_the_checkpoint(world: World) -> None:
    world.prune(CASES[0])
    parent, pruned = weights_of(load_llama(world.model)), weights_of(load_llama(world.out))
    for position, block in enumerate(world.summary()["kept"]["blocks"]):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(pruned[name.format(position)], parent[name.format(block)])


@each_case
def test_the_manifest_has_the_hashes_of_what_was_read_and_written(world: World, case: Case) -> None:
    world.prune(case)
    manifest = read_manifest(world.manifest)
    inputs = {name: getattr(world, name) for name in ("model", "target", "calibration", "tokenizer")}
    assert manifest["inputs"] == {name: sha256_of_path(path) for name, path in inputs.items()}
    assert manifest["outputs"] == {"model": {"path": "run", "sha256": sha256_of_path(world.out)}}
    assert manifest["options"]["method"] == case.method
    assert manifest["step"] == "prune"


def test_the_ledger_counts_the_calibration_that_was_read(world: World) -> None:
    world.prune(CASES[3])
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert (row.run, row.phase, row.seed, row.steps) == ("run", "prune", 3, 0)
    assert row.tokens_planned == row.tokens_seen == SEQUENCES * LENGTH
    assert (row.window_start, row.window_end) == (0, SEQUENCES)
    assert row.flops == 2 * PARENT.layers * PARENT.block_flops(SEQUENCES, LENGTH)


def test_the_ledger_counts_nothing_for_a_method_without_calibration(world: World) -> None:
    world.prune(CASES[4])
    row = LedgerRow(**read_manifest(world.manifest)["facts"]["ledger"])
    assert row.tokens_planned == row.tokens_seen == row.window_end == row.flops == 0


@each_case
def test_no_output_names_the_user_or_an_absolute_path(world: World, case: Case) -> None:
    world.prune(case)
    texts = [world.manifest, *world.out.glob("*.json")]
    assert len(texts) >= 4
    for file in texts:
        content = file.read_text()
        for private in (USER, str(world.folder.parent), str(Path.home()), str(REPOSITORY)):
            assert private not in content, file.name


@each_case
def test_two_runs_write_the_same_weights_and_masks(world: World, case: Case) -> None:
    hashes = []
    for _ in range(2):
        world.prune(case)
        hashes.append({file.name: sha256_of_file(file) for file in world.out.glob("*.safetensors")})
    assert hashes[0] == hashes[1]


def test_another_run_replaces_all_of_the_older_output(world: World) -> None:
    world.prune(CASES[3])
    world.prune(CASES[0])
    assert not (world.out / "mask.safetensors").exists()
    assert world.summary()["method"] == "shortgpt"


def test_the_seed_chooses_the_calibration_windows(world: World) -> None:
    world.prune(CASES[0])
    first = world.summary()["scores"]
    world.prune(CASES[0], seed=5)
    assert world.summary()["scores"] != first


# What is refused


def test_the_command_ends_with_one_readable_line(world: World) -> None:
    (world.model / "model.safetensors").unlink()
    finished = subprocess.run(
        [sys.executable, SCRIPT, *world.arguments(CASES[0])], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1].startswith(f"error: no weights in {world.model}")
    assert "Traceback" not in finished.stderr


def test_a_pickle_checkpoint_is_refused(world: World) -> None:
    (world.model / "model.safetensors").rename(world.model / "pytorch_model.bin")
    world.assert_refused(r"pickle weights \(pytorch_model\.bin\); only safetensors are read")


def test_a_folder_without_a_checkpoint_is_refused(world: World) -> None:
    (world.model / "config.json").unlink()
    world.assert_refused(r"no checkpoint in .*config\.json is missing")


def test_a_missing_shard_is_named(world: World) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    write_json(world.model / "model.safetensors.index.json", index)
    world.assert_refused(r"lacks shards: model-00002-of-00002\.safetensors")


@pytest.mark.parametrize("kept_bytes", [0, 100, -1])
def test_damaged_weights_are_refused(world: World, kept_bytes: int) -> None:
    weights = world.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept_bytes])
    world.assert_refused("weights of the checkpoint .* are damaged")


def test_a_damaged_configuration_is_refused(world: World) -> None:
    (world.model / "config.json").write_text('{"architectures": ["Llama')
    world.assert_refused(r"config\.json is not valid JSON")


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_missing_weight_is_named(world: World, name: str) -> None:
    change_weights(world, lambda weights: weights.pop(name))
    world.assert_refused(f"lacks 1 weights, first {name}")


def test_a_missing_output_projection_is_refused_unless_it_is_the_embedding(world: World) -> None:
    save_llama(tiny_llama(vocab_size=VOCABULARY, tie_embeddings=False), world.model, world.tokenizer)
    change_weights(world, lambda weights: weights.pop("lm_head.weight"))
    world.assert_refused(r"lacks 1 weights, first lm_head\.weight")


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight"]
)
def test_a_weight_that_is_no_number_is_named(world: World, name: str) -> None:
    change_weights(world, lambda weights: weights[name].view(-1)[5:6].fill_(torch.nan))
    world.assert_refused(f"{name} of the checkpoint .* holds NaN or inf")


def change_weights(world: World, change: Any) -> None:
    """Rewrite the parent's weights after a change."""
    weights = load_file(world.model / "model.safetensors")
    change(weights)
    save_file(weights, world.model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("architectures", [["MistralForCausalLM"], ["LlamaForSequenceClassification"], None])
def test_another_architecture_is_refused(world: World, architectures: list[str] | None) -> None:
    config = json.loads((world.model / "config.json").read_text())
    write_json(world.model / "config.json", config | {"architectures": architectures})
    world.assert_refused(f"is a {architectures[0] if architectures else 'unknown'}.*supported: LlamaForCausalLM")


def test_tokens_of_another_tokenizer_are_refused(world: World) -> None:
    save_tokenizer(train_bpe(["quite another text, quite another one"] * 3, VOCABULARY), world.tokenizer)
    world.assert_refused("was tokenised with another tokenizer")


def test_tokens_of_a_larger_vocabulary_are_refused(world: World) -> None:
    world.write_calibration(WINDOWS * (LENGTH + 1), vocab_size=VOCABULARY + 1)
    world.assert_refused(f"has a vocabulary of {VOCABULARY}, but .* {VOCABULARY + 1} entries")


def test_too_little_calibration_text_is_refused_with_the_tokens_that_are_missing(world: World) -> None:
    world.write_calibration((SEQUENCES - 2) * (LENGTH + 1) + 1)
    world.assert_refused(rf"pruning\.calibration needs {SEQUENCES * LENGTH} tokens .* {2 * LENGTH} are missing")


def test_just_enough_calibration_text_is_enough(world: World) -> None:
    world.write_calibration(SEQUENCES * (LENGTH + 1))
    world.prune(CASES[3])
    assert world.summary()["tokens"] == SEQUENCES * LENGTH


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        (CASES[0], {"layers": 5}, "layers = 5, but .* has 4"),
        (CASES[0], {"layers": 2, "ffn_size": 20}, "ffn_size = 20, but .* has 40"),
        (CASES[2], {"hidden_size": 30}, "hidden_size = 30, but .* has 24"),
        (CASES[2], {"kv_heads": 1}, "kv_heads = 1, but .* has 2"),
        (CASES[4], {"layers": 2}, "layers = 2, but .* has 4"),
        (CASES[4], {"vocab_size": 200}, "vocab_size = 200, but .* has 260"),
    ],
)
def test_a_target_that_does_not_fit_the_checkpoint_is_refused(
    world: World, case: Case, changes: dict[str, int], message: str
) -> None:
    world.assert_refused(message, case, replace(case.target(PARENT), shape=replace(PARENT, **changes)))


def test_a_target_of_another_kind_of_method_is_refused(world: World) -> None:
    world.assert_refused("is a width target, but shortgpt is a depth method", CASES[0], CASES[2].target(PARENT))


def test_a_matrix_that_does_not_divide_into_groups_is_refused(world: World) -> None:
    save_llama(tiny_llama(vocab_size=VOCABULARY, ffn_size=38), world.model, world.tokenizer)
    target = replace(CASES[4].target(PARENT), shape=replace(PARENT, ffn_size=38))
    world.assert_refused("38 columns does not divide into groups of 4 for 2:4", CASES[4], target)


def test_a_full_disk_leaves_nothing_half_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pruning_vs_scratch.pruning.masks.write_masks", no_space)
    world.assert_refused("cannot write .*No space left on device")


def test_a_failure_leaves_the_older_output_as_it_was(world: World) -> None:
    world.prune(CASES[3])
    before, logits = sha256_of_path(world.out), logits_of(load_llama(world.out))
    world.write_calibration(LENGTH)
    with pytest.raises(UserError, match="are missing"):
        world.prune(CASES[0])
    assert sha256_of_path(world.out) == before
    assert torch.equal(logits_of(load_llama(world.out)), logits)
