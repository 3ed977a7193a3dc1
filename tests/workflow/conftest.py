"""The smallest study, run once for all tests here, in however many processes they run."""

import shutil
from pathlib import Path

import pytest

from checkouts import checkout, run_study
from pruning_vs_scratch.locks import exclusive


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A folder in which the smallest study ran from nothing, and what it printed."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if hasattr(request.config, "workerinput") else base) / "finished_study"
    printed = shared / "printed"
    with exclusive(shared):
        if not printed.exists():
            shutil.rmtree(shared / "checkout", ignore_errors=True)
            result = run_study(checkout(shared / "checkout"))
            assert result.returncode == 0, result.stdout + result.stderr
            printed.write_text(result.stdout)
    # Some tests write into it.
    folder = tmp_path_factory.mktemp("study") / "checkout"
    shutil.copytree(shared / "checkout", folder, symlinks=True)
    return folder, printed.read_text()


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished folder to damage."""
    shutil.copytree(finished[0], tmp_path / "checkout", symlinks=True)
    return tmp_path / "checkout"
