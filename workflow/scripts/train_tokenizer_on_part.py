"""Train the study's tokenizer on the training documents of one part of a numbered source."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import Splits
from pruning_vs_scratch.data.documents import LeftOut
from pruning_vs_scratch.data.parts import PartReader, training_documents
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_part(parser)
    parser.add_argument(
        "--splits", type=cli.json_argument, required=True, help="corpus.splits of a configuration: JSON text or a file"
    )
    parser.add_argument("--vocab-size", type=cli.positive_integer, required=True, help="entries of the vocabulary")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    splits = Splits.from_option("--splits", args.splits)
    manifest = ManifestWriter(
        "train_tokenizer", {"vocab_size": args.vocab_size, "files": args.files, "splits": splits.model_dump()}
    )
    manifest.add_input("part", args.part)
    part = PartReader(args.part, args.files, args.text_key, LeftOut(args.broken_lines))
    tokenizer = train_bpe((document.text for document in training_documents(part, splits)), args.vocab_size)
    save_tokenizer(tokenizer, args.out)
    manifest.write(args.manifest, {"tokenizer": args.out}, {"vocab_size": tokenizer.get_vocab_size()})


if __name__ == "__main__":
    cli.run(main)
