"""What is written is one model and one tokenizer to transformers 4 and 5."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from checkpoints_world import POSITIONS, PUBLISHED, TEXT, VOCABULARY, write_published
from models import randomised
from pruning_vs_scratch.data.tokenizer import copy_tokenizer, load_tokenizer, save_tokenizer, train_bpe
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json, write_json
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import check_checkpoint
from pruning_vs_scratch.models.decoder import config_of
from pruning_vs_scratch.models.portable import make_portable
from pruning_vs_scratch.pruning.export import export
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.structured import structured_blocks
from pruning_vs_scratch.training.export import write_checkpoint
from pruning_vs_scratch.training.world import World

CPU = torch.device("cpu")
OLD = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2")
THETA = 500_000.0
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | {
    "original_max_position_embeddings": 64
}
ROTATIONS: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "llama3": LLAMA3,
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64},
}
READ = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
assert transformers.__version__.startswith("4."), transformers.__version__
tokens, found = torch.arange(200)[None] % 250, {}
for folder in sys.argv[1:]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    torch.save(logits.float(), folder + "/logits.pt")
    found[folder] = {
        "dtype": str(transformers.AutoConfig.from_pretrained(folder).dtype),
        "tokens": tokenizer("the cat <|tool|> sat").input_ids,
        "eos": tokenizer.eos_token,
        "generated": model.generate(tokens[:, :5], max_new_tokens=4, do_sample=False).tolist(),
    }
print(json.dumps(found))
"""


def llama(rotation: str, theta: float = THETA) -> LlamaForCausalLM:
    config = config_of(PUBLISHED, POSITIONS)
    config.rope_parameters = {**ROTATIONS[rotation], "rope_theta": theta}
    return randomised(LlamaForCausalLM(config))


def mistral() -> MistralForCausalLM:
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, sliding_window=32, max_position_embeddings=POSITIONS, bos_token_id=0,
        eos_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": THETA},
    )  # fmt: skip
    return randomised(MistralForCausalLM(config))


def pruned(parent: Path, folder: Path) -> Path:
    """A checkpoint without its second block, as prune.py writes one."""
    folder.mkdir()
    model = BlockwiseModel.open(parent, CPU)
    kept = Kept(blocks=[0, *range(2, model.shape.layers)])
    export(model, kept, structured_blocks(model, kept), folder, low_memory=False)
    copy_tokenizer(parent, folder)
    return folder


