"""Rates of a finished study, as rows of the throughput table."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from pruning_vs_scratch.artifacts import manifest_of, read_manifest
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.planning.throughput import PROCESSOR, Rate, Work
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.tables.load import records

MARGIN = 2
"""A rate holds for models of half to twice the sizes that were measured."""


def measured_rates(study: Study, ledger: pd.DataFrame, device: str) -> list[Rate]:
    """The rates that a study's runs sustained: training by size, passes over calibration text, and the text steps.

    A run's seconds are those in the ledger: including validation and saving, but not the start of its process.

    Raises:
        UserError: the device is not what the study ran on, or a manifest is missing.
    """
    hardware = read_manifest(study.paths.manifest(ledger["run"].iloc[0]))["hardware"]
    _check_device(device, hardware.get("gpus", []))
    where = (hardware.get("gpus") or [hardware["processor"]])[0]
    units = 1 if device != PROCESSOR else study.config.training.threads
    rows = [_row(study, row, units) for row in records(ledger)]
    worked = pd.DataFrame(row for row in rows if row["work"] is not None and row["seconds"] > 0)
    rates: list[Rate] = []
    for (work, precision), runs in worked.groupby(["work", "precision"], sort=False):
        rates += _by_size(runs, device, str(precision), str(work), f"study {study.name}, {where}")
    return [*rates, *_text_rates(study, f"study {study.name}, {hardware['processor']}")]


def merged(earlier: Iterable[Rate], new: Sequence[Rate]) -> list[Rate]:
    """A table in which a new measurement for a device, precision and work replaces all earlier ones."""
    measured = {_key(rate) for rate in new}
    return [*(rate for rate in earlier if _key(rate) not in measured), *new]


def _key(rate: Rate) -> tuple[str, str | None, str]:
    return rate.device, rate.precision, rate.work


def _check_device(device: str, gpus: list[str]) -> None:
    if gpus and device == PROCESSOR:
        raise UserError(f"the study ran on {gpus[0]}: name it with --device, as in --device h100")
    if not gpus and device != PROCESSOR:
        raise UserError(f"the study ran without a GPU, not on {device!r}: use --device {PROCESSOR}")


def _row(study: Study, row: dict[str, Any], units: int) -> dict[str, Any]:
    """Work, size, operations and device-seconds of a run; no work if the row counts what another job did."""
    run = study.run(row["run"])
    start = study.run(str(run.start)) if run.pruning is not None else run
    return {
        "work": _work(study, row["run"]),
        "precision": row["precision"],
        "params": start.target.shape.params_total,
        "flops": row["flops"] - row["flops_trunk"] + row["flops_teacher"] - row["flops_teacher_trunk"],
        "seconds": (row["wall_seconds"] - row["wall_seconds_trunk"]) * row["world_size"] * units,
    }


def _work(study: Study, name: str) -> Work | None:
    run = study.run(name)
    if run.plan is not None or (run.pruning is not None and run.pruning.training is not None):
        return "train"
    if run.pruning is None or study.is_scored_once(name) or not run.pruning.sequences:
        return None  # others trained it, or another job did the work
    return "forward"


def _by_size(runs: pd.DataFrame, device: str, precision: str, work: str, source: str) -> Iterator[Rate]:
    """A row for each size of model; adjacent ranges are separated at the geometric mean."""
    sizes = sorted(int(size) for size in runs["params"].unique())
    inner = [math.isqrt(small * large) for small, large in pairwise(sizes)]
    bounds = [sizes[0] // MARGIN, *inner, sizes[-1] * MARGIN]
    for size, (first, below) in zip(sizes, pairwise(bounds), strict=True):
        of_size = runs[runs["params"] == size]
        sustained = sum(of_size["flops"]) / of_size["seconds"].sum() / 1e12
        yield Rate.from_option(
            "a measured rate",
            {
                "device": device, "precision": precision, "work": work, "params_from": first, "params_below": below,
                "rate": float(f"{sustained:.4g}"), "unit": "TFLOP/s", "kind": "measured",
                "source": f"{source}, {len(of_size)} runs of {size:,} parameters",
            },
        )  # fmt: skip


def _text_rates(study: Study, source: str) -> Iterator[Rate]:
    for work, (count, seconds) in time_of_text(study).items():
        rate = float(f"{count / seconds:.4g}")
        yield Rate.from_option(
            "a measured rate",
            {
                "device": PROCESSOR, "work": work, "rate": rate, "unit": "tokens/s", "kind": "measured",
                "source": f"{source}, {count:,} tokens",
            },
        )  # fmt: skip


def time_of_text(study: Study) -> dict[str, tuple[int, float]]:
    """By kind of work, tokens of the training text and seconds of one core.

    Raises:
        UserError: a manifest is missing.
    """
    return _text_in_parts(study) if study.text.parts else _whole_text(study)


def _whole_text(study: Study) -> dict[str, tuple[int, float]]:
    paths = study.paths
    tokenized = {corpus: read_manifest(paths.tokens / f"{corpus}.manifest.json") for corpus in study.text.corpora}
    tokens = {corpus: manifest["facts"]["tokens"] for corpus, manifest in tokenized.items()}
    spent = {
        "extract": (sum(tokens.values()), read_manifest(paths.corpora / "manifest.json")["seconds"]),
        "tokenize": (tokens["train"], tokenized["train"]["seconds"]),
    }
    if study.sources.tokenizer_folder is None:
        trained = read_manifest(paths.resources / "tokenizer.manifest.json")
        spent["train_tokenizer"] = (tokens["train"], trained["seconds"])
    return spent


def _text_in_parts(study: Study) -> dict[str, tuple[int, float]]:
    """Over all parts: each is read and compared with the held-out text while it is tokenised."""
    manifests = [read_manifest(manifest_of(study.paths.part(name) / "tokens")) for name in study.text.parts]
    tokens = sum(manifest["facts"]["tokens"] for manifest in manifests)
    reading = sum(manifest["facts"]["seconds_reading"] for manifest in manifests)
    spent = {
        "extract": (tokens, reading),
        "tokenize": (tokens, sum(manifest["seconds"] for manifest in manifests) - reading),
    }
    if study.sources.tokenizer_folder is None:
        trained = read_manifest(study.paths.resources / "tokenizer.manifest.json")
        spent["train_tokenizer"] = (manifests[0]["facts"]["tokens"], trained["seconds"])
    return spent
