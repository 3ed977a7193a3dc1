"""Whether there is text enough for a study is found out before anything is trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.reading import Reading
from pruning_vs_scratch.data.tokens import write_tokens

LENGTH, WINDOWS = 9, 20


def check(folder: Path, *options: str, passes: int, parent: int, sequences: int) -> subprocess.CompletedProcess[str]:
    """Run check_text.py on a text of 20 windows of nine tokens."""
    document = list(range(WINDOWS * (LENGTH + 1)))
    write_tokens(folder / "train", [document], vocab_size=300, shard_tokens=1000, tokenizer_sha256="x")
    reading = Reading(passes=passes, parent_sequences=parent)
    command = [
        sys.executable, "workflow/scripts/check_text.py", f"--tokens={folder}",
        f"--needs={json.dumps({'train': [[sequences, LENGTH]]})}", f"--reading={reading.model_dump_json()}",
        f"--manifest={folder / 'm.json'}",
    ]  # fmt: skip
    return subprocess.run([*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_text_that_suffices_in_its_passes_is_accepted(tmp_path: Path) -> None:
    done = check(tmp_path, passes=3, parent=30, sequences=60)
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "m.json")["facts"]["tokens"]["train"] == WINDOWS * (LENGTH + 1)


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        (1, "needs 540 tokens of"),
        (2, "needs 270 tokens of different text, read 2 times, of"),
    ],
)
def test_too_little_text_names_the_passes_that_would_suffice(tmp_path: Path, passes: int, words: str) -> None:
    done = check(tmp_path, passes=passes, parent=30, sequences=60)
    assert done.returncode == 1
    assert words in done.stderr
    assert "which holds 180 in windows of 9" in done.stderr
    assert "or set corpus.passes to 3, so that text is read up to 3 times" in done.stderr
    assert "Traceback" not in done.stderr


def test_text_in_parts_is_asked_for_by_its_files(tmp_path: Path) -> None:
    done = check(tmp_path, "--in-parts", passes=1, parent=30, sequences=60)
    assert done.returncode == 1
    assert "lower tokens_per_file" in done.stderr
