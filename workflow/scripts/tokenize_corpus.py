"""Tokenise the documents of one corpus into shards, and check that they hold the windows that will be read."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.domains import DomainStream
from pruning_vs_scratch.data.tokenizer import load_tokenizer, separator_of
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, required=True, help="documents of the corpus (.jsonl)")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--shard-tokens", type=int, required=True, help="tokens in one shard")
    parser.add_argument(
        "--domains", type=json_argument, default=[], help="JSON: pairs of a domain and patterns on document names"
    )
    parser.add_argument("--windows", type=json_argument, default=[], help="JSON: pairs of windows needed and length")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()

    manifest = ManifestWriter("tokenize_corpus", {"shard_tokens": args.shard_tokens, "domains": args.domains})
    manifest.add_input("documents", args.documents)
    manifest.add_input("tokenizer", args.tokenizer / "tokenizer.json")
    tokenizer = load_tokenizer(args.tokenizer)
    separator = separator_of(args.tokenizer)
    if separator is None:
        raise UserError(f"the tokenizer {args.tokenizer} has no end-of-text token to stand between documents")
    stream = DomainStream(read_documents(args.documents), dict(args.domains))
    documents = stream.tokenised(lambda text: [separator, *tokenizer.encode(text, add_special_tokens=False).ids])
    index = write_tokens(
        args.out,
        documents,
        domains=stream.ranges,
        vocab_size=tokenizer.get_vocab_size(),
        shard_tokens=args.shard_tokens,
        tokenizer_sha256=sha256_of_file(args.tokenizer / "tokenizer.json"),
    )
    for sequences, length in args.windows:
        Windows(TokenStore(args.out), length, EVALUATION_SEED).require(sequences, "the study")
    manifest.write(args.manifest, {"tokens": args.out}, {"tokens": index["tokens"]})


if __name__ == "__main__":
    cli.run(main)
