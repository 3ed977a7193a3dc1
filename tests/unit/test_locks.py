"""A folder is held by one process at a time, and is free again however that process ends."""

import errno
import fcntl
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pruning_vs_scratch.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from pruning_vs_scratch.locks import exclusive

with exclusive(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))
    Path(sys.argv[1], "done").touch()
"""


@contextmanager
def holder(folder: Path, seconds: float) -> Iterator[subprocess.Popen]:
    """Another process that holds a folder for some seconds."""
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_held_folder_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "run"
    with holder(folder, seconds=0.5), exclusive(folder):
        assert (folder / "done").exists()
    assert "another process is working in" in caplog.text


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with holder(folder, seconds=60) as process:
        process.send_signal(signal.SIGKILL)
        with exclusive(folder):
            assert not (folder / "done").exists()


def test_a_folder_is_free_after_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(KeyError), exclusive(tmp_path / "run"):
        raise KeyError
    with exclusive(tmp_path / "run"):
        assert caplog.text == ""


def test_two_folders_are_held_side_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with holder(tmp_path / "one", seconds=60), exclusive(tmp_path / "two"):
        assert caplog.text == ""


def test_holding_a_folder_adds_nothing_to_it(tmp_path: Path) -> None:
    with exclusive(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir()) == []


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive(tmp_path / "run"):
        assert "has no locks: see that no two jobs work on the same run at once" in caplog.text
