"""The files of a study that the page links to, by relative addresses."""

from dataclasses import dataclass
from pathlib import Path

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file

FILES = {
    "claims.md": "the claims in words, with every comparison",
    "claims.json": "the same for programs",
    "results.csv": "every score of every run",
    "ledger.csv": "what each run read and spent, as the training loop counted it",
    "efficiency.csv": "size and speed of every run",
    "times.csv": "how long each phase took",
    "provenance.csv": "code, hardware and versions of each phase",
    "config.yaml": "the whole configuration, as it was run",
}
"""By name, what each holds."""


@dataclass(frozen=True)
class Neighbour:
    """A file of the study's results."""

    name: str
    holds: str
    sha256: str


def neighbours(results: Path) -> list[Neighbour]:
    """The files that the page leads to, with their hashes.

    Raises:
        UserError: one is missing.
    """
    try:
        return [Neighbour(name, holds, sha256_of_file(results / name)) for name, holds in FILES.items()]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: run the workflow up to its tables again") from error
