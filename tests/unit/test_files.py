"""Files are whole or absent; a failed write leaves the old content, no debris, and one clear message."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pruning_vs_scratch import cli, locks
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import (
    atomic_directory,
    atomic_file,
    read_json,
    sha256_of_path,
    sha256_of_value,
    weight_bytes,
    write_json,
    write_text,
)

START = """
import resource, sys
from pathlib import Path
from pruning_vs_scratch import cli

sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
"""
SAVE_MODELS = """
import torch
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.models.decoder import random_model
from pruning_vs_scratch.study import ModelShape
from pruning_vs_scratch.training.resume import TrainState, save_state, state_tensors
from pruning_vs_scratch.training.world import World

WORLD = World(torch.device("cpu"))
model = random_model(ModelShape(300, 2, 16, 24, 2, 1, 8, True, 1e4, 1e-5), 16, 0)
optimizer = torch.optim.AdamW(model.parameters())
model(input_ids=torch.arange(8)[None]).logits.sum().backward()
optimizer.step()

def save_a_checkpoint():
    with atomic_directory(Path("model")) as folder:
        save_model(model, folder, Path("tokenizer"))

try:
    cli.run(lambda: save_state(Path("state"), TrainState(step=2), state_tensors(model, optimizer), WORLD, spec="x"))
except SystemExit as end:
    sys.stderr.write(f"{end}\\n")
cli.run(save_a_checkpoint)
"""
APPEND_METRICS = """
def append():
    with open("metrics.jsonl", "a") as stream:
        stream.write("0" * 10000)

cli.run(append)
"""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())


def filled(folder: Path, **texts: str) -> Path:
    with atomic_directory(folder) as temporary:
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
    return folder


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_text(tmp_path / "deep" / "a.txt", text)
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "new"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyError
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_written_folder_replaces_the_old_one(tmp_path: Path) -> None:
    filled(tmp_path / "out", a="1", b="2")
    filled(tmp_path / "out", c="3")
    assert names(tmp_path / "out") == ["c"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("other", ["llama-3.2", "llama-3.12345678", "llama-33", "x.llama-3"])
def test_a_folder_that_is_being_written_under_a_like_name_stays(other: str, tmp_path: Path) -> None:
    with atomic_directory(tmp_path / other) as slow:
        (slow / "shard-0.partial").write_text("hours of work")
        with atomic_directory(tmp_path / "llama-3") as quick:
            (quick / "config.json").write_text("{}")
        assert (slow / "shard-0.partial").read_text() == "hours of work"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([other, "llama-3"])


@pytest.mark.parametrize("name", ["llama-3", "a[b]*?"])
def test_what_a_killed_process_left_of_a_folder_is_removed(name: str, tmp_path: Path) -> None:
    left = tmp_path / f".{name}.ab_c0x9z.tmp"
    others = [tmp_path / f".{name}.2.ab_c0x9z.tmp", tmp_path / ".ab.ab_c0x9z.tmp"]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "shard-0.partial").write_text("x")
    (tmp_path / f".{name}.lock").touch()
    with atomic_directory(tmp_path / name):
        assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / name])


WRITE = """
import sys, time
from pathlib import Path
from pruning_vs_scratch.files import atomic_directory

with atomic_directory(Path(sys.argv[1])) as folder:
    (folder / "a").write_text("first")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def writer(folder: Path, seconds: float) -> Iterator[subprocess.Popen]:
    """Another process that writes a folder for some seconds."""
    command = [sys.executable, "-c", WRITE, str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_writer_of_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SECONDS_TO_WAIT_FOR_A_WRITER", 0.3)
    with writer(tmp_path / "out", 60):
        with pytest.raises(UserError, match=r"another process is writing .*out: wait for it to end or stop it"):
            atomic_directory(tmp_path / "out").__enter__()
        [temporary] = tmp_path.glob(".out.*.tmp")
        assert (temporary / "a").read_text() == "first"


def test_a_second_writer_does_not_replace_what_the_first_wrote_meanwhile(tmp_path: Path) -> None:
    with writer(tmp_path / "out", 0.5):
        with pytest.raises(UserError, match=r"another process has written .*out meanwhile"):
            atomic_directory(tmp_path / "out").__enter__()
        assert (tmp_path / "out/a").read_text() == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_writer_that_is_killed_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    with writer(tmp_path / "out", 60) as process:
        process.kill()
        with atomic_directory(tmp_path / "out") as folder:
            (folder / "a").write_text("second")
    assert (tmp_path / "out/a").read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path / "out", a="old")
    with pytest.raises(KeyError), atomic_directory(tmp_path / "out") as temporary:
        (temporary / "a").write_text("half", encoding="utf-8")
        raise KeyError
    assert (tmp_path / "out" / "a").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("write", [atomic_file, atomic_directory])