def trained(parent: Path, folder: Path, model: Any) -> Path:
    """A checkpoint as train.py writes one."""
    folder.mkdir()
    write_checkpoint(model, folder, World(CPU))
    copy_tokenizer(parent, folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Checkpoints that the product wrote, of all rotary settings and both architectures."""
    folder = tmp_path_factory.mktemp("written")
    made = []
    for name in ROTATIONS:
        parent = write_published(folder / f"parent-{name}", llama(name))
        made.append(pruned(parent, folder / f"pruned-{name}"))
    parent = write_published(folder / "parent-mistral", mistral(), torch.float16)
    made.append(pruned(parent, folder / "pruned-mistral"))
    made.append(trained(parent, folder / "trained", llama("llama3").float()))
    made.append(with_new_tokenizer(trained(parent, folder / "new-tokens", llama("default", 10_000.0).float())))
    return made


def with_new_tokenizer(folder: Path) -> Path:
    """Give a checkpoint the tokenizer of a model that was published by transformers 5, with an extra token."""
    tokenizer = train_bpe([TEXT] * 3, VOCABULARY - 1)
    tokenizer.add_special_tokens([AddedToken("<|tool|>", special=True)])
    save_tokenizer(tokenizer, folder / "made")
    settings = read_json(folder / "made/tokenizer_config.json")
    settings |= {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|tool|>"]}
    write_json(folder / "made/tokenizer_config.json", settings)
    copy_tokenizer(folder / "made", folder)
    return folder


@pytest.fixture(scope="module")
def read_by_old(written: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What transformers 4 makes of them."""
    place = tmp_path_factory.mktemp("transformers4")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), *OLD]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        pytest.skip(f"no package index from which pip can install {OLD[0]}")
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, written)],
        env={"PYTHONPATH": str(place), "PATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {Path(name).name: facts for name, facts in json.loads(done.stdout).items()}


@pytest.mark.slow
def test_transformers_4_computes_the_same_logits(written: list[Path], read_by_old: dict[str, Any]) -> None:
    tokens = torch.arange(200)[None] % 250
    for folder in written:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            expected = model(input_ids=tokens, use_cache=False).logits
        found = torch.load(folder / "logits.pt", weights_only=True)
        # fp32 in two versions of one formula; the default rotation in the place of another is off by more than 0.1.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4, msg=lambda said, at=folder: f"{at.name}: {said}")
        generated = model.generate(tokens[:, :5], max_new_tokens=4, do_sample=False).tolist()
        assert read_by_old[folder.name]["generated"] == generated


def test_transformers_4_reads_the_same_tokens_and_dtype(written: list[Path], read_by_old: dict[str, Any]) -> None:
    for folder in written:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        found = read_by_old[folder.name]
        assert found["tokens"] == tokenizer("the cat <|tool|> sat").input_ids
        assert found["eos"] == tokenizer.eos_token == "<|endoftext|>"
        assert found["dtype"] == "torch." + read_json(folder / "config.json")["dtype"]
    tool = load_tokenizer(written[-1]).token_to_id("<|tool|>")
    assert tool in read_by_old["new-tokens"]["tokens"]


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_rotary_settings_stand_where_either_version_looks(tmp_path: Path, rotation: str) -> None:
    folder = write_published(tmp_path / "parent", llama(rotation))
    values = read_json(pruned(folder, tmp_path / "out") / "config.json")
    assert values["rope_theta"] == THETA
    scaling = None if rotation == "default" else ROTATIONS[rotation]
    assert values.get("rope_scaling") == scaling
    assert values["rope_parameters"].items() >= {**ROTATIONS[rotation], "rope_theta": THETA}.items()
    assert values["torch_dtype"] == values["dtype"] == "bfloat16"


OLD_FORMS: dict[str, dict[str, Any]] = {
    "no scaling": {"rope_theta": THETA},
    "llama3": {"rope_theta": THETA, "rope_scaling": LLAMA3},
    "the older name of the kind": {"rope_theta": THETA, "rope_scaling": {"type": "linear", "factor": 4.0}},
}


@pytest.mark.parametrize("form", OLD_FORMS)
def test_what_transformers_4_wrote_for_a_parent_is_kept_in_the_pruned_model(tmp_path: Path, form: str) -> None:
    written = OLD_FORMS[form]
    parent = write_published(tmp_path / "parent")
    values = read_json(parent / "config.json")
    for name in ("rope_parameters", "rope_scaling", "dtype"):
        values.pop(name, None)
    write_json(parent / "config.json", values | written | {"torch_dtype": "bfloat16"})
    found = read_json(pruned(parent, tmp_path / "out") / "config.json")
    scaling = written.get("rope_scaling", {})
    expected = {key: value for key, value in scaling.items() if key != "type"}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    assert (found["rope_theta"], found["torch_dtype"]) == (THETA, "bfloat16")
    assert (found.get("rope_scaling") or {}).items() >= expected.items()
    assert found["rope_parameters"].items() >= {**expected, "rope_type": kind, "rope_theta": THETA}.items()


def test_the_class_and_tokens_of_a_tokenizer_have_names_known_to_both_versions(tmp_path: Path) -> None:
    parent = write_published(tmp_path / "parent")
    settings = read_json(parent / "tokenizer_config.json")
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    write_json(
        parent / "tokenizer_config.json",
        settings | {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|tool|>"]},
    )
    found = read_json(pruned(parent, tmp_path / "out") / "tokenizer_config.json")
    assert found["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert found["additional_special_tokens"] == ["<|tool|>"]
    assert "extra_special_tokens" not in found


def test_a_partial_rotation_is_kept_with_the_scaling(tmp_path: Path) -> None:
    write_json(
        tmp_path / "config.json", {"rope_parameters": {**LLAMA3, "rope_theta": 1.0, "partial_rotary_factor": 0.5}}
    )
    make_portable(tmp_path)
    values = read_json(tmp_path / "config.json")
    assert (values["rope_theta"], values["partial_rotary_factor"], values["rope_scaling"]) == (1.0, 0.5, LLAMA3)


def test_what_both_versions_read_is_not_written_again(tmp_path: Path) -> None:
    old = {"config.json": '{"rope_theta":1.0, "torch_dtype":"float16"}', "tokenizer_config.json": '{"eos_token":"x"}'}
    for name, text in old.items():
        (tmp_path / name).write_text(text)
    make_portable(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in old} == old


def test_a_file_that_is_linked_to_another_folder_does_not_change_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_json(tmp_path / "config.json", {"dtype": "float32"})
    (tmp_path / "out/config.json").hardlink_to(tmp_path / "config.json")
    make_portable(tmp_path / "out")
    assert read_json(tmp_path / "config.json") == {"dtype": "float32"}
    assert read_json(tmp_path / "out/config.json")["torch_dtype"] == "float32"


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({"rope_theta": 1e6}, r"rope_theta: 1000000\.0, .* and 500000\.0"),
        ({"rope_scaling": {"factor": 16.0}}, r"factor: 16\.0, .* and 8\.0"),
    ],
)
def test_two_rotations_in_one_configuration_are_refused(tmp_path: Path, changed: dict, values: str) -> None:
    folder = write_published(tmp_path / "model", llama("llama3"))
    check_checkpoint(folder)
    write_json(folder / "config.json", read_json(folder / "config.json") | changed)
    with pytest.raises(UserError, match=rf"config\.json has two values of {values}"):
        check_checkpoint(folder)
