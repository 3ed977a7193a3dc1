"""Train the study's tokenizer on the documents of the training split."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, required=True, help="documents of the training split (.jsonl)")
    parser.add_argument("--vocab-size", type=int, required=True, help="entries of the vocabulary")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()

    manifest = ManifestWriter("train_tokenizer", {"vocab_size": args.vocab_size})
    manifest.add_input("documents", args.documents)
    tokenizer = train_bpe((document.text for document in read_documents(args.documents)), args.vocab_size)
    save_tokenizer(tokenizer, args.out)
    manifest.write(args.manifest, {"tokenizer": args.out}, {"vocab_size": tokenizer.get_vocab_size()})


if __name__ == "__main__":
    cli.run(main)
