"""The program pvs: help, examples, completion, how a study is named, and scoring of checkpoints by hand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation_world import plain_loss, write_checkpoint
from program import pvs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.program.main import VERBS
from pruning_vs_scratch.program.studies import finished, study_of

HEAVY = ("torch", "transformers", "snakemake", "lm_eval")


def test_help_names_every_verb_and_each_verb_has_examples() -> None:
    general = pvs(REPOSITORY, "--help").stdout
    assert all(re.search(rf"^    {verb} ", general, re.MULTILINE) for verb in VERBS)
    assert pvs(REPOSITORY).stdout == general
    for verb in VERBS:
        assert f"examples:\n  pvs {verb}" in pvs(REPOSITORY, verb, "--help").stdout


def test_help_waits_for_no_large_library() -> None:
    code = f"""
import sys
sys.argv = ["pvs", "--print-completion", "bash"]
from pruning_vs_scratch.program.main import main
try:
    main()
except SystemExit:
    print(sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert f"({' '.join(VERBS)})" in done.stdout
    assert " --train-parent)" in done.stdout


@pytest.mark.parametrize(
    ("names", "files"),
    [
        ([], ["config.yaml"]),
        (["demo"], ["config.yaml"]),
        (["config/config.yaml"], ["config.yaml"]),
        (["smoke"], ["config.yaml", "smoke.yaml"]),
        (["config/smoke.yaml"], ["config.yaml", "smoke.yaml"]),
        (["paper", "config/paper-meta.yaml"], ["config.yaml", "paper.yaml", "paper-meta.yaml"]),
    ],
)
def test_a_study_is_named_by_name_or_file(names: list[str], files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert [file.name for file in study_files(names)] == files
    assert study_of(names).config == load_config([Path("config") / file for file in files])


def test_a_study_that_is_not_there_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError, match=r"no study 'smok': .*did you mean 'smoke'\? There are: demo, "):
        study_of(["smok"])


def test_results_are_found_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results/mine").mkdir(parents=True)
    (tmp_path / "results/mine/results.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert finished(["mine"], "results.csv").results == Path("results/mine")


def test_a_reader_that_stops_reading_ends_the_program_quietly() -> None:
    words = shlex.join([sys.executable, "-m", "pruning_vs_scratch", "status", "smoke"])
    done = subprocess.run(f"{words} | true", shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_console_script_is_the_package() -> None:
    script = Path(sys.executable).with_name("pvs")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == pvs(REPOSITORY, "--help").stdout


# Scoring by hand


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints with one tokenizer, and a text."""
    pair = write_checkpoint(tmp_path / "one", 0), write_checkpoint(tmp_path / "two", 1)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return pair


def test_the_loss_on_a_text_is_that_of_its_windows(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    from pruning_vs_scratch.data.tokenizer import SEPARATOR, load_tokenizer
    from pruning_vs_scratch.models.checkpoint import load_model

    done = pvs(
        REPOSITORY, "eval", *checkpoints, "--text", tmp_path / "text.txt", "--sequence-length", "16",
        "--out", tmp_path / "scores", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokenizer = load_tokenizer(checkpoints[0])
    text = tokenizer.encode((tmp_path / "text.txt").read_text()).ids
    tokens = [tokenizer.token_to_id(SEPARATOR), *text]
    windows = [tokens[start : start + 17] for start in range(0, len(tokens) - 16, 17)]
    for folder in checkpoints:
        model = load_model(folder)
        expected = np.mean([plain_loss(model, window, 16) for window in windows])
        shown = re.search(rf"^{folder.name} +(\S+)$", done.stdout, re.MULTILINE)
        assert shown is not None, done.stdout
        assert float(shown[1]) == pytest.approx(expected, abs=1e-3)
    assert {file.name for file in (tmp_path / "scores").iterdir()} == {"losses.parquet", "items.parquet"}
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_other_files_is_not_replaced(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    taken = pvs(REPOSITORY, "eval", checkpoints[0], "--text", text, "--out", tmp_path / "mine")
    assert taken.stderr == "error: --out mine exists and is not an evaluation; choose another folder, or delete it\n"
    around = pvs(REPOSITORY, "eval", checkpoints[0], "--text", text, "--out", tmp_path)
    assert "which this command reads; choose another folder" in around.stderr
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert text.exists()


def test_nothing_to_score_on_and_other_tokenizers_are_refused(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    nothing = pvs(REPOSITORY, "eval", checkpoints[0], "--out", tmp_path / "scores")
    assert nothing.stderr == "error: say what to score on: --text, --task, or both\n"
    (checkpoints[1] / "tokenizer.json").write_bytes((checkpoints[1] / "tokenizer.json").read_bytes() + b" ")
    other = pvs(REPOSITORY, "eval", *checkpoints, "--text", tmp_path / "text.txt", "--out", tmp_path / "scores")
    assert other.returncode == 1
    assert "have different tokenizers: score them in separate calls" in other.stderr
    assert not (tmp_path / "scores").exists()