def test_an_error_of_the_system_becomes_one_message(write: Callable, tmp_path: Path) -> None:
    message = r"cannot write .*out: No space left on device. [\d,]+ MiB are free there"
    with pytest.raises(UserError, match=message), write(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [atomic_file, atomic_directory])
def test_a_place_where_no_folder_can_be_made_is_named(write: Callable, tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    message = r"cannot write .*file/sub/out: Not a directory"
    with pytest.raises(UserError, match=message), write(tmp_path / "file" / "sub" / "out"):
        pass


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_permissions_follow_the_umask(mask: int, file_mode: int, folder_mode: int, tmp_path: Path) -> None:
    with umask(mask):
        write_text(tmp_path / "a.txt", "")
        filled(tmp_path / "out")
        assert os.umask(mask) == mask
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == file_mode
    assert (tmp_path / "out").stat().st_mode & 0o777 == folder_mode


def on_a_full_disk(code: str, folder: Path) -> list[str]:
    """The messages of a program that may write files of 8,000 bytes at most."""
    command = [sys.executable, "-c", START + code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    return result.stderr.splitlines()


@pytest.mark.slow
def test_a_full_disk_gives_one_message_and_no_half_written_checkpoint(tmp_path: Path) -> None:
    state, model = on_a_full_disk(SAVE_MODELS, tmp_path)
    assert state.startswith("error: cannot write state/step-00000002: ")
    assert model.startswith("error: cannot write model: ")
    assert all("File too large" in line and "free some space" in line for line in (state, model))
    assert names(tmp_path) == ["state"]
    assert names(tmp_path / "state") == []


def test_a_full_disk_gives_one_message_for_a_file_that_grows(tmp_path: Path) -> None:
    assert on_a_full_disk(APPEND_METRICS, tmp_path) == ["error: File too large: free some space, then run again"]


def test_a_hash_of_a_folder_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    one, same = filled(tmp_path / "one", a="1", b="2"), filled(tmp_path / "same", b="2", a="1")
    os.utime(same / "a", (0, 0))
    assert sha256_of_path(one) == sha256_of_path(same)
    others = [filled(tmp_path / "content", a="1", b="3"), filled(tmp_path / "name", a="1", c="2")]
    assert len({sha256_of_path(folder) for folder in (one, *others)}) == 3


def test_a_hash_reaches_into_subfolders(tmp_path: Path) -> None:
    before = sha256_of_path(filled(tmp_path / "out", a="1"))
    write_text(tmp_path / "out" / "deep" / "b", "")
    assert sha256_of_path(tmp_path / "out") != before


def test_a_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_path(tmp_path / "a") == expected


def test_what_does_not_exist_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent is missing: run the step that writes it"):
        sha256_of_path(tmp_path / "absent")


def test_a_hash_of_a_value_does_not_depend_on_the_order_of_its_keys() -> None:
    assert sha256_of_value({"a": 1, "b": [1, 2]}) == sha256_of_value({"b": [1, 2], "a": 1})
    assert sha256_of_value({"a": 1, "b": [1, 2]}) != sha256_of_value({"a": 1, "b": [2, 1]})


def test_json_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"b": [1, None, "é"]}
    write_text(tmp_path / "a.json", "{")
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_the_weights_of_a_checkpoint_are_its_shards_without_its_mask(tmp_path: Path) -> None:
    for name, size in (("model-00001-of-00002", 24), ("model-00002-of-00002", 20), ("mask", 7)):
        (tmp_path / f"{name}.safetensors").write_bytes(bytes(size))
    assert weight_bytes(tmp_path) == 44


def test_a_user_error_ends_the_program_with_its_message() -> None:
    def fail() -> None:
        raise UserError("set training.threads")

    with pytest.raises(SystemExit, match=r"error: set training.threads"):
        cli.run(fail)


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "gone")

    with pytest.raises(FileNotFoundError):
        cli.run(fail)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_of_a_folder_have_the_mode_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_directory(tmp_path / "model") as temporary:
            save_file({"weight": np.zeros(2)}, temporary / "model.safetensors")
            os.link(temporary / "model.safetensors", tmp_path / "linked")
            save_file({"weight": np.zeros(2)}, temporary / "other.safetensors")
            linked = (tmp_path / "linked").stat().st_mode
    finally:
        os.umask(before)
    assert (tmp_path / "model/other.safetensors").stat().st_mode & 0o777 == mode
    assert (tmp_path / "linked").stat().st_mode == linked
