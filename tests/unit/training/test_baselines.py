"""Baselines that keep something of the parent: its embeddings and norms, or its initial weights, cut as it was cut."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import SHAPE, Tensors, tiny_model
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.training import TrainingConfig, ValidationConfig
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file, write_json
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.tensors import load_tensors
from pruning_vs_scratch.pruning.masks import read_masks, write_masks
from pruning_vs_scratch.study import Target, TrainingPlan
from pruning_vs_scratch.study.plan import Phase

VOCABULARY, LENGTH, BATCH = 260, 12, 4
PARENT = replace(SHAPE, vocab_size=VOCABULARY)
NARROW = ["--shape", "hidden_size=20", "ffn_size=28", "heads=4"]
IDLE = (1, 2)
"""Blocks of the parent that do little, and so go: the indices of the others change."""
SHALLOW = ["--shape", "layers=2"]
RECIPE = TrainingConfig(
    sequence_length=LENGTH, global_batch_size=BATCH, micro_batch_size=BATCH, peak_learning_rate=0.01, precision="fp32",
    validation=ValidationConfig(sequences=2), checkpoint_every_steps=1,
)  # fmt: skip


def run_script(name: str, *words: object) -> None:
    """Run a script's main function in this process."""
    script = str(REPOSITORY / "workflow" / "scripts" / f"{name}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, words)])
        runpy.run_path(script)["main"]()


@dataclass(frozen=True)
class Lab:
    """A parent whose weights, norms included, are far from any initial ones, and what is made of it."""

    folder: Path

    def prune(self, name: str, start: str, method: str, *goal: object) -> Path:
        """Prune a checkpoint of this folder by hand."""
        text = [] if method == "random" else ["--calibration", self.folder / "tokens", "--sequence-length", LENGTH]
        words = ["--model", self.folder / start, "--method", method, *text, *goal, "--threads", 1]
        run_script("prune", *words, "--tokenizer", self.folder / "tokenizer", "--out", self.folder / name)
        return self.folder / name

    def train(self, out: Path, phase: Phase, *start: object, steps: int = 0) -> Tensors:
        """The weights after some steps; after none, those that the run starts from."""
        tokens = steps * BATCH * LENGTH
        plan = TrainingPlan.of(RECIPE, run="run", phase=phase, seed=3, start_token=0, tokens=tokens)
        files = {name: out / name for name in ("work", "out", "metrics", "manifest")}
        files |= {"tokens": self.folder / "tokens", "validation": self.folder / "tokens"}
        files |= {"tokenizer": self.folder / "tokenizer"}
        words = [f"--{option}={path}" for option, path in files.items()]
        run_script("train", "--plan", plan.model_dump_json(), *start, *words)
        return load_tensors(out / "out" / "model.safetensors")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("lab")
    save_tokenizer(train_bpe(["the cat sat on the mat and that is that"] * 3, VOCABULARY), folder / "tokenizer")
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 20 * (LENGTH + 1)).tolist()
    digest = sha256_of_file(folder / "tokenizer" / "tokenizer.json")
    write_tokens(folder / "tokens", [tokens], vocab_size=VOCABULARY, shard_tokens=10**6, tokenizer_sha256=digest)
    (folder / "parent").mkdir()
    parent = tiny_model(vocab_size=VOCABULARY)
    for index in IDLE:
        block = parent.model.layers[index]
        block.self_attn.o_proj.weight.data.mul_(0.01)
        block.mlp.down_proj.weight.data.mul_(0.01)
    save_model(parent, folder / "parent", folder / "tokenizer")
    write_json(folder / "parent.json", Target("parent", None, 0.0, "dense", PARENT).to_dict())
    made = Lab(folder)
    made.prune("sparse", "parent", "random", "--ratio", 0.5)
    made.prune("shallow", "parent", "shortgpt", *SHALLOW)
    made.prune("narrow", "parent", "minitron_width", *NARROW)
    made.prune("shallow-narrow", "shallow", "minitron_width", *NARROW)
    made.prune("shallow-narrow-sparse", "shallow-narrow", "random", "--pattern", "2:4")
    made.prune("narrow-shallow", "narrow", "shortgpt", *SHALLOW)
    return made


@pytest.fixture(scope="module")
def initial(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """The weights that the parent began with, in its own run."""
    return lab.train(tmp_path_factory.mktemp("initial"), "pretrain", f"--target={lab.folder / 'parent.json'}")


def kept_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "pruning.json").read_text())["kept"]


def is_linear(name: str) -> bool:
    return "_proj" in name


# Embeddings and norms of the parent


