"""Checkpoints of other forms than expected: each is refused in one line that names the file, and no code of it runs."""

import ast
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from evaluation_world import VOCABULARY, write_checkpoint
from models import tiny_model
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import load_transformers_tokenizer, separator_of, take_tokenizer
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.parents.files import refuse_remote_code, shards_of

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
WEIGHTS, SHARD, INDEX = "model.safetensors", "model-00001-of-00001.safetensors", "model.safetensors.index.json"
OTHER_FORMS = ["[]", "null", "3", '"text"', "{", "[" * 10_000]
LOADERS: list[Callable[[Path], Any]] = [
    load_model,
    lambda folder: BlockwiseModel.open(folder, torch.device("cpu")).block_tensors(0),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def remove(file: Path, *keys: str) -> None:
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in keys}))


def assert_refused(act: Callable[[Path], Any], folder: Path, name: str) -> None:
    with pytest.raises(UserError) as refused:
        act(folder)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("text", OTHER_FORMS)
@pytest.mark.parametrize("name", [CONFIG, "generation_config.json"])
def test_a_configuration_in_another_form_is_refused(
    folder: Path, load: Callable[[Path], Any], text: str, name: str
) -> None:
    (folder / name).write_text(text)
    assert_refused(load, folder, name)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "values",
    [
        {"pad_token_id": VOCABULARY},
        {"pad_token_id": -VOCABULARY - 1},
        {"pad_token_id": "0"},
        {"rope_parameters": {"rope_type": "future", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": [], "rope_theta": 1e4}},
        {"rope_parameters": "text"},
        {"hidden_act": "future"},
        {"hidden_size": "32"},
        {"hidden_size": 10**12},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": -1},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 3},
        {"head_dim": 0},
        {"intermediate_size": [48]},
        {"vocab_size": None},
        {"vocab_size": True},
        {"rms_norm_eps": "small"},
        {"max_position_embeddings": None},
        {"model_type": "future"},
        {"model_type": []},
    ],
    ids=str,
)
def test_settings_that_no_model_has_are_refused(
    folder: Path, load: Callable[[Path], Any], values: dict[str, Any]
) -> None:
    change(folder / CONFIG, **values)
    assert_refused(load, folder, CONFIG)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("architectures", ["LlamaForCausalLM", [3], {}, [], ["FutureForCausalLM"]])
def test_other_architectures_are_refused(folder: Path, load: Callable[[Path], Any], architectures: Any) -> None:
    change(folder / CONFIG, architectures=architectures)
    assert_refused(load, folder, "supported: LlamaForCausalLM")


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"architectures": ["Qwen3MoeForCausalLM"]},
            "Qwen3MoeForCausalLM, a mixture of experts; supported: Llama",
        ),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "or a model of images and text; supported: Llama"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "an encoder-decoder, or"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "LlamaForSequenceClassification; supported: Llama",
        ),
        ({"architectures": ["Qwen3ForCausalLM"]}, "model_type is 'llama', but a Qwen3ForCausalLM has 'qwen3'"),
        ({"model_type": "mixtral"}, "model_type is 'mixtral', but a LlamaForCausalLM has 'llama'"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}, "needs code of its own"),
        ({"quantization_config": {"bits": 4}}, "is quantised"),
        ({"gated_attention": True, "note": "x"}, "not known of Llama models: gated_attention, note; if they change"),
    ],
    ids=str,
)
def test_models_in_another_form_are_refused_with_the_reason(
    folder: Path, load: Callable[[Path], Any], values: dict[str, Any], reason: str
) -> None:
    change(folder / CONFIG, **values)
    assert_refused(load, folder, reason)


WINDOWS = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 4}
GEMMA = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": {"rope_type": "default"}}


