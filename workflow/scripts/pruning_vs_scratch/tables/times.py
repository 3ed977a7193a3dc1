"""How long each phase of a study took, from the manifests of its steps.

Manifests have what Snakemake's benchmarks lack: training records the time of all attempts, including interrupted ones.
Starting Python, tables, figures and the report, a few seconds each, are not included.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from pruning_vs_scratch.artifacts import manifest_of, read_manifest
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.evaluation import task_requests
from pruning_vs_scratch.study.runs import Arm

Manifest = dict[str, Any]
COLUMNS = ("phase", "jobs", "seconds", "longest_seconds", "peak_memory_bytes")
PHASES = {
    "parent": "pretrain", "pruned": "prune", "trunk": "shared trunks", "retrained": "retrain", "scratch": "scratch",
    "rewind": "rewind", **dict.fromkeys(get_args(Arm), "arms"), "trial": "sweep", "candidate": "shape search",
}  # fmt: skip
"""Phases by the role of a run, in the order of the pipeline."""


def times_table(study: Study) -> pd.DataFrame:
    """One row per phase: number of jobs, their total and longest seconds, and peak memory of one process.

    Jobs may have run at the same time. A manifest that was deleted with what it describes is left out.
    """
    found = phase_manifests(study)
    return pd.DataFrame([times_row(phase, manifests) for phase, manifests in found.items()], columns=list(COLUMNS))


def phase_manifests(study: Study) -> dict[str, list[Manifest]]:
    """The existing manifests by phase, in the order of the pipeline."""
    found: dict[str, list[Manifest]] = {}
    for phase, path in manifest_paths(study):
        if path.exists():
            found.setdefault(phase, []).append(read_manifest(path))
    return found


def times_row(phase: str, manifests: list[Manifest]) -> dict[str, Any]:
    """Time and memory of the jobs of a phase (COLUMNS)."""
    seconds = [_seconds(manifest) for manifest in manifests]
    return {
        "phase": phase,
        "jobs": len(seconds),
        "seconds": round(sum(seconds), 1),
        "longest_seconds": round(max(seconds), 1),
        "peak_memory_bytes": max(manifest["peak_memory_bytes"] for manifest in manifests),
    }


def _seconds(manifest: Manifest) -> float:
    """Seconds of the last attempt, or for training of all attempts; a shared trunk is a separate job."""
    ledger = manifest["facts"].get("ledger", {})
    found: float = max(manifest["seconds"], ledger.get("wall_seconds", 0) - ledger.get("wall_seconds_trunk", 0))
    return found


def manifest_paths(study: Study) -> Iterator[tuple[str, Path]]:
    """Phases and their manifests, in the order of the pipeline."""
    paths = study.paths
    yield from (
        ("download", paths.download(f"{source.file}.manifest.json")) for source in study.sources.downloads.values()
    )
    yield from (("download", manifest_of(paths.frozen(key))) for key in study.sources.frozen)
    # A local folder is not a download, and its name here depends on its location on this machine.
    remote = [key for key, acquisition in study.sources.acquisitions.items() if acquisition.source.kind != "path"]
    yield from (("download", manifest_of(paths.checkpoint(key))) for key in remote)
    yield from (("download", manifest_of(part)) for part in study.text.acquired_parts.values())
    text = [manifest_of(paths.part(part) / "held_out") for part in study.text.held_out_parts]
    text += [manifest_of(paths.part(part) / "tokens") for part in study.text.parts]
    text += [paths.corpora / "manifest.json", paths.resources / "tokenizer.manifest.json"]
    text += [paths.tokens / f"{corpus}.manifest.json" for corpus in study.text.needs]
    text += [manifest_of(paths.joined_text(joined)) for joined in study.text.joined]
    text += [paths.text_check, *map(paths.joined_check, study.text.joined)]
    text += [
        task.path.with_suffix(".manifest.json")
        for task in task_requests(study.config, study.paths)
        if task.data != "hub"
    ]
    yield from (("text", path) for path in text)
    runs = study.recorded_runs.values()
    parents = [run for run in runs if run.role == "parent"]
    yield from (("pretrain" if run.plan else "adopt", paths.manifest(run.name)) for run in parents)
    yield from (("score", paths.scores(*scored).with_suffix(".manifest.json")) for scored in study.scorings)
    for role, phase in list(PHASES.items())[1:]:
        yield from ((phase, paths.manifest(run.name)) for run in runs if run.role == role)
    yield from (("evaluate", paths.evaluation / f"{group}.manifest.json") for group in study.evaluation_groups)
    yield "evaluate", paths.speed.with_suffix(".manifest.json")
