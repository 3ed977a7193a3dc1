"""Join the tokens of all parts to one training text, without a copy."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.tokens import join_tokens
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", type=cli.named_path, action="append", required=True, metavar="NAME=PATH",
        help="its folder of tokens; the name is the seed of its windows' order; repeat it for each part, in order",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write: an index of the parts' content")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("join_parts", {"parts": [name for name, _ in args.part]})
    index = join_tokens(args.out, dict(args.part))
    manifest.write(args.manifest, {"tokens": args.out}, {"tokens": index["tokens"], "parts": len(args.part)})


if __name__ == "__main__":
    cli.run(main)
