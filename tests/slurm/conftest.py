"""A private SLURM for all tests here, and the smallest study run once by it and once without."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkouts import SMOKE, checkout, study_command
from private_slurm import Cluster, install
from studies_on_slurm import OFFLINE, SNAKEMAKE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster of two nodes."""
    if reason := install():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def both(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders in which the smallest study ran from nothing, at once: on this machine alone, and through SLURM.

    The jobs have no network.
    """
    folders = [checkout(tmp_path_factory.mktemp(name) / "checkout") for name in ("local", "slurm")]
    commands = [study_command(), [*SNAKEMAKE, "--profile", "slurm", *SMOKE]]
    environments = [dict(os.environ), os.environ | OFFLINE]
    logs = [folder.parent / "log" for folder in folders]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT)
        for command, folder, environment, log in zip(commands, folders, environments, logs, strict=True)
    ]
    for process, log in zip(processes, logs, strict=True):
        assert process.wait() == 0, log.read_text()
    return folders[0], folders[1]


@pytest.fixture(scope="session")
def local(both: tuple[Path, Path]) -> Path:
    """The folder of the study that ran without SLURM."""
    return both[0]


@pytest.fixture(scope="session")
def through_slurm(both: tuple[Path, Path]) -> Path:
    """The folder of the study that ran through SLURM."""
    return both[1]


@pytest.fixture
def without_slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has Python, but no SLURM."""
    for name in ("python", "python3", "sh", "bash", "env", "git"):
        program = Path(sys.executable).parent / name
        target = program if program.exists() else Path("/bin") / name
        if target.exists():
            (tmp_path / name).symlink_to(target)
    return os.environ | {"PATH": str(tmp_path)}
