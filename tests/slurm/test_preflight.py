"""What would stop a study on the cluster is said before the first job, in one line with the remedy."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from checkouts import SMOKE, checkout
from private_slurm import Cluster
from program import PVS, pvs
from studies_on_slurm import SNAKEMAKE, overlay

GPUS = {"cluster": {"gpus": True}}
SLOW = {"cluster": {"evaluation_minutes": 5}}


@pytest.fixture
def folder(cluster: Cluster, tmp_path: Path) -> Path:
    """A checkout."""
    return checkout(tmp_path / "checkout")


def problems(folder: Path, *configfiles: str, **environment: str) -> list[str]:
    """What pvs check has against a study."""
    result = pvs(folder, "check", "--cluster", "smoke", *configfiles, **environment)
    assert "Traceback" not in result.stderr
    first, *lines = result.stderr.splitlines() or [""]
    assert (result.returncode == 1) == (first == "error: the cluster is not ready for this study:"), result.stderr
    return [line.strip() for line in lines]


def test_a_cluster_that_is_ready(folder: Path) -> None:
    assert problems(folder) == []


def test_an_unknown_partition(folder: Path) -> None:
    (problem,) = problems(folder, SBATCH_PARTITION="brif")
    assert problem.startswith("no partition 'brif', did you mean 'brief'?; name one of `sinfo` in SBATCH_PARTITION")


def test_an_account_where_there_are_none(folder: Path) -> None:
    (problem,) = problems(folder, SBATCH_ACCOUNT="physics")
    assert problem == "this cluster keeps no accounts, but physics is given: unset SBATCH_ACCOUNT"


def test_jobs_longer_than_the_partition_allows(folder: Path) -> None:
    overlay(folder, "slow", SLOW)
    (problem,) = problems(folder, "slow", SBATCH_PARTITION="brief")
    assert problem.startswith("evaluation jobs ask for up to")
    assert "but brief allows 10: set max_hours: 0.167 in slurm/site.yaml" in problem


def test_evaluation_that_does_not_fit_in_the_longest_job(folder: Path) -> None:
    overlay(folder, "slow", SLOW)
    (folder / "slurm/site.yaml").write_text("cpu: {max_hours: 0.15}\n")
    (problem,) = problems(folder, "slow")
    assert problem.startswith("evaluation jobs need up to") and "cannot continue in another job" in problem


@pytest.mark.parametrize(("processes", "accepted"), [(2, True), (4, False)])
def test_gpus_are_asked_for_by_the_study(folder: Path, processes: int, accepted: bool) -> None:
    """Each node has two GPUs, although not for torch."""
    values: dict[str, Any] = {"training": {"processes": processes, "micro_batch_size": 1}, **GPUS}
    overlay(folder, "gpus", values)
    found = problems(folder, "gpus")
    if accepted:
        assert all("torch sees no GPU" in problem for problem in found), found
        assert found
    else:
        (problem,) = found
        assert problem.startswith("training jobs are refused: Requested node configuration is not available; no node")
        assert "--gres=gpu:4" in problem


def test_more_nodes_than_there_are(folder: Path) -> None:
    overlay(folder, "nodes", {"training": {"processes": 4, "micro_batch_size": 1}, "cluster": {"nodes": 4}})
    (problem,) = problems(folder, "nodes")
    assert problem.endswith("lower cluster.nodes in the study")


def test_a_folder_that_the_node_does_not_see(cluster: Cluster, tmp_path: Path) -> None:
    """The folder of a mount that this process alone has."""
    folder = checkout(tmp_path / "checkout")
    script = """
        mount -t tmpfs none "$1" && cp -r "$2"/. "$1" && cd "$1" &&
        PYTHONPATH=$1/workflow/scripts exec "$3" -m "$4" check --cluster
    """
    (tmp_path / "mine").mkdir()
    command = ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path / "mine", folder, *PVS[::2]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"it does not see {tmp_path}/mine: put the project on the shared file system" in result.stderr


def test_a_controller_that_is_away(folder: Path, cluster: Cluster) -> None:
    cluster.stop_daemon("slurmctld")
    try:
        (problem,) = problems(folder)
    finally:
        cluster.start_controller()
        cluster.wait_until(lambda: cluster.states() == {"idle"}, "the nodes did not come back")
    assert problem.startswith("SLURM's controller does not answer")


def test_a_machine_without_slurm(folder: Path, without_slurm: dict[str, str]) -> None:
    (problem,) = problems(folder, **without_slurm)
    assert problem == "no sbatch here: log in to a machine that submits jobs, or run without --profile slurm"


def test_a_folder_on_a_full_disk(folder: Path) -> None:
    shape = {"layers": 1000, "hidden_size": 131072, "ffn_size": 131072, "heads": 4, "kv_heads": 2, "head_dim": 32768}
    matrix = [{"methods": ["wanda"], "ratios": [0.5], "patterns": ["unstructured"], "retrain": [4096]}]
    overlay(folder, "huge", {"parent": {"shape": shape}, "targets": {"depth": [], "width": []}, "matrix": matrix})
    found = problems(folder, "huge")
    assert any("GB are free: make room" in problem for problem in found)


def test_snakemake_itself_looks_first(folder: Path) -> None:
    environment = os.environ | {"SBATCH_PARTITION": "nowhere"}
    command = [*SNAKEMAKE, "--profile", "slurm", *SMOKE]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert "no partition 'nowhere'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "resources").exists()


def test_two_snakemakes_in_one_folder(local: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(local, tmp_path / "locked", symlinks=True)
    (folder / "results/smoke/results.csv").unlink()
    lock = folder / ".snakemake/locks"
    lock.mkdir(exist_ok=True)
    (lock / "0.output.lock").write_text("results/smoke/results.csv\n")
    command = [*SNAKEMAKE, "--profile", "slurm", *SMOKE]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "LockException" in result.stderr and "--unlock" in result.stderr
