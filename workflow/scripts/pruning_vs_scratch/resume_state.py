"""Where a run keeps what it needs to resume after a kill: a separate folder under a work folder."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.files import sha256_of_value
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.manifest import source_hash

KEY_DIGITS = 16
KEY_PATTERN = "[0-9a-f]" * KEY_DIGITS


@contextmanager
def resume_state(work: Path, run: str, spec_hash: str) -> Iterator[Path]:
    """The state folder of a run, to this process alone; waits for another process that works on the run.

    It is keyed by what the run depends on: state of another plan, other inputs or other code is not continued. Once
    the block is done, all states of the run are removed, and nothing else: the folder may be the user's own.
    """
    with exclusive(work / run):
        folder = work / run / sha256_of_value([spec_hash, source_hash()])[:KEY_DIGITS]
        folder.mkdir(exist_ok=True)
        yield folder
        for state in folder.parent.glob(KEY_PATTERN):
            shutil.rmtree(state, ignore_errors=True)


def is_made(manifest: Path, outputs: Collection[Path | None], spec_hash: str) -> bool:
    """Whether a run was made by this code, as by another job of a killed workflow that this one has waited for."""
    if not manifest.exists() or not all(path.exists() for path in outputs if path is not None):
        return False
    try:
        ledger = read_manifest(manifest)["facts"]["ledger"]
        return (ledger["spec_hash"], ledger["source_hash"]) == (spec_hash, source_hash())
    except (KeyError, TypeError):  # that of no run
        return False
