"""Tokenise the documents of one corpus into shards."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, positive_integer
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.domains import DomainStream
from pruning_vs_scratch.data.tokenizer import Encoder
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.files import TOKENIZER_FILE
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
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()

    manifest = ManifestWriter("tokenize_corpus", {"shard_tokens": args.shard_tokens, "domains": args.domains})
    manifest.add_input("documents", args.documents)
    manifest.add_input("tokenizer", args.tokenizer / TOKENIZER_FILE)
    encoder = Encoder(args.tokenizer, args.threads)
    stream = DomainStream(read_documents(args.documents), dict(args.domains))
    index = write_tokens(
        args.out,
        stream.tokenised(encoder.encode),
        domains=stream.ranges,
        vocab_size=encoder.vocab_size,
        shard_tokens=args.shard_tokens,
        tokenizer_sha256=encoder.sha256,
    )
    manifest.write(args.manifest, {"tokens": args.out}, {"tokens": index["tokens"]})


if __name__ == "__main__":
    cli.run(main)
