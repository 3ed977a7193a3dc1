"""Methods that other packages bring: in the catalogue, estimated, or refused by name."""

from pathlib import Path

import pytest

from own_method import run, write_package
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.pruning import PruningConfig
from pruning_vs_scratch.pruning.catalogue import BUILT_IN, RESERVED, methods

MEMORY = """
from pruning_vs_scratch.pruning.facts import Text, WeightBytes
from pruning_vs_scratch.pruning.memory import Means, pruning_memory
from pruning_vs_scratch.pruning.placement import Buffers
from pruning_vs_scratch.study import ModelShape
shape = ModelShape(64, 4, 32, 64, 4, 2, 8, True, 1e4, 1e-5)
means = Means(WeightBytes(4, 4), Buffers(1 << 20), gpu=False)
every_other, shortgpt = (pruning_memory(shape, method, Text(8, 16), means) for method in ("every_other", "shortgpt"))
assert every_other.host == shortgpt.host > 0 < every_other.device <= shortgpt.device
"""


def test_its_memory_is_estimated(tmp_path: Path) -> None:
    found = run(REPOSITORY, write_package(tmp_path), "-c", MEMORY)
    assert found.returncode == 0, found.stderr


def test_every_folder_of_a_method_is_in_the_catalogue() -> None:
    folder = REPOSITORY / "workflow/scripts/pruning_vs_scratch/pruning/methods"
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(BUILT_IN) == set(methods())
    assert all((folder / name / "method.py").exists() for name in BUILT_IN)


def test_no_method_can_take_the_name_of_a_setting() -> None:
    own_options = {name for name, facts in methods().items() if facts.options.model_fields}
    assert set(PruningConfig.model_fields) - own_options <= RESERVED


def write_broken(own: Path, facts: str | None) -> None:
    path = own / "somebodys_methods/every_other/facts.py"
    path.unlink()
    if facts is not None:
        path.write_text(facts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("every_other", None, "its facts cannot be read (No module named 'somebodys_methods.every_other.facts')"),
        ("every_other", "FACTS = 3\n", "FACTS is a int; make it a MethodFacts"),
        (
            "every_other",
            "from pruning_vs_scratch.pruning.facts import MethodFacts\nFACTS = MethodFacts(label='x')\n",
            "its facts cannot be read (MethodFacts.__init__() missing",
        ),
        ("wanda", "", "there is already one of this name, pruning_vs_scratch.pruning.methods.wanda"),
        ("width", "", "this name has a meaning of its own in a study; rename its entry point"),
        ("every_other", "1 +\n", "its facts cannot be read (invalid syntax (facts.py, line 1))"),
        ("Every2", "", "a method's name is lower-case letters and underscores; rename its entry point"),
    ],
    ids=["no facts", "other facts", "facts left out", "two of one name", "reserved name", "no Python", "no name"],
)
def test_a_method_that_cannot_be_used_is_refused_with_its_package(
    tmp_path: Path, name: str, facts: str | None, message: str
) -> None:
    own = write_package(tmp_path / "own", name=name)
    if facts != "":
        write_broken(own, facts)
    commands = (
        ["-m", "pruning_vs_scratch", "plan"],
        ["workflow/scripts/prune.py", "--model", "x", "--method", "wanda", "--ratio", "0.5", "--out", "y"],
    )
    for words in commands:
        found = run(REPOSITORY, own, *words)
        assert found.returncode == 1
        assert message in found.stderr and "Traceback" not in found.stderr
        assert f"pruning method '{name}' (somebodys_methods.every_other of somebodys-methods 1.2)" in found.stderr


def test_a_study_with_a_broken_method_is_refused_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    own = write_package(tmp_path / "own")
    write_broken(own, None)
    found = run(
        REPOSITORY, own, "-c", "from pruning_vs_scratch.config.steps import Step; Step.parse('every_other@0.5')"
    )
    assert "its facts cannot be read (No module named" in found.stderr
