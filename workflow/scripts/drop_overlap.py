"""Write the held-out corpora without the paragraphs that overlap the training text of any part."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.parts import drop_overlap
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_corpus(parser)
    parser.add_argument("--held-out", type=Path, required=True, help="folder that gather_held_out.py wrote")
    parser.add_argument("--overlaps", type=Path, nargs="+", required=True, help="files that find_overlap.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .jsonl file a corpus")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    corpus = CorpusConfig.from_option("--corpus", args.corpus)
    manifest = ManifestWriter("drop_overlap", {"overlap_words": corpus.overlap_words})
    manifest.add_input("held_out", args.held_out)
    for overlap in args.overlaps:
        manifest.add_input(overlap.parent.name, overlap)
    facts = drop_overlap(corpus, args.held_out, args.overlaps, args.out)
    manifest.write(args.manifest, {name: args.out / f"{name}.jsonl" for name in facts}, {"corpora": facts})


if __name__ == "__main__":
    cli.run(main)
