"""The commands that guides and help show: every one is understood, and the short ones run."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from snakemake.cli import parse_args as parse_snakemake

from checkouts import checkout
from program import PVS, code_of
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import DEFAULT_STUDY
from pruning_vs_scratch.program.main import VERBS
from pruning_vs_scratch.program.main import program as parser_of

GUIDES = sorted(
    path for path in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("*/*.md")]
)  # fmt: skip
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\.venv/bin/)?(pvs|make|snakemake|python)(?= |$)(?!: )")
BY_MAKE = re.compile(r"^(?:\S+ )?\S*(?:/pvs|python -m pruning_vs_scratch) (.*)$", re.MULTILINE)
"""Calls of pvs among what make would run."""
LONG = {"run", "prune", "eval"}
OF_A_FINISHED_STUDY = {"recommend", "report", "archive", "verify", "rates", "export"}
ELSEWHERE = {"--cluster", "--profile"}
"""Options by which a command needs a cluster."""


def blocks() -> list[list[list[str]]]:
    """The commands of each block of a guide, and of the examples of each verb, as words."""
    texts = [block for guide in GUIDES for block in BLOCK.findall(guide.read_text(encoding="utf-8"))]
    texts += [import_module(f"pruning_vs_scratch.program.{verb}").EXAMPLES for verb in VERBS]
    found = [[words_of(line.strip()) for line in text.replace("\\\n", " ").splitlines()] for text in texts]
    return [commands for block in found if (commands := [words for words in block if words])]


def words_of(line: str) -> list[str]:
    """A command's words, the program without its folder; none if the line is something else. A remark is left out."""
    if not COMMAND.match(line):
        return []
    program, *others = shlex.split(re.split(r"   +|  #| # ", line)[0])
    return [Path(program).name, *others]


def calls_of(command: list[str], folder: Path) -> list[list[str]]:
    """The calls of pvs that a command amounts to."""
    program, *words = command
    if program == "make":
        planned = subprocess.run(["make", "-n", *words], cwd=folder, capture_output=True, text=True, check=False)
        assert planned.returncode == 0 or "archive not found" in planned.stderr, (command, planned.stderr)
        return [shlex.split(call) for call in BY_MAKE.findall(planned.stdout)]
    return [words] if program == "pvs" else []


def parsed(words: list[str]) -> argparse.Namespace | None:
    """The options of a call of pvs; none if it shows help."""
    try:
        return parser_of(words).parse_args(words)
    except SystemExit as end:
        assert end.code == 0, words
        return None


def is_short(words: list[str], folder: Path) -> bool:
    """Whether a call of pvs takes seconds, and what it names is in a folder in which no study was run."""
    options = parsed(words)
    if options is None:
        return True
    if options.verb in LONG | OF_A_FINISHED_STUDY or ELSEWHERE & set(words):
        return False
    if options.verb == "figures":
        return bool(options.archive) and all((folder / path).exists() for path in options.archive)
    named = getattr(options, "study", [])
    if options.verb == "compare":
        return all((folder / path).exists() for path in named)
    return all(name == DEFAULT_STUDY or (folder / f"config/{name}.yaml").exists() for name in named)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with this environment, in which no study was run."""
    folder = checkout(tmp_path / "checkout")
    for name in ("Makefile", "README.md", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("docs", "figures/reference"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for target in ("run.done", "dev.done"):
        (folder / ".venv" / target).touch()
    monkeypatch.chdir(folder)
    for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(variable, raising=False)
    return folder


def test_every_command_is_understood(folder: Path) -> None:
    commands = [command for block in blocks() for command in block]
    verbs = set()
    for command in commands:
        program, *words = command
        for call in calls_of(command, folder):
            options = parsed(call)
            verbs |= {options.verb} if options is not None else set()
        if program == "snakemake":
            parse_snakemake(words)
        if program == "python" and words[0].endswith(".py"):
            assert (folder / words[0]).exists(), command
    assert verbs == set(VERBS)
    assert {command[0] for command in commands} == {"pvs", "make", "snakemake", "python"}


@pytest.mark.slow
def test_the_short_commands_run(folder: Path) -> None:
    """Those of a block in their order: one may read what another wrote."""
    environment = os.environ | code_of(folder)
    ran: dict[str, list[str]] = {}
    stored = set((folder / "config").iterdir())
    for block in blocks():
        for command in block:
            if (run := short(command, folder)) is None or str(run[1]) in ran:
                continue
            done = subprocess.run(run[0], cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
            assert done.stdout + done.stderr
            ran[str(run[1])] = command
        for written in set((folder / "config").iterdir()) - stored:
            written.unlink()
    programs = [command[0] for command in ran.values()]
    assert len(programs) >= 12, ran
    assert set(programs) == {"pvs", "make", "snakemake"}
    assert {command[1] for command in ran.values() if command[0] == "pvs"} >= {"--help", "plan", "ladder", "status"}


def short(command: list[str], folder: Path) -> tuple[list[str], object] | None:
    """A command to run here, and what it does, by which repeated ones are known; None if it is not a short one."""
    program, *words = command
    if program == "snakemake":
        named = [Path(word) for word in words if word.endswith(".yaml")]
        if ELSEWHERE & set(words) or "--report" in words or not all(path.exists() for path in named):
            return None
        return [sys.executable, "-m", "snakemake", *words, *(["-n"] if "-n" not in words else [])], words
    calls = calls_of(command, folder)
    if not calls or not all(is_short(call, folder) for call in calls):
        return None
    does = [sorted(vars(options).items()) if (options := parsed(call)) else call for call in calls]
    return (["make", *words] if program == "make" else [*PVS, *words]), does
