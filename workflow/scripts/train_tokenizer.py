"""Train the study's tokenizer on the documents of the training split, or on those of one part of it."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.documents import Document, read_documents
from pruning_vs_scratch.data.parts import PartReader
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--documents", type=Path, help="documents of the training split (.jsonl)")
    text.add_argument("--part", type=Path, help="folder of one part of a numbered source, with its manifest beside it")
    parser.add_argument("--files", nargs="+", help="with --part: its files, in order")
    parser.add_argument("--corpus", type=cli.json_argument, help="with --part: the corpus section (JSON text or file)")
    parser.add_argument("--vocab-size", type=int, required=True, help="entries of the vocabulary")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()

    manifest = ManifestWriter("train_tokenizer", {"vocab_size": args.vocab_size})
    if args.part is not None:
        manifest.add_input("part", args.part)
    else:
        manifest.add_input("documents", args.documents)
    tokenizer = train_bpe((document.text for document in _documents(args)), args.vocab_size)
    save_tokenizer(tokenizer, args.out)
    manifest.write(args.manifest, {"tokenizer": args.out}, {"vocab_size": tokenizer.get_vocab_size()})


def _documents(args: argparse.Namespace) -> Iterable[Document]:
    if args.part is None:
        return read_documents(args.documents)
    if args.files is None or args.corpus is None:
        raise UserError("--part needs --files and --corpus, which say how its documents are read and divided")
    return PartReader(CorpusConfig.from_option("--corpus", args.corpus), args.part, args.files)


if __name__ == "__main__":
    cli.run(main)