def test_what_is_not_a_linear_layer_comes_from_the_checkpoint(lab: Lab, tmp_path: Path) -> None:
    sparse = lab.folder / "sparse"
    trained = load_tensors(sparse / "model.safetensors")
    found = lab.train(tmp_path, "scratch", f"--redraw-linears={sparse}", f"--mask={sparse}")
    assert found.keys() == trained.keys()
    kept = [name for name in found if not is_linear(name)]
    assert len(kept) == 1 + 2 * PARENT.layers + 1
    assert all(torch.equal(found[name], trained[name]) for name in kept)


def test_every_linear_weight_is_drawn_anew_under_the_mask(lab: Lab, initial: Tensors, tmp_path: Path) -> None:
    sparse = lab.folder / "sparse"
    trained, masks = load_tensors(sparse / "model.safetensors"), read_masks(sparse / "mask.safetensors")
    found = lab.train(tmp_path, "scratch", f"--redraw-linears={sparse}", f"--mask={sparse}")
    linears = {name for name in found if is_linear(name)}
    assert linears == masks.keys()
    for name in linears:
        weight, mask = found[name], masks[name]
        assert torch.equal(weight != 0, mask)
        assert not torch.eq(weight, trained[name])[mask].any()
        assert not torch.eq(weight, initial[name])[mask].any()
        assert float(weight[mask].std()) == pytest.approx(0.02, rel=0.3)


def test_training_starts_from_no_sparse_model_whose_mask_is_that_of_another(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(lab.folder / "sparse", other)
    masks = read_masks(other / "mask.safetensors")
    write_masks({name: mask.roll(1, dims=1) for name, mask in masks.items()}, other / "mask.safetensors")
    with pytest.raises(UserError, match=r"\d+ pruned weights of model\.layers.* its mask is that of other weights"):
        lab.train(tmp_path, "retrain", f"--model={lab.folder / 'sparse'}", f"--mask={other}")
    assert not (tmp_path / "out").exists()


def test_the_authors_redraw_the_output_projection_too(lab: Lab, tmp_path: Path) -> None:
    """Of a checkpoint whose embeddings are not tied."""
    untied = tmp_path / "untied"
    untied.mkdir()
    save_model(tiny_model(vocab_size=VOCABULARY, tie_embeddings=False), untied, lab.folder / "tokenizer")
    trained = load_tensors(untied / "model.safetensors")
    some, authors = (
        lab.train(tmp_path / option, "scratch", f"--{option}={untied}")
        for option in ("redraw-linears", "redraw-linears-and-head")
    )
    assert torch.equal(some["lm_head.weight"], trained["lm_head.weight"])
    assert not torch.eq(authors["lm_head.weight"], trained["lm_head.weight"]).any()
    assert float(authors["lm_head.weight"].std()) == pytest.approx(0.02, rel=0.1)
    assert all(torch.equal(some[name], authors[name]) for name in some if name != "lm_head.weight")


def test_redrawn_weights_are_those_of_a_baseline_that_is_drawn_as_a_whole(lab: Lab, tmp_path: Path) -> None:
    sparse = lab.folder / "sparse"
    some = lab.train(tmp_path / "some", "scratch", f"--redraw-linears={sparse}", f"--mask={sparse}")
    whole = lab.train(tmp_path / "all", "scratch", f"--target={lab.folder / 'parent.json'}", f"--mask={sparse}")
    assert all(torch.equal(some[name], whole[name]) for name in some if is_linear(name))
    assert not any(torch.equal(some[name], whole[name]) for name in some if not is_linear(name))


# Initial weights of the parent


def cut(weights: Tensors, kept: dict[str, Any]) -> Tensors:
    """Index by index, what is kept of the weights of four blocks or fewer; groups of heads stay."""
    layers = 1 + max(int(name.split(".")[2]) for name in weights if "layers" in name)
    hidden = kept.get("hidden", list(range(weights["model.norm.weight"].shape[0])))
    found = {name: weights[name][..., hidden] for name in weights if "layers" not in name}
    for new, old in enumerate(kept.get("blocks", range(layers))):
        mine = {n.split(f"layers.{old}.")[1]: w for n, w in weights.items() if f"layers.{old}." in n}
        neurons = kept["ffn"][new] if "ffn" in kept else list(range(mine["mlp.up_proj.weight"].shape[0]))
        queries = list(range(mine["self_attn.q_proj.weight"].shape[0]))
        if "heads" in kept:
            queries = [head * PARENT.head_dim + i for head in kept["heads"][new] for i in range(PARENT.head_dim)]
        for name, weight in mine.items():
            if "norm" in name:
                cut_weight = weight[hidden]
            elif "o_proj" in name:
                cut_weight = weight[hidden][:, queries]
            elif "down_proj" in name:
                cut_weight = weight[hidden][:, neurons]
            elif "q_proj" in name:
                cut_weight = weight[queries][:, hidden]
            elif "mlp" in name:
                cut_weight = weight[neurons][:, hidden]
            else:
                cut_weight = weight[:, hidden]
            found[f"model.layers.{new}.{name}"] = cut_weight
    return found


def rewound(lab: Lab, out: Path, pruned: str, *more: object, steps: int = 0) -> Tensors:
    start = [f"--target={lab.folder / 'parent.json'}", f"--cut-like={lab.folder / pruned}"]
    return lab.train(out, "rewind", *start, *more, steps=steps)


CHAINS = {
    "shallow": ["shallow"],
    "narrow": ["narrow"],
    "shallow-narrow": ["shallow", "shallow-narrow"],
    "narrow-shallow": ["narrow", "narrow-shallow"],
}


@pytest.mark.parametrize("pruned", CHAINS)
def test_a_rewound_model_is_its_parents_initial_weights_cut_as_each_step_cut(
    lab: Lab, initial: Tensors, tmp_path: Path, pruned: str
) -> None:
    expected = initial
    for step in CHAINS[pruned]:
        expected = cut(expected, kept_in(lab.folder / step))
    found = rewound(lab, tmp_path, pruned)
    trained = load_tensors(lab.folder / pruned / "model.safetensors")
    assert found.keys() == expected.keys() == trained.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name]), name
        assert not torch.equal(weight, trained[name]), name


