"""Put aside the held-out documents of a part of a numbered source, as they are."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import Splits
from pruning_vs_scratch.data.documents import LeftOut
from pruning_vs_scratch.data.parts import PartReader, divide_part
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_part(parser)
    parser.add_argument(
        "--splits", type=cli.json_argument, required=True, help="corpus.splits of a configuration: JSON text or a file"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write: one .jsonl file a split")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    splits = Splits.from_option("--splits", args.splits)
    manifest = ManifestWriter("divide_part", {"files": args.files, "splits": splits.model_dump()})
    part = PartReader(args.part, args.files, args.text_key, LeftOut(args.broken_lines))
    manifest.add_input("part", args.part)
    facts = divide_part(part, splits, args.out)
    manifest.write(args.manifest, {"held_out": args.out}, facts)


if __name__ == "__main__":
    cli.run(main)
