"""One set of versions: the project's requirements, the lock, the conda environments, and what is installed."""

import importlib.util
import tomllib
from importlib.metadata import version
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.manifest import RECORDED_PACKAGES

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = [Requirement(text) for text in PROJECT["dependencies"]]
ALL = [*RUNTIME, *(Requirement(text) for extra in EXTRAS.values() for text in extra)]
ENVIRONMENTS = ("cpu", "gpu")


def _write_lock() -> ModuleType:
    file = REPOSITORY / "workflow/scripts/maintain/write_lock.py"
    spec = importlib.util.spec_from_file_location("write_lock", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


write_lock = _write_lock()
LOCK_TEXT = write_lock.LOCK.read_text(encoding="utf-8")
LOCK: dict[str, str] = dict(line.split("==") for line in LOCK_TEXT.splitlines() if not line.startswith("#"))


def environment(name: str) -> list:
    text = (REPOSITORY / f"envs/{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["dependencies"]


@pytest.mark.parametrize("requirement", ALL, ids=str)
def test_a_dependency_is_locked_at_a_version_that_it_allows(requirement: Requirement) -> None:
    assert LOCK[write_lock.canonical(requirement.name)] in requirement.specifier


def test_the_lock_has_the_form_that_make_lock_writes() -> None:
    assert write_lock.HEADER + "".join(f"{name}=={LOCK[name]}\n" for name in sorted(LOCK)) == LOCK_TEXT
    assert [name for name in LOCK if name != write_lock.canonical(name) or write_lock.NOT_LOCKED.match(name)] == []


def test_the_lock_and_the_environments_are_the_projects_from_whatever_folder() -> None:
    assert [path for path in (write_lock.LOCK, *write_lock.ENVIRONMENTS) if not path.is_relative_to(REPOSITORY)] == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_file_lists_the_runtime_dependencies_at_the_locks_versions(name: str) -> None:
    (pip,) = (entry["pip"] for entry in environment(name) if isinstance(entry, dict))
    pinned = [line for line in pip if not line.startswith("--")]
    names = [write_lock.canonical(requirement.name) for requirement in RUNTIME]
    assert pinned == [f"{name}=={LOCK[name]}" for name in sorted(names)]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_file_has_a_python_that_the_project_supports(name: str) -> None:
    (python,) = (entry for entry in environment(name) if isinstance(entry, str) and entry.startswith("python="))
    assert Version(python.removeprefix("python=")) in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("package", RECORDED_PACKAGES)
def test_the_packages_that_results_depend_on_are_installed_at_the_locks_versions(package: str) -> None:
    assert version(package).split("+")[0] == LOCK[package]


def test_make_lock_rewrites_the_versions_of_an_environment_file() -> None:
    text = "  - python=3.11\n  - pip:\n      - numpy==1.0\n      - lm-eval==0.1\n"
    written = write_lock.with_versions(text, {"numpy": "2.0", "lm-eval": "0.4"})
    assert written == "  - python=3.11\n  - pip:\n      - numpy==2.0\n      - lm-eval==0.4\n"