def test_the_order_of_a_chains_steps_matters_here(lab: Lab) -> None:
    depth, width = kept_in(lab.folder / "shallow"), kept_in(lab.folder / "shallow-narrow")
    assert depth == {"blocks": [0, 3]}
    assert len(width["ffn"]) == 2
    assert kept_in(lab.folder / "narrow-shallow") == {"blocks": [0, 3]}


@pytest.mark.parametrize("pruned", ["sparse", "shallow-narrow-sparse"])
def test_a_rewound_sparse_model_keeps_the_mask_that_was_chosen(
    lab: Lab, initial: Tensors, tmp_path: Path, pruned: str
) -> None:
    expected = initial
    for step in {"sparse": [], "shallow-narrow-sparse": ["shallow", "shallow-narrow"]}[pruned]:
        expected = cut(expected, kept_in(lab.folder / step))
    masks = read_masks(lab.folder / pruned / "mask.safetensors")
    found = rewound(lab, tmp_path, pruned, f"--mask={lab.folder / pruned}")
    assert {name for name in found if is_linear(name)} == masks.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name] * masks.get(name, torch.tensor(True)))
    assert sum(int((~mask).sum()) for mask in masks.values()) > 0


def test_a_rewound_run_trains_by_its_plan(lab: Lab, tmp_path: Path) -> None:
    start = rewound(lab, tmp_path / "start", "shallow-narrow-sparse", f"--mask={lab.folder / 'shallow-narrow-sparse'}")
    mask = f"--mask={lab.folder / 'shallow-narrow-sparse'}"
    found = rewound(lab, tmp_path / "end", "shallow-narrow-sparse", mask, steps=2)
    ledger = json.loads((tmp_path / "end" / "manifest").read_text())["facts"]["ledger"]
    assert (ledger["phase"], ledger["steps"], ledger["tokens_seen"]) == ("rewind", 2, 2 * BATCH * LENGTH)
    assert not any(torch.equal(found[name], start[name]) for name in found)
    for name, kept in read_masks(lab.folder / "shallow-narrow-sparse" / "mask.safetensors").items():
        assert torch.count_nonzero(found[name][~kept]) == 0


def test_what_was_never_pruned_cannot_be_cut_like(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"parent holds no pruning\.json: it is not a pruned checkpoint"):
        rewound(lab, tmp_path, "parent")
    assert not (tmp_path / "out").exists()


STARTS: dict[str, Callable[[Path], list[str]]] = {
    "redraw-linears": lambda folder: [f"--redraw-linears={folder}"],
    "cut-like": lambda folder: [f"--target={folder.parent / 'parent.json'}", f"--cut-like={folder}"],
}


@pytest.mark.parametrize("option", STARTS)
def test_the_checkpoint_that_a_run_starts_from_is_part_of_what_it_is(lab: Lab, tmp_path: Path, option: str) -> None:
    hashes = set()
    for name in ("sparse", "shallow"):
        lab.train(tmp_path / name, "scratch", *STARTS[option](lab.folder / name))
        manifest = json.loads((tmp_path / name / "manifest").read_text())
        assert option.replace("-", "_") in manifest["inputs"]
        hashes.add(manifest["facts"]["ledger"]["spec_hash"])
    assert len(hashes) == 2
