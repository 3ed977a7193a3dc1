"""Join the tokens of all parts to one training text, without a copy."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.tokens import join_tokens
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders of tokens, in order")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: an index of what lies in the parts")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("join_parts", {})
    index = join_tokens(args.out, args.parts)
    manifest.write(args.manifest, {"tokens": args.out}, {"tokens": index["tokens"], "parts": len(args.parts)})


if __name__ == "__main__":
    cli.run(main)
