"""Configuration files are found, read strictly, and merged as Snakemake merges them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from pruning_vs_scratch.cli import REPOSITORY, json_argument
from pruning_vs_scratch.config.load import load_config, parse_config, read_study_file, study_files
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.program.main import main
from pruning_vs_scratch.supervisor import snakemake
from studies import STORED

Values = dict[str, Any]

CONFIG = REPOSITORY / "config"


def as_yaml(path: Path, values: Any) -> Path:
    """Write values as a configuration file."""
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("overlay", STORED[1:])
def test_overlays_merge_as_snakemake_merges_them(overlay: str, study_values: Callable[[str], Values]) -> None:
    merged: Values = {}
    for file in ("config.yaml", f"{overlay}.yaml"):
        update_config(merged, load_configfile(CONFIG / file))
    assert parse_config(merged).model_dump(mode="json") == study_values(overlay)


OVERLAYS: dict[str, Values] = {
    "a list replaces a list": {"seeds": [3]},
    "a mapping keeps the keys that it does not name": {"training": {"optimizer": {"weight_decay": 0.2}}},
    "an empty mapping changes nothing": {"targets": {}},
    "a new key is added": {"corpus": {"sources": {"own": {"kind": "path", "path": "texts"}}}},
    "a list of mappings replaces the whole list": {
        "matrix": [{"methods": ["magnitude"], "ratios": [0.5], "retrain": [4096]}]
    },
}


@pytest.mark.parametrize("case", OVERLAYS)
def test_an_overlay_of_an_overlay_merges_as_snakemake_merges_it(case: str, tmp_path: Path) -> None:
    files = [CONFIG / "config.yaml", CONFIG / "smoke.yaml", as_yaml(tmp_path / "own.yaml", OVERLAYS[case])]
    merged: Values = {}
    for file in files:
        update_config(merged, load_configfile(file))
    assert load_config(files) == parse_config(merged)


def test_an_overlay_replaces_lists_and_keeps_other_keys(tmp_path: Path, smoke: Values) -> None:
    overlay = as_yaml(tmp_path / "own.yaml", {"seeds": [3, 4], "parent": {"tokens": 32768}})
    config = load_config([CONFIG / "config.yaml", CONFIG / "smoke.yaml", overlay])
    assert config.seeds == [3, 4]
    assert config.parent.model_dump(mode="json") == smoke["parent"] | {"tokens": 32768}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no configuration file .*absent\.yaml"):
        load_config([tmp_path / "absent.yaml"])


def test_a_file_of_the_project_is_looked_for_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for missing in (lambda: load_config([Path("config/config.yaml")]), lambda: study_files(["smoke"])):
        with pytest.raises(
            UserError, match=r"^config/config\.yaml is not under the working folder, .*: run the command"
        ):
            missing()


COMMANDS = {
    "archive": "config/config.yaml",
    "check": "config/config.yaml",
    "compare": "figures/reference",
    "export --run P --out x": "config/config.yaml",
    "figures": "figures/reference",
    "ladder --params 1e9 --gpus 8": "config/config.yaml",
    "plan": "config/config.yaml",
    "rates": "config/config.yaml",
    "recommend --tokens 1e6 --ratio 0.5": "config/config.yaml",
    "report": "config/config.yaml",
    "run smoke": "config/config.yaml",
    "status": "config/config.yaml",
    "verify": "config/config.yaml",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_needs_the_projects_folder_names_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pvs", *command.split()])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(snakemake, "interrupt_once", lambda: None)
    with pytest.raises(UserError) as refused:
        main()
    message = str(refused.value)
    assert message.startswith(COMMANDS[command])
    assert message.endswith(
        f" is not under the working folder, {tmp_path}: run the command in the project's folder, {REPOSITORY}"
    )
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


TWICE = """study: mine
training: {threads: 1}
seeds: [0, 1, 2]
training: {threads: 2}
"""
TRAPS = {
    "a section stands twice": (TWICE, r", line 4: the key training is listed twice \(first on line 2\)"),
    "a key of a flow mapping": ("a: {b: 1, c: 2, b: 1}", r", line 1: the key b is listed twice \(first on line 1\)"),
    "with and without quotes": ("a: 1\n'a': 2", r", line 2: the key a is listed twice \(first on line 1\)"),
    "in a list": ("a:\n  - b: 1\n    b: 2", r", line 3: the key b is listed twice \(first on line 2\)"),
    "an anchor is merged twice": ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a", r", line 4: the key << is listed twice"),
    "an octal number": ("a: [8, 010]", r", line 1: 010 is octal, and so means 8; write 8, or quote it"),
    "a negative octal number": ("a:\n  b: -0_17", r", line 2: -0_17 is octal, and so means -15"),
    "a time of the day": ("a: 1:30", r", line 1: 1:30 is in base 60, and so means 90; write 90"),
    "a fraction of a minute": ("a: 1:30.5", r", line 1: 1:30\.5 is in base 60, and so means 90\.5"),
    "a list in itself": ("a: &a [1, *a]", r", line 1: the value contains itself"),
    "a mapping in itself": ("a: &a\n  b: {c: *a}", r", line 1: the value contains itself"),
    "a date that is none": ("a: 2024-13-45", r", line 1: 2024-13-45 is read as a date; quote it if it is text"),
    "a value nested too deeply": ("a: " + "[" * 5000 + "]" * 5000, r" is not valid YAML: it is nested too deeply"),
    "a date": ("a: 2024-01-13", r", line 1: 2024-01-13 is read as a date; quote it if it is text"),
    "a date as a key": ("b: 1\n2024-01-13: 1", r", line 2: 2024-01-13 is read as a date"),
    "a character that is none": ("b: 1\na: \x00", r", line 2: the character 0x0 is not text"),
    "brackets nested too deeply": ("a: " + "[" * 10_000, r" is not valid YAML: it is nested too deeply"),
    "two documents": (
        "a: 1\n---\na: 2",
        r", line 2, column 1: not valid YAML: expected a single document",
    ),
    "a number of too many digits": ("a: " + "1" * 5000, r" is not valid YAML: Exceeds the limit"),
}


@pytest.mark.parametrize("case", TRAPS)
def test_yaml_that_means_something_else_than_it_seems_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    text, words = TRAPS[case]
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"own\.yaml" + words):
        read_study_file(file)


def test_aliases_cannot_stand_for_more_than_a_file_should_hold(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    file = tmp_path / "own.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"with its aliases expanded, the file holds more than 100,000 values"):
        read_study_file(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "a: [0, 0x1F, 1_000, 1.0e-3, '010', '1:30', 0.5, 09.5, !!int '12']",
            [0, 31, 1000, 0.001, "010", "1:30", 0.5, 9.5, 12],
        ),
        ("b: &b {c: 1, d: 2}\na: {<<: *b, d: 3}", {"c": 1, "d": 3}),
        ("b: &b [1, 2]\na: [*b, *b]", [[1, 2], [1, 2]]),
        ("a: {b: {c: 1}, d: {c: 2}}", {"b": {"c": 1}, "d": {"c": 2}}),
    ],
)
def test_yaml_that_is_what_it_seems_is_read_as_snakemake_reads_it(text: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    assert read_study_file(file)["a"] == value
    assert read_study_file(file) == load_configfile(file)


@pytest.mark.parametrize(
    ("text", "key"),
    [('{"ratio": 0.5, "ratio": 0.25}', "ratio"), ('{"a": [{"b": 1, "c": {}, "b": 1}]}', "b")],
    ids=["other values", "deep and equal"],
)
def test_a_key_listed_twice_in_json_is_refused(text: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json is not valid JSON \(the key {key} is listed twice"):
        read_json(tmp_path / "a.json")
    for given in (text, str(tmp_path / "a.json")):
        with pytest.raises(argparse.ArgumentTypeError, match=rf"the key {key} is listed twice; keep one of them"):
            json_argument(given)


def planned(folder: Path, *overlays: Path, options: Sequence[Any] = ()) -> str:
    """What a dry run of the smallest study says that is started in a folder and must fail."""
    files = [CONFIG / "smoke.yaml", *overlays]
    command = [sys.executable, "-m", "snakemake", "-n", "-s", REPOSITORY / "Snakefile", "--configfile", *files]
    result = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    return result.stdout + result.stderr


def test_snakemake_refuses_what_its_own_reader_of_yaml_drops(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(TWICE)
    said = planned(REPOSITORY, tmp_path / "own.yaml")
    assert "own.yaml, line 4: the key training is listed twice (first on line 2)" in said


@pytest.mark.slow
def test_snakemake_refuses_another_working_folder_by_its_name(tmp_path: Path) -> None:
    said = planned(tmp_path)
    assert f"the working folder is {tmp_path}, under which there is no config/config.yaml" in said
    assert "this key is required" not in said
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("study: of-another-project")
    said = planned(REPOSITORY, options=["--directory", tmp_path])
    assert f"the working folder is {tmp_path}" in said
    assert f"run Snakemake in the project's folder, {REPOSITORY}" in said


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"study: caf\xe9")
    with pytest.raises(UserError, match=r"own\.yaml, line 1: not UTF-8 text; save the file as UTF-8"):
        load_config([tmp_path / "own.yaml"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": [0, True]}, r"seeds\.1: true is not a number"),
        ({"parent": {"tokens": True}}, r"parent\.tokens: true is not a number"),
        ({"corpus": {"splits": {"test": {"include": None, "fraction": False}}}}, r"corpus\.splits\.test\.fraction: "),
        (
            {"training": {"peak_learning_rate": float("inf")}},
            r"training\.peak_learning_rate: must be a finite number, not ",
        ),
        (
            {"training": {"optimizer": {"weight_decay": float("nan")}}},
            r"weight_decay: must be a finite number, not nan",
        ),
        ({"training": {"peak_learning_rate": "1e999"}}, r"training\.peak_learning_rate: must be a finite number, not "),
    ],
)
def test_a_number_is_a_finite_number(change: Values, words: str, tmp_path: Path) -> None:
    overlay = as_yaml(tmp_path / "own.yaml", change)
    with pytest.raises(UserError, match=words):
        load_config([CONFIG / "config.yaml", CONFIG / "smoke.yaml", overlay])


@pytest.mark.parametrize(("text", "words"), [("a: [1", "not valid YAML"), ("- a", "must hold keys and values")])
def test_a_file_that_holds_no_mapping_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_config([file])


def test_the_bare_key_on_of_a_sweep_is_no_truth_value(tmp_path: Path) -> None:
    overlay = tmp_path / "own.yaml"
    overlay.write_text("sweep: {peak_learning_rates: [0.1, 0.2], on: [minitron_depth@0.5], tokens: 2048}\n")
    config = load_config([CONFIG / "config.yaml", CONFIG / "smoke.yaml", overlay])
    assert config.sweep is not None
    assert config.sweep.on == ["minitron_depth@0.5"]
