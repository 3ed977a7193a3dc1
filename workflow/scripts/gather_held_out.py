"""Gather what is held out of all parts of a numbered source, and the evaluation corpora, as they are."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.parts import gather_held_out
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_corpus(parser)
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders that tokenize_part.py put aside")
    cli.add_fetched(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    corpus = CorpusConfig.from_option("--corpus", args.corpus)
    manifest = ManifestWriter("gather_held_out", {"corpus": corpus.without_folders()})
    facts = gather_held_out(corpus, dict(args.fetched), args.parts, args.out)
    for part in args.parts:
        manifest.add_input(part.parent.name, part)
    manifest.write(args.manifest, {"held_out": args.out}, facts)


if __name__ == "__main__":
    cli.run(main)
