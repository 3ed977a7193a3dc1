"""Any Llama-family checkpoint can be pruned by hand: what is asked for, what is read, what is refused."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from safetensors.torch import load_file

from models import Case, same_tensors, tiny_model, weights_of
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import Encoder, load_tokenizer, separator_of
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.masks import read_masks
from pruning_vs_scratch.pruning.record import cut_like, earlier_step
from pruning_vs_scratch.pruning.surgery import cut_model
from pruning_vs_scratch.study import Target
from pruning_world import LENGTH, PARENT, SEQUENCES, USER, VOCABULARY, World, random_tokens, weight_files


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    torch.set_num_threads(1)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, USER)
    return World(tmp_path / USER)


def pruned_shape(world: World) -> Any:
    return shape_of(load_model(world.out).config)


# What is asked for


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["shortgpt", "--ratio", 0.5], {"layers": 2}),
        (["minitron_depth", "--ratio", 0.25], {"layers": 3}),
        (["shortgpt", "--shape", "layers=1"], {"layers": 1}),
        (["minitron_width", "--shape", "hidden_size=12", "ffn_size=9"], {"hidden_size": 12, "ffn_size": 9}),
        (["minitron_width", "--shape", "heads=2", "hidden_size=22"], {"heads": 2, "hidden_size": 22}),
        (["minitron_width", "--ratio", 0.5], {"hidden_size": 18, "ffn_size": 16}),
    ],
    ids=str,
)
def test_a_ratio_or_a_shape_leads_to_a_checkpoint_of_that_shape(
    world: World, words: list[Any], shape: dict[str, int]
) -> None:
    world.by_hand(*words, "--calibration", world.array)
    expected = replace(PARENT, **shape)
    assert pruned_shape(world) == expected
    target = Target.from_dict(world.summary()["target"])
    assert target.shape == expected
    if "--shape" in words:
        assert target.ratio == pytest.approx(1 - expected.params_nonembedding / PARENT.params_nonembedding)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        *((method, ["--ratio", "0.3"]) for method in ("wanda", "sparsegpt", "magnitude", "random")),
        ("wanda", ["--pattern", "2:4"]),
        ("sparsegpt", ["--pattern", "4:8", "--ratio", "0.5"]),
    ],
)
def test_a_ratio_or_a_pattern_leads_to_a_mask(world: World, method: str, words: list[str]) -> None:
    text = [] if method in ("magnitude", "random") else ["--calibration", world.array]
    world.by_hand(method, *words, *text)
    assert pruned_shape(world) == PARENT
    masks = read_masks(world.out / "mask.safetensors")
    for mask in masks.values():
        if "--pattern" in words:
            kept, group = map(int, words[1].split(":"))
            assert set(mask.view(-1, group).sum(dim=1).tolist()) == {kept}
        elif method in ("wanda", "random"):
            assert set((~mask).sum(dim=1).tolist()) == {int(0.3 * mask.shape[1])}
        else:
            assert int((~mask).sum()) == int(0.3 * mask.numel())


def test_options_reach_the_method(world: World) -> None:
    world.by_hand("magnitude", "--ratio", 0.3, "--options", '{"cut": "row"}')
    masks = read_masks(world.out / "mask.safetensors")
    assert all(set((~mask).sum(dim=1).tolist()) == {int(0.3 * mask.shape[1])} for mask in masks.values())
    assert world.summary()["options"] == {"cut": "row"}


def test_a_mistral_is_pruned_in_low_memory(world: World) -> None:
    world.save(tiny_model(family="mistral", vocab_size=VOCABULARY))
    words = ["wanda", "--pattern", "2:4", "--calibration", world.array]
    world.by_hand(*words)
    usual = weight_files(world.out)
    world.by_hand(*words, "--low-memory", "--host-buffer-gib", 1e-9)
    assert weight_files(world.out) == usual
    assert json.loads((world.out / "config.json").read_text())["architectures"] == ["MistralForCausalLM"]


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "shortgpt", "minitron_width"])
def test_each_weight_keeps_the_dtype_that_it_was_stored_in(world: World, method: str) -> None:
    """Norms in fp32, matrices in bf16 and an embedding in fp16, as in some checkpoints."""

    def mix(weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            if "norm" not in name:
                weights[name] = weight.half() if "embed" in name else weight.bfloat16()

    world.change_weights(mix)
    before = load_file(world.model / "model.safetensors")
    world.by_hand(method, "--ratio", 0.5, "--calibration", world.array)
    after = load_file(world.out / "model.safetensors")
    assert {name: weight.dtype for name, weight in after.items()} == {name: before[name].dtype for name in after}
    if method == "wanda":
        for name, mask in read_masks(world.out / "mask.safetensors").items():
            assert torch.equal(after[name], before[name] * mask)
        assert torch.equal(after["model.norm.weight"], before["model.norm.weight"])


# What is read


def test_text_files_are_read_one_after_the_other_by_the_checkpoints_tokenizer(world: World) -> None:
    more = world.folder / "more.txt"
    more.write_text("and that is that " * 9)
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.text, more, "--sequence-length", 7)
    tokenizer = load_tokenizer(world.model)
    ids = [i for file in (world.text, more) for i in tokenizer.encode(file.read_text()).ids]
    windows = len(ids) // 8
    assert world.summary()["tokens"] == 7 * windows > 70
    by_text = world.summary()["scores"]
    np.save(world.array, np.asarray(ids[: 8 * windows]).reshape(windows, 8)[:, :7])
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.array)
    assert world.summary()["tokens"] == 7 * windows
    assert world.summary()["scores"]["block_influence"] == pytest.approx(by_text["block_influence"], abs=1e-6)
    ledger = read_manifest(world.out.with_name("run.manifest.json"))["facts"]["ledger"]
    assert (ledger["sequence_length"], ledger["window_end"]) == (7, windows)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_json_lines_are_read_and_separated_as_in_a_study(world: World, suffix: str) -> None:
    texts = ["the cat sat on the mat\n" * 3, "and that is that " * 4, 'that "cat"'] * 4
    lines = "".join(json.dumps({"id": i, "meta": {"url": "x"}, "text": text}) + "\n" for i, text in enumerate(texts))
    pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress}[suffix]
    file = world.folder / f"documents.{suffix}"
    file.write_bytes(pack(lines.encode()))
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", file, "--sequence-length", 7)
    by_lines = world.summary()
    ids = [i for some in Encoder(world.model, 1).encode(text.strip() for text in texts) for i in some]
    assert ids.count(separator_of(world.model)) == len(texts)
    windows = len(ids) // 8
    np.save(world.array, np.asarray(ids[: 8 * windows]).reshape(windows, 8)[:, :7])
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.array)
    assert by_lines["tokens"] == world.summary()["tokens"] == 7 * windows
    influence = world.summary()["scores"]["block_influence"]
    assert by_lines["scores"]["block_influence"] == pytest.approx(influence, abs=1e-6)


@pytest.mark.parametrize("name", ["c.json", "c.JSONL", "c.txt.gz", "c.parquet", "c.ndjson"])
def test_what_is_not_plain_text_is_refused_as_calibration(world: World, name: str) -> None:
    file = world.folder / name
    file.write_text('{"text": "the cat sat on the mat"}\n' * 99)
    assert f"{name} is not plain text: give text, or one document per line" in world.message_by_hand(*WANDA, file)


def test_a_broken_line_of_the_calibration_text_is_named(world: World) -> None:
    file = world.folder / "c.jsonl"
    file.write_text('{"text": "the cat"}\n{"body": "the mat"}\n')
    assert "c.jsonl, line 2: no text under the key 'text'; the line's keys: body" in world.message_by_hand(*WANDA, file)


def test_windows_are_read_as_they_are(world: World) -> None:
    """The scores are those of the model on exactly these windows."""
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.array)
    from models import blockwise
    from pruning_vs_scratch.pruning.calibration import CalibrationStream
    from pruning_vs_scratch.pruning.facts import NoOptions
    from pruning_vs_scratch.pruning.methods.shortgpt import method as shortgpt

    windows = torch.from_numpy(np.load(world.array))
    stream = CalibrationStream(blockwise(load_model(world.model)), windows, 5, 1 << 30, world.folder, whole=True)
    expected = shortgpt.score(stream, [], NoOptions())["block_influence"].tolist()
    assert world.summary()["scores"]["block_influence"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64])
def test_windows_of_any_integers_are_read(world: World, dtype: type) -> None:
    np.save(world.array, (random_tokens(26) % 200).reshape(2, 13).astype(dtype))
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.array)
    assert world.summary()["tokens"] == 26


def test_fewer_windows_are_read_if_asked(world: World) -> None:
    words = ["shortgpt", "--ratio", 0.5, "--calibration", world.array]
    world.by_hand(*words, "--sequences", 2)
    assert world.summary()["tokens"] == 2 * (LENGTH + 1)
    by_two = world.summary()["scores"]
    world.by_hand(*words, "--sequences", 2, "--seed", 1)
    assert world.summary()["scores"] != by_two


def test_token_shards_of_a_study_are_read_too(world: World) -> None:
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.calibration, "--sequence-length", LENGTH)
    assert world.summary()["tokens"] == 7 * LENGTH


# What is written


def test_only_the_checkpoint_and_its_manifest_are_written(world: World) -> None:
    world.by_hand("wanda", "--ratio", 0.5, "--calibration", world.array)
    assert {file.name for file in world.out.parent.iterdir()} == {"run", "run.manifest.json"}
    manifest = read_manifest(world.out.with_name("run.manifest.json"))
    assert manifest["inputs"].keys() == {"model", "calibration/0"}
    assert manifest["options"]["ratio"] == 0.5
    for file in (world.out.with_name("run.manifest.json"), *world.out.glob("*.json")):
        for private in (USER, str(world.folder.parent), str(Path.home()), str(REPOSITORY)):
            assert private not in file.read_text(), file.name


def test_pruning_json_records_everything_that_was_done(world: World) -> None:
    world.by_hand("shortgpt", "--ratio", 0.5, "--calibration", world.array)
    summary = world.summary()
    assert summary.keys() == {
        "method", "options", "target", "parent", "kept", "dropped", "scores", "layers", "tokens", "seconds",
        "peak_memory_bytes", "peak_device_memory_bytes", "before",
    }  # fmt: skip
    assert sorted(summary["kept"]["blocks"] + summary["dropped"]["blocks"]) == [0, 1, 2, 3]
    assert summary["tokens"] == SEQUENCES * (LENGTH + 1)
    assert 0 < summary["seconds"] < 60
    assert 1e8 < summary["peak_memory_bytes"] < 1e11
    assert (summary["before"], summary["layers"]) == (None, {})


# One step after the other


def test_a_second_step_remembers_the_first_and_both_can_be_repeated(world: World) -> None:
    world.by_hand("shortgpt", "--ratio", 0.25, "--calibration", world.array)
    first, world.model = world.out, world.out
    world.out = world.folder / "models" / "second"
    world.by_hand("minitron_width", "--shape", "hidden_size=12", "ffn_size=12", "--calibration", world.array)
    second, world.model = world.out, world.out
    world.out = world.folder / "models" / "third"
    world.by_hand("magnitude", "--pattern", "2:4")
    third = world.summary()
    assert [third["method"], third["before"]["method"]] == ["magnitude", "minitron_width"]
    assert third["before"]["before"]["method"] == "shortgpt"
    assert "scores" not in third["before"]
    assert third["before"]["before"] == earlier_step(first)
    assert third["parent"] == third["before"]["target"]["shape"]
    kept = [Kept.from_dict(world.summary(folder)["kept"]) for folder in (first, second)]
    other = tiny_model(seed=7, vocab_size=VOCABULARY)
    expected = cut_model(cut_model(other, kept[0]), kept[1])
    assert same_tensors(weights_of(cut_like(other, world.out)), weights_of(expected))
    parent = load_model(world.folder / "parent")
    assert same_tensors(weights_of(cut_like(parent, second)), weights_of(load_model(second)))


def test_a_checkpoint_that_was_not_pruned_cannot_be_cut_like(world: World) -> None:
    assert earlier_step(world.model) is None
    with pytest.raises(UserError, match=r"holds no pruning\.json: it is not a pruned checkpoint"):
        cut_like(tiny_model(), world.model)


# What is refused

TEXT = ["--calibration", "TEXT"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wanda", "--ratio", 0.5], "wanda reads calibration text: give --calibration"),
        (["shortgpt", "--ratio", 0.5], "shortgpt reads calibration text: give --calibration"),
        (["magnitude"], "say how much to prune: --ratio, --pattern, --shape or --target"),
        (["shortgpt", *TEXT], "say how much to prune: --ratio, --pattern, --shape or --target"),
        (["magnitude", "--ratio", 0], "--ratio 0 must be between 0 and 1"),
        (["magnitude", "--ratio", 1], "--ratio 1 must be between 0 and 1"),
        (["magnitude", "--ratio", 1.5], "--ratio 1.5 must be between 0 and 1"),
        (["minitron_width", "--ratio", "nan", *TEXT], "--ratio nan must be between 0 and 1"),
        (["wanda", "--pattern", "2:4", "--ratio", 0.6, *TEXT], "--pattern 2:4 has ratio 0.5, not 0.6"),
        (["shortgpt", "--pattern", "2:4", *TEXT], "--pattern is for sparse methods; shortgpt is a depth method"),
        (["magnitude", "--shape", "layers=2"], "--shape is for depth and width methods; magnitude keeps the shape"),
        (["shortgpt", "--shape", "layers=9", *TEXT], "asks for layers = 9, but "),
        (["shortgpt", "--shape", "ffn_size=9", *TEXT], "asks for ffn_size = 9, but "),
        (["minitron_width", "--shape", "hidden_size=48", *TEXT], "asks for hidden_size = 48, but "),
        (["minitron_width", "--shape", "kv_heads=1", *TEXT], "asks for kv_heads = 1, but "),
        (["minitron_width", "--shape", "hidden_size=20", *TEXT], "20, which is not a multiple of the 6 heads"),
        (["minitron_width", "--shape", "heads=3", *TEXT], "3 heads, not a multiple of the 2 key-value heads"),
        (["shortgpt", "--shape", "layer=2", *TEXT], "--shape layer=2: did you mean 'layers'?"),
        (["shortgpt", "--shape", "layers=two", *TEXT], "--shape layers=two: give a whole number above 0"),
        (["shortgpt", "--shape", "layers=0", *TEXT], "--shape layers=0: give a whole number above 0"),
        (["shortgpt", "--ratio", 0.01, *TEXT], "--ratio 0.01 is too small for shortgpt to prune anything"),
        (["shortgpt", "--ratio", 0.95, *TEXT], "--ratio 0.95 leaves none of the 4 decoder blocks"),
        (["minitron_width", "--ratio", 0.99, *TEXT], "--ratio 0.99 leaves no width"),
        (["wanda", "--ratio", 0.5, *TEXT, "--sequences", 6], "--calibration needs 72 tokens of "),
        (["wanda", "--ratio", 0.5, "--calibration", "gone.txt"], "gone.txt does not exist"),
        (["wanda", "--ratio", 0.5, "--calibration", "gone.npy"], "gone.npy does not exist"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_in_one_line(world: World, words: list[Any], message: str) -> None:
    words = [world.array if word == "TEXT" else word for word in words]
    assert message in world.message_by_hand(*words)


def test_the_authors_importance_ranks_no_heads(world: World) -> None:
    words = ["--shape", "heads=4", "--options", '{"importance": "authors"}', "--calibration", world.array]
    assert "has 6, which minitron_width keeps with these options" in world.message_by_hand("minitron_width", *words)


WANDA = ("wanda", "--ratio", 0.5, "--calibration")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "holds float64 of shape (2, 3); token windows are integers of shape (n, length)"),
        (np.zeros(9, dtype=int), "holds int64 of shape (9,)"),
        (np.zeros((0, 9), dtype=int), "holds int64 of shape (0, 9)"),
        (np.zeros((9, 1), dtype=int), "holds int64 of shape (9, 1)"),
        (np.full((2, 3), VOCABULARY), "holds tokens 260 to 260, but the checkpoint knows 0 to 259"),
        (np.array([[3, -1]]), "holds tokens -1 to 3, but the checkpoint knows 0 to 259"),
        (np.array([[1, 2], [3, None]], dtype=object), "cannot read "),
    ],
    ids=["floats", "flat", "no windows", "one token", "too high", "negative", "pickle"],
)
def test_arrays_that_are_no_token_windows_are_refused(world: World, array: np.ndarray, message: str) -> None:
    np.save(world.array, array, allow_pickle=True)
    found = world.message_by_hand(*WANDA, world.array)
    assert message in found
    assert str(world.array) in found


def test_an_array_that_is_damaged_is_refused(world: World) -> None:
    world.array.write_bytes(world.array.read_bytes()[:-9])
    assert f"cannot read {world.array}" in world.message_by_hand(*WANDA, world.array)


def test_text_shorter_than_a_window_is_refused(world: World) -> None:
    world.text.write_text("the cat")
    message = world.message_by_hand(*WANDA, world.text)
    assert f"--calibration needs 64 tokens of {world.text}, which holds 0 in windows of 64: 64 are missing" in message


def test_an_empty_text_is_refused(world: World) -> None:
    world.text.write_text("")
    assert "64 are missing" in world.message_by_hand(*WANDA, world.text)


def test_a_file_that_is_no_text_is_refused(world: World) -> None:
    world.text.write_bytes(b"\xff\xfe\x00\xd8")
    assert f"cannot read {world.text} as text" in world.message_by_hand(*WANDA, world.text)


def test_text_needs_a_tokenizer(world: World) -> None:
    (world.model / "tokenizer.json").unlink()
    assert "no tokenizer in" in world.message_by_hand(*WANDA, world.text)
    world.by_hand(*WANDA, world.text, "--tokenizer", world.tokenizer)
    assert (world.out / "tokenizer.json").exists()


def test_text_that_becomes_tokens_outside_the_vocabulary_is_refused(world: World) -> None:
    """The tokenizer has more entries than the embedding."""
    world.save(tiny_model(vocab_size=100))
    message = world.message_by_hand(*WANDA, world.text, "--sequence-length", 8)
    assert "but the checkpoint knows 0 to 99" in message


def test_a_quantised_checkpoint_is_refused(world: World) -> None:
    world.change_config(quantization_config={"quant_method": "gptq", "bits": 4})
    assert "is quantised; prune the checkpoint that it was made of" in world.message_by_hand(
        "magnitude", "--ratio", 0.5
    )


@pytest.mark.parametrize(("architecture", "kind"), [("Phi3ForCausalLM", "phi3"), ("GPT2LMHeadModel", "gpt2")])
def test_another_architecture_is_refused_with_what_is_supported(world: World, architecture: str, kind: str) -> None:
    world.change_config(architectures=[architecture], model_type=kind)
    message = world.message_by_hand("magnitude", "--ratio", 0.5)
    assert f"is a {architecture}; supported: LlamaForCausalLM, " in message


def overflow(weights: dict[str, torch.Tensor]) -> None:
    for name in ("gate_proj", "up_proj"):
        weights[f"model.layers.2.mlp.{name}.weight"].fill_(1e30)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "shortgpt", "minitron_depth", "minitron_width"])
def test_activations_that_overflow_are_refused_with_the_block(world: World, method: str) -> None:
    world.change_weights(overflow)
    message = world.message_by_hand(method, "--ratio", 0.5, "--calibration", world.array)
    assert re.search(r"(decoder block 2 produced|layers\.2\..* hold) NaN or inf", message)


@pytest.mark.parametrize(
    "options", ['{"order": "sideways"}', '{"ordre": "dense"}'], ids=["no such value", "no such option"]
)
def test_options_that_there_are_not_are_refused(world: World, options: str) -> None:
    assert "--options" in world.message_by_hand(*WANDA, world.array, "--options", options)


@pytest.mark.parametrize(
    "words", [("--sequences", -1), ("--batch-size", 0), ("--sequence-length", -3), ("--threads", -1)], ids=str
)
def test_counts_below_one_are_refused_by_name(
    world: World, words: tuple[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    world.text.write_text("the cat sat on the mat " * 40)
    with pytest.raises((SystemExit, UserError)) as refusal:
        world.by_hand(*WANDA, world.text, *words)
    assert words[0] in f"{refusal.value}{capsys.readouterr().err}"
    assert not world.left_behind()


def test_scores_are_refused_by_a_method_that_has_none(world: World) -> None:
    """Wanda in its paper's order scores each block behind the pruned ones, so that scores cannot be used."""
    world.score(Case("wanda", 0.5, "unstructured", {"order": "dense"}))
    assert "--scores" in world.message_by_hand(*WANDA, world.array, "--scores", world.scores)
