"""Find the runs of words of held-out text that stand in the training text of a part."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.parts import PartReader, find_overlap
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_part(parser)
    cli.add_corpus(parser)
    parser.add_argument("--held-out", type=Path, required=True, help="folder that gather_held_out.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="hashes to write (.npy)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    corpus = CorpusConfig.from_option("--corpus", args.corpus)
    manifest = ManifestWriter("find_overlap", {"files": args.files, "overlap_words": corpus.overlap_words})
    training = PartReader(corpus, args.part, args.files)
    manifest.add_input("part", args.part)
    manifest.add_input("held_out", args.held_out)
    runs = find_overlap(corpus, training, args.held_out, args.out)
    manifest.write(args.manifest, {"overlap": args.out}, {"shared_runs": runs})


if __name__ == "__main__":
    cli.run(main)