@pytest.mark.parametrize(
    ("family", "values", "reason"),
    [
        (
            "gemma2",
            {"use_bidirectional_attention": True},
            "use_bidirectional_attention is True; of Gemma 2",
        ),
        ("gemma2", {"sliding_window": None}, "layer_types has sliding_attention, but there is no sliding_window"),
        (
            "qwen2",
            WINDOWS | {"layer_types": ["chunked_attention"] * 4},
            "layer_types has chunked_attention; known:",
        ),
        ("gemma3", {"rope_local_base_freq": 5e3, "rope_parameters": GEMMA}, "two values of rope_local_base_freq"),
        ("mistral", {"sliding_window_pattern": 4}, "not known of Mistral models: sliding_window_pattern"),
        ("gemma2", {"altup": True}, "not known of Gemma 2 models: altup"),
    ],
    ids=str,
)
def test_settings_of_a_family_that_are_not_supported_are_refused(
    family: str, values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    tiny_model(family=family).save_pretrained(tmp_path / "model")
    load_model(tmp_path / "model")
    change(tmp_path / "model" / CONFIG, **values)
    assert_refused(load_model, tmp_path / "model", reason)


def test_a_separate_output_projection_is_refused_where_tying_is_the_default(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model(family="gemma2", tie_embeddings=False).save_pretrained(folder)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if k != "tie_word_embeddings"}))
    assert_refused(load_model, folder, "lm_head.weight differs from model.embed_tokens.weight")


def test_the_other_name_of_a_window_is_taken(tmp_path: Path) -> None:
    tiny_model(family="gemma2").save_pretrained(tmp_path / "model")
    change(tmp_path / "model" / CONFIG, sliding_window_size=4)
    load_model(tmp_path / "model")


PUBLISHED_NOTES = {
    "is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"},
    "_name_or_path": "x", "torch_dtype": "bfloat16", "unsloth_fixed": True, "use_mrope": False, "rope_scaling": None,
}  # fmt: skip


def test_notes_that_change_no_model_are_taken(folder: Path) -> None:
    change(folder / CONFIG, **PUBLISHED_NOTES)
    for load in LOADERS:
        load(folder)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "values", [{"num_key_value_heads": 4}, {"vocab_size": VOCABULARY - 1}, {"head_dim": 4}], ids=str
)
def test_weights_of_other_shapes_than_the_configuration_says_are_refused(
    folder: Path, load: Callable[[Path], Any], values: dict[str, Any]
) -> None:
    change(folder / CONFIG, **values)
    assert_refused(load, folder, str(folder))


@pytest.mark.parametrize("padding", [None, -1, VOCABULARY - 1])
def test_a_padding_token_of_the_vocabulary_is_taken(folder: Path, padding: int | None) -> None:
    change(folder / CONFIG, pad_token_id=padding)
    for load in LOADERS:
        load(folder)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "text",
    [*OTHER_FORMS, "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../a.safetensors"}}',
     '{"weight_map": {"a": "config.json"}}'],
)  # fmt: skip
def test_a_weight_index_in_another_form_is_refused(folder: Path, load: Callable[[Path], Any], text: str) -> None:
    (folder / WEIGHTS).rename(folder / SHARD)
    (folder / INDEX).write_text(text)
    assert_refused(load, folder, INDEX)
    assert_refused(lambda place: shards_of(place / INDEX, [SHARD, "../a.safetensors"], "it"), folder, INDEX)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("files", [{}, {"model.norm.weight": SHARD}])
def test_an_index_that_lacks_weights_is_refused(folder: Path, load: Callable[[Path], Any], files: Any) -> None:
    (folder / WEIGHTS).rename(folder / SHARD)
    (folder / INDEX).write_text(json.dumps({"weight_map": files}))
    assert_refused(load, folder, str(folder))


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "content", [b"", bytes(8), (1 << 40).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"]
)
def test_weights_with_a_header_of_another_form_are_refused(
    folder: Path, load: Callable[[Path], Any], content: bytes
) -> None:
    (folder / WEIGHTS).write_bytes(content)
    assert_refused(load, folder, str(folder))


