"""Take the tokenizer of a checkpoint for a study, if its vocabulary is the one that the configuration says."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.data.tokenizer import take_tokenizer
from pruning_vs_scratch.files import TOKENIZER_FILE
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of acquire_checkpoint.py")
    parser.add_argument("--vocab-size", type=positive_integer, required=True, help="rows of the models' embeddings")
    parser.add_argument("--exactly", action="store_true", help="refuse embeddings with more rows than entries, too")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("take_tokenizer", {"vocab_size": args.vocab_size, "exactly": args.exactly})
    manifest.add_input("tokenizer", args.checkpoint / TOKENIZER_FILE)
    facts = take_tokenizer(args.checkpoint, args.vocab_size, args.out, exactly=args.exactly)
    manifest.write(args.manifest, {"tokenizer": args.out}, facts)


if __name__ == "__main__":
    cli.run(main)
