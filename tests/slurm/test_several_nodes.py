"""One run trained on two nodes, by a study's config alone: the windows and the loss of one process."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from private_slurm import Cluster
from studies_on_slurm import ONLY_WHAT_IS_NEW, WatchedStudy, overlay

TWO_NODES = {"training": {"processes": 2, "micro_batch_size": 4}, "cluster": {"nodes": 2}}
PARENT = "P16.4k-seed0"
MANIFEST = f"results/smoke/runs/{PARENT}/manifest.json"
LONG_PARENT = {**TWO_NODES, "parent": {"tokens": 1_048_576}}


def losses(folder: Path) -> list[float]:
    """Of all steps of the parent, and its validation loss."""
    lines = (folder / f"results/smoke/runs/{PARENT}/metrics.jsonl").read_text().splitlines()
    return [record.get("loss", record.get("validation_loss")) for record in map(json.loads, lines)]


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster, local: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedStudy]:
    """The parent being trained on two nodes, while other tests run."""
    folder = shutil.copytree(local, tmp_path_factory.mktemp("two") / "two", symlinks=True)
    study = WatchedStudy(cluster, folder, [MANIFEST, *overlay(folder, "two", TWO_NODES)])
    yield study
    study.stop()


@pytest.mark.usefixtures("two_nodes")
def test_a_dead_process_ends_those_on_the_other_node(cluster: Cluster, local: Path, tmp_path: Path) -> None:
    """At once, and with one message."""
    folder = shutil.copytree(local, tmp_path / "dead", symlinks=True)
    run = "P1.05M-seed0"
    options = ["--retries", "0", f"results/smoke/runs/{run}/manifest.json"]
    study = WatchedStudy(cluster, folder, [*options, *overlay(folder, "dead", LONG_PARENT), *ONLY_WHAT_IS_NEW])
    try:
        job, first, _ = study.advanced(run)
        (second,) = (process for process in trainers(job) if process.environ()["RANK"] == "1")
        assert {process.environ()["SLURMD_NODENAME"] for process in (first, second)} == {"n1", "n2"}
        second.send_signal(signal.SIGKILL)
        died = time.monotonic()
        cluster.wait_until(lambda: not trainers(job), "the other process went on", 30)
        assert time.monotonic() - died < 20
        assert study.wait() == 1
    finally:
        study.process.kill()
    log = (folder / f"results/smoke/logs/train/{run}.log").read_text()
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    assert errors == ["error: process 1 was killed by SIGKILL; the run's last saved state is kept, and the same "
                      "command resumes"]  # fmt: skip
    assert "Traceback" not in log
    shown = study.log.read_text()
    assert errors[0] in shown
    assert ".snakemake/slurm_logs/rule_train" in shown


def test_two_nodes_train_as_one_process_does(two_nodes: WatchedStudy, local: Path) -> None:
    assert two_nodes.wait() == 0, two_nodes.log.read_text()
    ours, theirs = (json.loads((each / MANIFEST).read_text())["facts"]["ledger"] for each in (two_nodes.folder, local))
    assert ours["world_size"] == 2
    same = ("spec_hash", "window_start", "window_end", "tokens_seen", "steps")
    assert [ours[key] for key in same] == [theirs[key] for key in same]
    assert losses(two_nodes.folder) == pytest.approx(losses(local), abs=1e-4)


def trainers(job: str) -> list[psutil.Process]:
    """The processes that train in a job, but not those that started them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) > 2 and "train.py" in " ".join(words[1:3]) and "launch.py" not in " ".join(words):
            environment = process.environ()
            if environment.get("SLURM_JOB_ID") == job and "RANK" in environment:
                found.append(process)
    return found
