"""Divide a part of a numbered source: training documents become tokens, the others are put aside as they are."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.data.parts import PartReader, write_corpora
from pruning_vs_scratch.data.tokenizer import Encoder
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.files import TOKENIZER_FILE
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_part(parser)
    cli.add_corpus(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--shard-tokens", type=cli.positive_integer, required=True, help="tokens in one file")
    parser.add_argument("--threads", type=cli.positive_integer, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--tokens", type=Path, required=True, help="folder of tokens to write")
    parser.add_argument("--held-out", type=Path, required=True, help="folder of documents to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("tokenize_part", {"files": args.files, "shard_tokens": args.shard_tokens})
    manifest.add_input("tokenizer", args.tokenizer / TOKENIZER_FILE)
    training = PartReader(CorpusConfig.from_option("--corpus", args.corpus), args.part, args.files)
    manifest.add_input("part", args.part)
    encoder = Encoder(args.tokenizer, args.threads)
    index = write_tokens(
        args.tokens,
        encoder.encode(document.text for document in training),
        vocab_size=encoder.vocab_size,
        shard_tokens=args.shard_tokens,
        tokenizer_sha256=encoder.sha256,
    )
    write_corpora(args.held_out, training.held_out)
    facts = {**training.facts, "tokens": index["tokens"], "threads": args.threads}
    manifest.write(args.manifest, {"tokens": args.tokens, "held_out": args.held_out}, facts)


if __name__ == "__main__":
    cli.run(main)
