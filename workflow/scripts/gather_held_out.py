"""Gather what is held out of parts of a numbered source, and the evaluation corpora, as training must not read them."""

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
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders that divide_part.py wrote")
    cli.add_fetched(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for one .jsonl file a corpus")
    parser.add_argument("--runs", type=Path, required=True, help="runs of words to write (.safetensors)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    corpus = CorpusConfig.from_option("--corpus", args.corpus)
    manifest = ManifestWriter("gather_held_out", {"corpus": corpus.without_folders()})
    facts, left_out = gather_held_out(corpus, dict(args.fetched), args.parts, args.out, args.runs)
    for part in args.parts:
        manifest.add_input(part.parent.name, part)
    made = {name: args.out / f"{name}.jsonl" for name in facts}
    manifest.write(args.manifest, made | {"runs": args.runs}, {"corpora": facts} | left_out)


if __name__ == "__main__":
    cli.run(main)
