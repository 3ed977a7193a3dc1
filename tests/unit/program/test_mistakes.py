"""Mistakes on the command line: each message says what is wrong, where, and what to do."""

import os
import shutil
from pathlib import Path

import pytest

from program import pvs
from pruning_vs_scratch.cli import REPOSITORY

STUDIES = "There are: demo, demo-gemma3, "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project in which no study was run, with files that are no studies."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/scripts").symlink_to(REPOSITORY / "workflow/scripts")
    archives = tmp_path / "figures/reference"
    archives.mkdir(parents=True)
    shutil.copy(REPOSITORY / "figures/reference/demo.tar.zst", archives)
    for name, text in {
        "empty": "",
        "list": "- a\n",
        "text": "mine\n",
        "open": "study: x\nmatrix: [a\n",
        "away": AWAY,
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


MISTAKES: dict[str, str] = {
    # Studies
    "check smok": f"no study 'smok': there is no config/smok.yaml; did you mean 'smoke'? {STUDIES}",
    "check smoke.yaml": f"no configuration file smoke.yaml; did you mean 'smoke'? {STUDIES}",
    "check nothing.yaml": "no configuration file nothing.yaml; there are: demo, demo-gemma3, ",
    "check config": "'config' is a folder; name a study, or its YAML file, such as config/mini.yaml; there are: demo, ",
    "recommend results/demo --tokens 2M --ratio 0.5": f"no study 'results/demo': {{}}did you mean 'demo'? {STUDIES}",
    "check smoke config/smoke.yaml": "study 'smoke' is named 2 times; name it once\n",
    "check demo demo": "study 'demo' is named 2 times; name it once\n",
    "check empty.yaml": "empty.yaml must hold keys and values, such as study: mine, but it is empty\n",
    "check list.yaml": "list.yaml must hold keys and values, such as study: mine, but it holds a list\n",
    "check text.yaml": "text.yaml must hold keys and values, such as study: mine, but it holds 'mine'\n",
    "check open.yaml": "open.yaml, line 3, column 1: not valid YAML: while parsing a flow sequence begun on line 2, ",
    # Studies that were not run
    "recommend --tokens 2M --ratio 0.5": "study demo is not finished: results/demo/tables/gaps.csv is missing; "
    "run 'pvs run demo' first\n",
    "export smoke --run x --out y": "study smoke is not finished: results/smoke/results.csv is missing; "
    "run 'pvs run smoke' first\n",
    "rates smoke": "results/smoke/ledger.csv is missing; run 'pvs run smoke' first\n",
    "export paper paper-meta --run x --out y": "results.csv is missing; run 'pvs run paper paper-meta' first\n",
    "verify smoke": "results/smoke/results.csv is missing; run 'pvs run smoke' first\n",
    "report smoke": "results/smoke/claims.json is missing; run 'pvs run smoke' first\n",
    "archive smoke": "results/smoke/claims.json is missing; run 'pvs run smoke' first\n",
    # Archives
    "compare nothing": "archive not found: nothing; name a study, its folder, or a file that pvs archive wrote; "
    "there are: figures/reference/demo.tar.zst\n",
    "compare old/demo": "archive not found: old/demo; {}did you mean figures/reference/demo.tar.zst?\n",
    "figures old/demo.tar.zst": "archive not found: old/demo.tar.zst; {}did you mean figures/reference/demo.tar.zst?\n",
    "compare config": "config holds no tables: give an archive, or the folder results/STUDY of a finished study\n",
    "figures config": "config has no archive.json: name a file that pvs archive wrote, or where it was unpacked to",
    "figures open.yaml": "open.yaml is truncated, damaged, or no tar.zst file ({}): get it again, or name a file that",
    "figures figures/reference/demo.tar.zst --style none.yaml": "no style file none.yaml: correct --style\n",
    # Devices
    "plan --device h1000": "unknown device 'h1000'; did you mean 'h100'? There are: a100, cpu, h100. To add one, ",
    "ladder --device h1000": "unknown device 'h1000'; did you mean 'h100'? There are: a100, cpu, h100. To add one, ",
    "plan --throughput open.yaml": "open.yaml has the columns study: x; they must be device, precision, ",
    "ladder --params 1M --write config/smoke.yaml": "config/smoke.yaml already exists and is not overwritten: ",
    "ladder --params 1M --write mine.txt": "mine.txt: a study's file is NAME.yaml, in lower-case letters",
    "ladder --write mine.yaml": "--write needs --params, or --hours to choose by\n",
    "plan --throughput none.csv": "no throughput table none.csv: correct --throughput\n",
    # Checkpoints
    "eval none --text text.yaml --out y": "checkpoint none does not exist\n",
    "eval config --text text.yaml --out y": "no checkpoint in config (config.json is missing)\n",
    "eval config --text none.txt --out y": "--text none.txt does not exist\n",
    "prune --model none --method magnitude --ratio 0.5 --out y": "--model none does not exist\n",
    "prune --model owner/name --method magnitude --ratio 0.5 --out y": "--model owner/name does not exist; a local",
    "check away.yaml": "away.yaml, line 4: corpus.sources.mine.path: there is no folder data/mine\n",
}
AWAY = "study: away\ncorpus:\n  sources:\n    mine: {kind: path, path: data/mine}\n"
MISUSES = {
    "pln": "unknown verb 'pln'; did you mean 'plan'?\nhelp: pvs --help\n",
    "frob": "unknown verb 'frob'; known: archive, check, compare, ",
    "prune --method wnada": "argument --method: 'wnada' is not valid; did you mean 'wanda'?\nhelp: pvs prune --help\n",
    "prune --method xyz": "argument --method: 'xyz' is not valid; known: flap, magnitude, ",
    "figures --figure tokenbudget": "argument --figure: 'tokenbudget' is not valid; did you mean 'token_budget'?\n",
    "run --core 2": "unknown option --core; did you mean '--cores'?\nhelp: pvs run --help\n",
    "run --coers=2": "unknown option --coers; did you mean '--cores'?\n",
    "recommend --tokens 2M --ratio -1": "argument --ratio: '-1' is not a number between 0 and 1, such as 0.5\n",
    "recommend --tokens 2Q --ratio 0.5": "argument --tokens: '2Q' is not a whole number of tokens above 0: write it as",
    "prune --model x --method wanda --ratio half --out y": "argument --ratio: 'half' is not a number\n",
    "recommend --ratio 0.5": "the following arguments are required: --tokens\nhelp: pvs recommend --help\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_answered_with_what_to_do_and_nothing_is_written(words: str, folder: Path) -> None:
    before = listing(folder)
    done = pvs(folder, *words.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert [part for part in MISTAKES[words].split("{}") if part not in done.stderr] == [], done.stderr
    assert listing(folder) == before


def test_an_unfinished_study_is_not_taken_for_a_finished_one(folder: Path) -> None:
    """The plan makes the folder of the results."""
    (folder / "results/smoke/tables").mkdir(parents=True)
    done = pvs(folder, "recommend", "smoke", "--tokens", "2M", "--ratio", "0.5")
    assert done.stderr == (
        "error: study smoke is not finished: results/smoke/tables/gaps.csv is missing; run 'pvs run smoke' first\n"
    )


def test_a_file_that_names_no_study_is_told_where_its_results_go(folder: Path) -> None:
    (folder / "mine.yaml").write_text("seeds: [1]\n")
    done = pvs(folder, "check", "mine.yaml")
    assert done.returncode == 0
    assert "mine.yaml names no study (key study): it goes to results/demo" in done.stderr
    assert "names no study" not in pvs(folder, "check", "smoke").stderr


def test_a_rung_outside_of_config_is_named_by_its_file(folder: Path) -> None:
    done = pvs(folder, "ladder", "--params", "1M", "--core", "--write", "mine.yaml")
    assert done.stdout.endswith("pvs plan mine.yaml\n")


@pytest.mark.parametrize("words", MISUSES)
def test_a_mistyped_word_is_answered_with_the_nearest(words: str) -> None:
    done = pvs(REPOSITORY, *words.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert MISUSES[words] in done.stderr
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize(
    ("names", "command"),
    [([], "pvs run demo"), (["mini"], "pvs run mini"), (["paper", "paper-meta"], "pvs run paper paper-meta")],
)
def test_a_checked_study_is_followed_by_the_command_that_runs_it(names: list[str], command: str) -> None:
    done = pvs(REPOSITORY, "check", *names)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"matched pairs\nnext: {command}\n")


def test_the_help_of_pruning_is_in_groups() -> None:
    shown = pvs(REPOSITORY, "prune", "--help", COLUMNS="100").stdout
    usage, _, options = shown.partition("\n\n")
    assert usage == "usage: pvs prune --model DIR --method METHOD --out DIR [options]"
    groups = ("what to prune", "how (calibration text)", "where it runs (threads and memory)", "as a step of a study")
    places = [options.index(f"\n{group}:\n") for group in groups]
    assert places == sorted(places)
    for option, group in {"--ratio": 0, "--out": 0, "--calibration": 1, "--threads": 2, "--work": 3}.items():
        following = [*places, len(options)][group + 1]
        assert places[group] < options.index(f"\n  {option}") < following


def listing(folder: Path) -> list[str]:
    return sorted(str(Path(root, name)) for root, _, names in os.walk(folder) for name in names)
