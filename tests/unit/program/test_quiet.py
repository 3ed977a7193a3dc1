"""--quiet: errors, warnings and the result, but no progress, neither bars nor lines."""

import os
import pty
import subprocess
import termios
from pathlib import Path

import pytest

from checkouts import checkout
from evaluation_world import write_checkpoint
from mini_benchmarks import BENCHMARKS, write_prepared
from program import PVS, code_of, pvs
from pruning_vs_scratch.artifacts import manifest_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.hub import freeze
from pruning_vs_scratch.manifest import ManifestWriter

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, a text and a task's frozen data set."""
    write_checkpoint(tmp_path)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "home/datasets")
    write_prepared("piqa", tmp_path / "home")
    facts = freeze(BENCHMARKS["piqa"].dataset, tmp_path / "piqa")
    writer = ManifestWriter("freeze_dataset", {})
    writer.write(manifest_of(tmp_path / "piqa"), {"dataset": tmp_path / "piqa"}, facts)
    return tmp_path


def shown_in_a_terminal(*words: str | Path) -> str:
    """What a call of pvs shows on standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = os.environ | code_of(REPOSITORY)
    with os.fdopen(ours, "rb", buffering=0) as screen:
        called = subprocess.run(
            [*PVS, *map(str, words)], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.close(theirs)
        assert called.returncode == 0
        shown = b""
        while block := _read(screen.fileno()):
            shown += block
    return shown.decode()


def _read(screen: int) -> bytes:
    """The next bytes of a terminal; none at its end, which Linux reports as an error."""
    try:
        return os.read(screen, 4096)
    except OSError:
        return b""


def test_pruning_shows_a_bar_unless_it_is_quiet(world: Path) -> None:
    words = ["prune", "--model", world / "model-0", "--method", "wanda", "--ratio", "0.5", "--calibration",
             world / "text.txt", "--sequence-length", "16", "--sequences", "4", "--threads", "1"]  # fmt: skip
    loud = shown_in_a_terminal(*words, "--out", world / "loud")
    assert "2/2" in loud and "pruned by wanda" in loud
    assert shown_in_a_terminal(*words, "--quiet", "--out", world / "quiet") == ""
    again = pvs(REPOSITORY, *words, "--quiet", "--out", world / "quiet")
    assert (again.stdout, again.stderr) == (f"pruned checkpoint: {world / 'quiet'}\n", "")


def test_scoring_shows_no_progress_of_libraries_if_it_is_quiet(world: Path) -> None:
    words = ["eval", world / "model-0", "--task", f"piqa={world / 'piqa'}", "--threads", "1"]
    loud = pvs(REPOSITORY, *words, "--out", world / "loud")
    assert "Building contexts" in loud.stderr and "it/s" in loud.stderr
    assert "pretrained" not in loud.stderr
    quiet = pvs(REPOSITORY, *words, "--quiet", "--out", world / "quiet")
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout.replace(str(world / "loud"), str(world / "quiet"))


def test_a_quiet_run_tells_of_its_failure_alone(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    (folder / "Snakefile").write_text("rule all:\n    input: 'nothing'\n")
    loud, quiet = (pvs(folder, "run", "smoke", "--cores", "1", *more) for more in ([], ["--quiet"]))
    assert loud.returncode == quiet.returncode == 1
    assert loud.stdout.startswith("study smoke: ")
    assert quiet.stdout == ""
    assert "MissingInputException" in quiet.stderr and "the workflow stopped" in quiet.stderr


@pytest.mark.parametrize("verb", ["run", "prune", "eval"])
def test_help_names_the_option(verb: str) -> None:
    assert "--quiet" in pvs(REPOSITORY, verb, "--help").stdout
