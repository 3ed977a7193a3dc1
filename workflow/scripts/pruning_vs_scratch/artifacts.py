"""What a step wrote, and the manifest next to it: what was changed since is refused where it is read.

A manifest lists the files of its outputs with their sizes and hashes, and carries a hash of itself.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_vs_scratch.cli import relative_name
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import ITSELF, FileFacts, file_facts, read_json, sha256_of_facts, sha256_of_value

SCHEMA = 2
"""The form of the manifests that this version writes. Those of form 1 have no hashes of single files."""
SEAL = "sha256"
"""The key of a manifest's hash of everything else in it."""


def manifest_of(path: Path) -> Path:
    """Path of the manifest of a folder or file that has its own."""
    return path.with_name(f"{path.name}.manifest.json")


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with its own hash, which is that of its text: keys that are numbers become words first."""
    written = json.loads(json.dumps(manifest))
    return {**written, SEAL: _seal(written)}


def is_sealed(manifest: Mapping[str, Any]) -> bool:
    """Whether what ``sealed`` wrote was not changed since."""
    return manifest.get(SEAL) == _seal(manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: it is missing, damaged, changed, or of a newer form.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"the manifest {relative_name(path)} is missing: its folder is incomplete; delete the folder and run again"
        )
    manifest = read_json(path)
    form = manifest.get("schema", 0) if isinstance(manifest, dict) else None
    if isinstance(form, int) and form > SCHEMA:
        raise UserError(f"the manifest {relative_name(path)} was written by a newer version of this project")
    if (
        not isinstance(form, int)
        or not isinstance(manifest.get("facts"), dict)
        or (form == SCHEMA and not is_sealed(manifest))
    ):
        raise UserError(
            f"the manifest {relative_name(path)} is damaged, or was changed since it was written: delete it with what "
            "it describes, and run again"
        )
    return dict(manifest)


@dataclass(frozen=True)
class Record:
    """What a manifest says of an artifact: a file or folder that its step wrote, or a file of such a folder."""

    manifest: Path
    place: Path
    """The artifact."""
    files: dict[str, FileFacts]
    """As file_facts."""

    @property
    def sha256(self) -> str:
        """As sha256_of_path."""
        return sha256_of_facts(self.files)

    def difference(self, found: Mapping[str, FileFacts]) -> str | None:
        """How the artifact differs from what was written; None if it does not."""
        for name in sorted(self.files.keys() | found.keys()):
            place = self.place / name
            if name not in found:
                return f"{place} is missing"
            if name not in self.files:
                return f"{place} was not written with the rest of {self.place}"
            if found[name] != self.files[name]:
                return f"{place} has changed since it was written"
        return None


def record_of(path: Path) -> Record | None:
    """What the manifest beside an artifact says of it; None for what no step of this project wrote.

    Raises:
        UserError: a manifest beside it is damaged.
    """
    absolute = Path(path).absolute()  # the working folder has a name, too
    if (own := next(_records(absolute), None)) is not None:
        return Record(own[0], path, own[1])
    for manifest, files in _records(absolute.parent):
        if absolute.name in files:
            return Record(manifest, path, {ITSELF: files[absolute.name]})
    return None


def require_as_written(path: Path, found: Mapping[str, FileFacts] | None = None) -> None:
    """Check an artifact against the manifest beside it, if there is one.

    ``found`` are its facts as it is now, if they are known already.

    Raises:
        UserError: names the file that differs, and what to do.
    """
    record = record_of(path)
    if record is not None and (difference := record.difference(file_facts(path) if found is None else found)):
        manifest = relative_name(record.manifest)
        raise UserError(
            f"{difference} ({manifest} has its hash): delete {path} and {manifest} and run again, or, if you changed "
            "it on purpose, the manifest alone"
        )


def _records(place: Path) -> Iterator[tuple[Path, dict[str, FileFacts]]]:
    """Manifests next to a place that list its files, and the files."""
    if not place.name:  # the root
        return
    for manifest in (place.parent / "manifest.json", manifest_of(place), place.with_suffix(".manifest.json")):
        if manifest.is_file():
            for output in read_manifest(manifest).get("outputs", {}).values():
                if Path(output["path"]).name == place.name and "files" in output:
                    yield manifest, output["files"]


def _seal(manifest: Mapping[str, Any]) -> str:
    return sha256_of_value({key: value for key, value in manifest.items() if key != SEAL})
