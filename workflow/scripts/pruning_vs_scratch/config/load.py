"""Load YAML into a checked StudyConfig, with errors that name the key, its place, and the nearest valid value."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pruning_vs_scratch.cli import refuse_elsewhere
from pruning_vs_scratch.config.checks import problems
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.config.places import InvalidConfig, naming_lines
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import UserError, nearest_of_all

DEFAULT_STUDY = "demo"
"""The study of config/config.yaml, without an overlay."""


def load_config(paths: Sequence[Path]) -> StudyConfig:
    """Read a study from YAML files; each later file overlays the earlier ones, as Snakemake's --configfile does.

    Raises:
        UserError: a file is missing, is not YAML, or the study is not valid.
    """
    overlays = [read_study_file(Path(path)) for path in paths]
    with naming_lines([Path(path) for path in paths]):
        return merged_config(overlays)


def merged_config(overlays: Iterable[Mapping[str, Any]]) -> StudyConfig:
    """The study given by several mappings, each overlaying the ones before. The mappings are not changed.

    Raises:
        UserError: it is not valid.
    """
    merged: dict[str, Any] = {}
    for values in overlays:
        _overlay(merged, copy.deepcopy(values))
    return parse_config(merged)


def study_files(names: Sequence[str], folder: Path = Path("config")) -> list[Path]:
    """The files of a study: the default study's, then the named overlays, by file or as NAME.yaml.

    Raises:
        UserError: a study does not exist; the message lists those that do.
    """
    base = folder / "config.yaml"
    if not base.exists():
        refuse_elsewhere(base)
        raise UserError(f"no configuration file {base}")
    overlays = {file.stem: file for file in sorted(folder.glob("*.yaml")) if file != base}
    found = [base if _is_default(name, base) else _overlay_file(name, overlays, folder) for name in names]
    for name, file in zip(names, found, strict=True):
        if found.count(file) > 1:
            raise UserError(f"study {name!r} is named {found.count(file)} times; name it once")
    return [base, *(file for file in found if file != base)]


def _is_default(name: str, base: Path) -> bool:
    return name == DEFAULT_STUDY or Path(name) == base


def _overlay_file(name: str, overlays: Mapping[str, Path], folder: Path) -> Path:
    if name in overlays:
        return overlays[name]
    file, known = Path(name), [DEFAULT_STUDY, *overlays]
    if file.is_dir():
        like = nearest_of_all(file.name, known)
        raise UserError(f"{name!r} is a folder; name a study, or its YAML file, such as {folder}/mini.yaml; {like}")
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"no study {name!r}: there is no {folder / name}.yaml; {nearest_of_all(file.name, known)}")
    if not file.exists():
        refuse_elsewhere(file)
        raise UserError(f"no configuration file {name}; {nearest_of_all(file.stem, known)}")
    return file


def read_study_file(path: Path) -> dict[str, Any]:
    """The keys and values of one YAML file of a study.

    Raises:
        UserError: the file is missing, is not strict YAML, or does not hold keys and values.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        held = {type(None): "it is empty", list: "it holds a list"}.get(type(values), f"it holds {values!r:.80}")
        raise UserError(f"{path} must hold keys and values, such as study: mine, but {held}")
    return values


def parse_config(values: Mapping[str, Any]) -> StudyConfig:
    """Check a study's configuration. A key set to null counts as absent, so that an overlay can remove one.

    Raises:
        UserError: lists every problem: the key's path, what is wrong, and the nearest valid name or value.
    """
    given = _without_nulls(values)
    try:
        config = StudyConfig.model_validate(given)
    except ValidationError as error:
        raise InvalidConfig(explained(error, StudyConfig), only_types=True) from error
    if found := _truths_for_numbers(given, config.model_dump()):
        raise InvalidConfig(found, only_types=True)
    if found := problems(config):
        raise InvalidConfig(found)
    return config


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        # YAML 1.1 takes the bare key ``on`` (of a sweep) for the value true.
        return {"on" if key is True else key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _truths_for_numbers(given: Any, checked: Any, place: str = "") -> list[str]:
    """Problems of a configuration that uses true for 1 or false for 0, which pydantic would accept."""
    if isinstance(given, bool) and isinstance(checked, int | float) and not isinstance(checked, bool):
        return [f"{place}: {str(given).lower()} is not a number; give one"]
    if isinstance(given, Mapping) and isinstance(checked, Mapping):
        inner = [(f"{place}.{key}" if place else str(key), given[key], checked[key]) for key in checked if key in given]
    elif isinstance(given, list) and isinstance(checked, list):
        inner = [(f"{place}.{i}", *pair) for i, pair in enumerate(zip(given, checked, strict=False))]
    else:
        return []
    return [problem for where, one, other in inner for problem in _truths_for_numbers(one, other, where)]


def _overlay(base: dict[str, Any], top: Mapping[str, Any]) -> None:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _overlay(base[key], value)
        else:
            base[key] = value
