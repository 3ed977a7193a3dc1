"""Checkpoints are read and written tensor by tensor, and what is wrong with them is named."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from models import VARIANTS, blockwise, held, logits_of, same_tensors, tiny_model, weights_of
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import weight_shapes
from pruning_vs_scratch.models.tensors import INDEX_FILE, SINGLE_FILE, CheckpointTensors, CheckpointWriter, HeldTensors

CPU = torch.device("cpu")
both_ways = pytest.mark.parametrize("low_memory", [False, True], ids=["in memory", "low memory"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def saved(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return folder


# Blocks


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_names_of_a_checkpoint_are_known_from_its_configuration(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    blocks = {f"model.layers.{i}.{name}" for i in range(4) for name in weight_shapes(model.config)[1]}
    assert blocks | {*weight_shapes(model.config)[0]} == held(model).names


@both_ways
@pytest.mark.parametrize("max_shard_size", ["20KB", "5GB"])
@pytest.mark.parametrize("variant", ["tied", "biased"])
def test_blocks_are_handed_out_with_the_stored_weights(
    variant: str, max_shard_size: str, low_memory: bool, tmp_path: Path
) -> None:
    model = tiny_model(**VARIANTS[variant])
    found = BlockwiseModel.open(
        saved(model, tmp_path / "model", max_shard_size=max_shard_size), CPU, low_memory=low_memory
    )
    blocks = list(found.blocks("test"))
    assert len(blocks) == 4
    for index, (block, expected) in enumerate(zip(blocks, model.model.layers, strict=True)):
        assert same_tensors(weights_of(block), weights_of(expected))
        assert same_tensors(found.block_tensors(index), weights_of(expected))
        assert block.self_attn.layer_idx == index
        assert not any(parameter.requires_grad for parameter in block.parameters())
    assert same_tensors(found.outside, {name: weights_of(model)[name] for name in weight_shapes(model.config)[0]})


@both_ways
def test_changing_a_block_changes_neither_the_model_nor_the_next_block(low_memory: bool, tmp_path: Path) -> None:
    model = BlockwiseModel.open(saved(tiny_model(), tmp_path / "model"), CPU, low_memory=low_memory)
    block, before = model.block(1), weights_of(model.block(1))
    for parameter in block.parameters():
        parameter.zero_()
    assert same_tensors(weights_of(model.block(1)), before)
    assert same_tensors(model.block_tensors(1), before)


def test_in_low_memory_a_block_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, names = saved(tiny_model(), tmp_path / "model"), []
    read = CheckpointTensors.read

    def remembered(self: CheckpointTensors, wanted: Any) -> Any:
        names.append(sorted(wanted))
        return read(self, names[-1])

    monkeypatch.setattr(CheckpointTensors, "read", remembered)
    model = BlockwiseModel.open(folder, CPU, low_memory=True)
    assert names == [["model.embed_tokens.weight", "model.norm.weight"]]
    model.block(2)
    assert len(names) == 2
    assert all(name.startswith("model.layers.2.") for name in names[1])


@pytest.mark.parametrize("variant", ["tied", "untied", "mistral"])
def test_the_skeleton_puts_embedding_and_logits_around_the_blocks(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    parts, tokens = blockwise(model), torch.arange(20)[None]
    hidden, keywords = parts.skeleton.first_inputs(tokens)
    for kind, block in zip(parts.skeleton.layer_types, parts.blocks("test"), strict=True):
        with torch.no_grad():
            hidden = block(hidden, **keywords[kind])
    assert torch.equal(parts.skeleton.logits(hidden), logits_of(model, tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_stored_dtype_is_the_checkpoints(dtype: torch.dtype) -> None:
    model = blockwise(tiny_model().to(dtype))
    assert set(model.stored_dtypes.values()) == {dtype}
    assert {tensor.dtype for tensor in model.block_tensors(0).values()} == {dtype}


# What is wrong with a checkpoint


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.3.mlp.up_proj.weight"])
def test_a_missing_weight_is_named(name: str) -> None:
    model = tiny_model()
    tensors = held(model).read(held(model).names - {name})
    with pytest.raises(UserError, match=f"the model lacks 1 weights, first {name}; fetch it again"):
        BlockwiseModel(model.config, HeldTensors(tensors), CPU)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = saved(tiny_model(), tmp_path / "model", max_shard_size="20KB")
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(UserError, match=rf"weights of the checkpoint .* are damaged \({shard.name}: .*fetch it again"):
        list(BlockwiseModel.open(folder, CPU, low_memory=True).blocks("test"))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = saved(tiny_model(), tmp_path / "model", max_shard_size="20KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"lacks shards: {shard.name}"):
        BlockwiseModel.open(folder, CPU)


def test_a_shard_that_lacks_a_tensor_of_the_index_is_an_error(tmp_path: Path) -> None:
    folder = saved(tiny_model(), tmp_path / "model", max_shard_size="20KB")
    index = json.loads((folder / INDEX_FILE).read_text())
    name = "model.layers.1.mlp.up_proj.weight"
    shard = folder / index["weight_map"][name]
    save_file({n: t for n, t in load_file(shard).items() if n != name} or {"x": torch.ones(1)}, shard)
    with pytest.raises(UserError, match=rf"damaged \({shard.name}: "):
        BlockwiseModel.open(folder, CPU)


def test_a_quantised_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = saved(tiny_model(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(UserError, match="is quantised; prune the checkpoint that it was made of"):
        BlockwiseModel.open(folder, CPU)


# Checkpoints that can be read in two ways

readers = pytest.mark.parametrize(
    "read",
    [load_model, partial(BlockwiseModel.open, device=CPU), partial(BlockwiseModel.open, device=CPU, low_memory=True)],
    ids=["whole", "in memory", "low memory"],
)


def rewritten(folder: Path, change: Any, file: str = SINGLE_FILE) -> Path:
    """A checkpoint whose weights are changed; ``change`` takes them by name."""
    weights = load_file(folder / SINGLE_FILE)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})
    return folder


@readers
def test_a_tied_checkpoint_with_a_separate_output_is_refused(read: Any, tmp_path: Path) -> None:
    folder = saved(tiny_model(tie_embeddings=False), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"tie_word_embeddings": True})
    with pytest.raises(
        UserError, match=r"tie_word_embeddings: true, but lm_head\.weight differs .*: say false to keep"
    ):
        read(folder)
    rewritten(folder, lambda weights: weights.pop("model.embed_tokens.weight"))
    with pytest.raises(UserError, match=r"lacks 1 weights, first model\.embed_tokens\.weight"):
        read(folder)


@readers
def test_a_tied_checkpoint_may_hold_its_embedding_twice(read: Any, tmp_path: Path) -> None:
    name, folder = "model.embed_tokens.weight", saved(tiny_model(), tmp_path / "model")
    rewritten(folder, lambda weights: weights.update({"lm_head.weight": weights[name].clone()}))
    read(folder)
    model: Any = load_model(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@readers
def test_a_shard_that_no_index_names_is_not_read(read: Any, tmp_path: Path) -> None:
    model = tiny_model()
    folder = saved(model, tmp_path / "model", max_shard_size="20KB")
    name = "model.norm.weight"
    save_file({name: model.state_dict()[name] * 1.5}, folder / "model-00009-of-00009.safetensors")
    assert torch.equal(norm_of(read(folder)), model.model.norm.weight)


@readers
def test_an_untied_checkpoint_without_an_output_is_refused(read: Any, tmp_path: Path) -> None:
    folder = saved(tiny_model(tie_embeddings=False), tmp_path / "model")
    rewritten(folder, lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(UserError, match=r"lacks 1 weights, first lm_head\.weight"):
        read(folder)


def norm_of(model: Any) -> torch.Tensor:
    """The final norm of what any reader returns."""
    return model.outside["model.norm.weight"] if isinstance(model, BlockwiseModel) else model.model.norm.weight


@readers
@pytest.mark.parametrize("stale", ["other weights", "no weights", "a damaged index"])
def test_the_single_file_is_read_and_not_the_index_next_to_it(
    stale: str, read: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model()
    folder, old = saved(model, tmp_path / "model"), "model-00001-of-00001.safetensors"
    write_json(folder / INDEX_FILE, {"weight_map": dict.fromkeys(load_file(folder / SINGLE_FILE), old)})
    if stale == "other weights":
        rewritten(folder, lambda weights: [weight.mul_(1.5) for weight in weights.values()], old)
    if stale == "a damaged index":
        (folder / INDEX_FILE).write_text("{")
    assert torch.equal(norm_of(read(folder)), model.model.norm.weight)
    assert f"{SINGLE_FILE} is read, as transformers does, and {INDEX_FILE} is not" in caplog.text


@readers
@pytest.mark.parametrize(("dtype", "named"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_weights_that_need_a_scale_are_refused(dtype: torch.dtype, named: str, read: Any, tmp_path: Path) -> None:
    name, folder = "model.layers.1.mlp.up_proj.weight", saved(tiny_model(), tmp_path / "model")
    rewritten(folder, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(
        UserError, match=rf"{name} of the checkpoint .* is stored as ({named}|{dtype}), not as one of F64"
    ):
        read(folder)


def test_of_several_dtypes_the_arithmetic_is_the_one_that_holds_all(tmp_path: Path) -> None:
    folder = saved(tiny_model().to(torch.bfloat16), tmp_path / "model")
    rewritten(folder, lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"].half()}))
    model = BlockwiseModel.open(folder, CPU)
    assert model.skeleton.dtype == torch.float32
    assert {dtype for name, dtype in model.stored_dtypes.items() if name != "model.norm.weight"} == {torch.bfloat16}
    assert model.stored_dtypes["model.norm.weight"] == model.outside["model.norm.weight"].dtype == torch.float16


# Files of tensors


def test_tensors_read_from_a_checkpoint_are_copies(tmp_path: Path) -> None:
    source = CheckpointTensors(saved(tiny_model(), tmp_path / "model"))
    first = source.read(["model.norm.weight"])
    first["model.norm.weight"].zero_()
    assert source.read(["model.norm.weight"])["model.norm.weight"].all()


def written(tensors: dict[str, torch.Tensor], folder: Path, **options: Any) -> list[str]:
    """Names of the files of a written checkpoint."""
    folder.mkdir(exist_ok=True)
    writer = CheckpointWriter(folder, **options)
    for name, tensor in tensors.items():
        writer.add({name: tensor})
    writer.close()
    return sorted(file.name for file in folder.iterdir())


def test_a_small_checkpoint_is_one_file(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
    assert written(tensors, tmp_path) == [SINGLE_FILE]
    assert same_tensors(load_file(tmp_path / SINGLE_FILE), tensors)


@pytest.mark.parametrize(
    ("shard_bytes", "shards"), [(40, ["abc", "d", "e"]), (39, ["ab", "c", "d", "e"]), (200, ["abcde"])]
)
def test_a_file_takes_as_many_tensors_as_fit_and_a_large_one_has_its_own(
    shard_bytes: int, shards: list[str], tmp_path: Path
) -> None:
    sizes = {"a": 2, "b": 5, "c": 3, "d": 30, "e": 1}
    tensors = {name: torch.full((size,), float(size)) for name, size in sizes.items()}
    files = written(tensors, tmp_path, shard_bytes=shard_bytes)
    if len(shards) == 1:
        assert files == [SINGLE_FILE]
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    assert files == [*names, INDEX_FILE]
    assert ["".join(sorted(load_file(tmp_path / name))) for name in names] == shards
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    assert index["metadata"]["total_size"] == 4 * 41
    assert index["weight_map"] == {t: name for name, shard in zip(names, shards, strict=True) for t in shard}
    assert same_tensors(CheckpointTensors(tmp_path).read(sizes), tensors)


@pytest.mark.parametrize("variant", VARIANTS)
def test_transformers_loads_what_was_written_in_shards(variant: str, tmp_path: Path) -> None:
    model = tiny_model(**VARIANTS[variant])
    files = written(held(model).read(held(model).names), tmp_path, shard_bytes=10_000)
    assert len(files) > 4
    model.config.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    assert same_tensors(weights_of(loaded), weights_of(model))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert CheckpointTensors(tmp_path).names == held(model).names


def test_full_files_are_written_before_the_end(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, shard_bytes=8)
    for name in "abc":
        writer.add({name: torch.ones(2)})
    assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.glob("model*"))


def test_a_transposed_tensor_is_written_in_its_own_order(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3).T
    written({"t": tensor}, tmp_path)
    assert torch.equal(load_file(tmp_path / SINGLE_FILE)["t"], tensor)
