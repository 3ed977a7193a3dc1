"""Whether the results of a study are what its steps wrote, each from what the step before it wrote.

Steps check what they read (``ManifestWriter.add_input``). This looks at what no later step hashes, such as scores, and
at the links between steps: an artifact that was made again leaves what was made from its earlier form behind.
"""

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pruning_vs_scratch.artifacts import Record, read_manifest, record_of
from pruning_vs_scratch.errors import Unfinished, UserError
from pruning_vs_scratch.files import PRUNING_FILE, file_facts, sha256_of_path
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.times import manifest_paths

MOST_SHOWN = 20
"""Problems that a message lists."""


class Verification:
    """The manifests of a study, and what they say of its artifacts."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._records: dict[Path, Record | None] = {}

    @cached_property
    def manifests(self) -> dict[Path, dict[str, Any]]:
        """Those that there are, the first steps first."""
        return {path: read_manifest(path) for path in self._expected() if path.exists()}

    def missing(self) -> Iterator[str]:
        """Manifests that a finished study has and this one lacks."""
        return (f"{path} is missing" for path in self._expected() if not path.exists())

    def altered(self) -> Iterator[str]:
        """Files of any artifact that are missing or are not what was written; reads all of it."""
        removed = {self.study.paths.model(run) for run in self.study.pruned_candidates}  # once they are measured
        for manifest, content in self.manifests.items():
            for output in content.get("outputs", {}).values():
                place = manifest.parent / Path(output["path"]).name
                if place.exists():
                    yield from self._altered(place)
                elif place not in removed:
                    yield f"{place} is missing"

    def altered_results(self) -> Iterator[str]:
        """The same of what tables are made from: scores, and the records of training and pruning."""
        paths, study = self.study.paths, self.study
        read = [paths.metrics(run) for run in study.trained_runs]
        read += [paths.evaluation / group for group in study.evaluation_groups]
        read += [paths.speed] if study.config.evaluation.speed else []
        read += [paths.scores(run, method) for run, method in study.scorings]
        read += [paths.model(run) / PRUNING_FILE for run in study.pruned_runs]
        for path in read:
            yield from self._altered(path)

    def broken_links(self) -> Iterator[str]:
        """Steps that read another form of an artifact than the one that is there, and manifests out of place."""
        for path, manifest in self.manifests.items():
            for output in manifest.get("outputs", {}).values():
                if Path(output["path"]).parent != path.parent:
                    yield f"{path} is the manifest of {output['path']}: it was moved"
            for name, place in manifest.get("input_paths", {}).items():
                if self._sha256(Path(place)) not in (None, manifest["inputs"][name]):
                    yield f"{path} was made from another {place} than the one that is there"

    def _expected(self) -> Iterator[Path]:
        speed = self.study.paths.speed.with_suffix(".manifest.json")
        for _, path in manifest_paths(self.study):
            if path != speed or self.study.config.evaluation.speed:
                yield path

    def _altered(self, place: Path) -> Iterator[str]:
        record = self._record(place)
        if record is not None and (difference := record.difference(file_facts(place))):
            yield difference

    def _record(self, place: Path) -> Record | None:
        if place not in self._records:
            self._records[place] = record_of(place)
        return self._records[place]

    def _sha256(self, place: Path) -> str | None:
        """Of an artifact as its manifest has it, or of a file that no step wrote; None if there is neither."""
        record = self._record(place)
        if record is not None:
            return record.sha256
        return sha256_of_path(place) if place.exists() else None


def verified(study: Study) -> str:
    """Check all files of a finished study; what was compared, in words.

    Raises:
        UserError: the study is not finished, or a list of what is wrong.
    """
    if not (results := study.paths.results / "results.csv").exists():
        raise Unfinished(study.name, results)
    start = time.monotonic()
    verification = Verification(study)
    refuse([*verification.missing(), *verification.altered(), *verification.broken_links()])
    outputs = [output for found in verification.manifests.values() for output in found.get("outputs", {}).values()]
    compared = [output["files"] for output in outputs if "files" in output]
    size = sum(fact["bytes"] for files in compared for fact in files.values())
    text = (
        f"study {study.name}: {len(compared)} artifacts of {len(verification.manifests)} steps are what was written, "
        f"each from what the step before it wrote ({size / 2**20:,.0f} MiB in {time.monotonic() - start:.1f} s)\n"
    )
    if len(compared) < len(outputs):
        text += (
            f"{len(outputs) - len(compared)} artifacts could not be compared: an earlier version wrote them, whose "
            "manifests list no files\n"
        )
    return text


def require_sound_results(study: Study) -> None:
    """Check what tables are made from, and every link from there back to the text.

    Raises:
        UserError: lists what is wrong.
    """
    verification = Verification(study)
    refuse([*verification.altered_results(), *verification.broken_links()])


def refuse(problems: list[str]) -> None:
    """End with a list of problems.

    Raises:
        UserError: there is one.
    """
    if problems:
        shown = problems[:MOST_SHOWN]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise UserError(
            "these are not what their steps wrote or read; delete each, with its manifest, and run again:\n"
            + "\n".join(f"  {line}" for line in (*shown, *more))
        )