def taken(folder: Path) -> Any:
    return take_tokenizer(folder, VOCABULARY, folder.parent / "taken", exactly=False)


@pytest.mark.parametrize("text", OTHER_FORMS)
def test_a_tokenizer_configuration_in_another_form_is_refused(folder: Path, text: str) -> None:
    (folder / TOKENIZER_CONFIG).write_text(text)
    for act in (taken, separator_of, lambda place: refuse_remote_code(place, "it")):
        with pytest.raises(UserError, match=TOKENIZER_CONFIG):
            act(folder)


@pytest.mark.parametrize(
    "values",
    [{"tokenizer_class": "FutureTokenizer"}, {"tokenizer_class": 3}, {"extra_special_tokens": 3},
     {"added_tokens_decoder": [1]}],
    ids=str,
)  # fmt: skip
def test_a_tokenizer_that_evaluation_could_not_load_is_refused_at_the_start(
    folder: Path, values: dict[str, Any]
) -> None:
    change(folder / TOKENIZER_CONFIG, **values)
    try:
        taken(folder)
    except UserError as refused:
        assert TOKENIZER_CONFIG in str(refused)
        assert not (folder.parent / "taken").exists()
    else:
        load_transformers_tokenizer(folder.parent / "taken")


def test_a_tokenizer_that_names_no_special_token_is_refused_at_the_start(folder: Path) -> None:
    remove(folder / TOKENIZER_CONFIG, "bos_token", "eos_token", "pad_token")
    with pytest.raises(UserError, match=r'names no bos_token and no eos_token .* add "eos_token": "<\|endoftext\|>"'):
        taken(folder)
    assert not (folder.parent / "taken").exists()
    change(folder / TOKENIZER_CONFIG, eos_token="<|endoftext|>")
    assert taken(folder)["entries"] == VOCABULARY


def test_a_tokenizer_that_names_a_token_beyond_the_vocabulary_is_refused_at_the_start(folder: Path) -> None:
    change(folder / TOKENIZER_CONFIG, pad_token="<a new one>")
    with pytest.raises(UserError, match=f"knows {VOCABULARY + 1} entries, but there is a vocabulary of {VOCABULARY}"):
        taken(folder)


@pytest.mark.slow
def test_evaluation_by_hand_never_runs_code_of_a_tokenizer_and_never_asks(folder: Path, tmp_path: Path) -> None:
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    change(folder / TOKENIZER_CONFIG, auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")
    command = [
        sys.executable, REPOSITORY / "workflow/scripts/evaluate_checkpoints.py", f"--checkpoint=it={folder}",
        "--corpora", '{"text": {"windows": 1}}', "--tokens", tmp_path, "--work", tmp_path / "work",
        "--out", tmp_path / "out", "--manifest", tmp_path / "out.json",
    ]  # fmt: skip
    (tmp_path / "text").mkdir()
    result = subprocess.run(command, input="y\ny\ny\n", capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert "[y/N]" not in result.stdout + result.stderr
    assert not (tmp_path / "ran").exists()


LOADING = {"from_pretrained", "from_config", "load_dataset", "load_dataset_builder"}


def loading_calls() -> list[tuple[Path, ast.Call, str]]:
    """Every call in the project's code that may load what others wrote."""
    files = sorted((REPOSITORY / "workflow/scripts").rglob("*.py"))
    calls = [
        (file, node, node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    return [call for call in calls if call[2] in LOADING]


def test_every_load_of_what_others_wrote_refuses_their_code() -> None:
    takes_code = {
        name for name in ("load_dataset", "load_dataset_builder")
        if "trust_remote_code" in inspect.signature(getattr(datasets, name)).parameters
    }  # fmt: skip
    calls = loading_calls()
    assert len(calls) >= 6
    for file, call, name in calls:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        refuses = given.get("trust_remote_code") == "False"
        assert refuses or (name.startswith("load_dataset") and name not in takes_code), f"{file}, line {call.lineno}"
