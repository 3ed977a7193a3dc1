"""Tokenise the training documents of a part of a numbered source, without what they share with held-out text."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import Splits
from pruning_vs_scratch.data.documents import LeftOut
from pruning_vs_scratch.data.held_out_runs import HeldOutRuns
from pruning_vs_scratch.data.parts import PartReader, TrainingText
from pruning_vs_scratch.data.tokenizer import Encoder
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.files import TOKENIZER_FILE
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_part(parser)
    parser.add_argument(
        "--splits",
        type=cli.json_argument,
        help="corpus.splits of a configuration, by which documents of this part are held out (default: none are)",
    )
    parser.add_argument("--held-out", type=Path, required=True, help="runs of words that gather_held_out.py wrote")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--shard-tokens", type=cli.positive_integer, required=True, help="tokens in one file")
    parser.add_argument("--threads", type=cli.positive_integer, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    splits = Splits.from_option("--splits", args.splits) if args.splits is not None else None
    options = {"files": args.files, "shard_tokens": args.shard_tokens, "splits": splits and splits.model_dump()}
    manifest = ManifestWriter("tokenize_part", options)
    manifest.add_input("tokenizer", args.tokenizer / TOKENIZER_FILE)
    manifest.add_input("held_out", args.held_out)
    part = PartReader(args.part, args.files, args.text_key, LeftOut(args.broken_lines))
    training = TrainingText(part, splits, HeldOutRuns.load(args.held_out))
    manifest.add_input("part", args.part)
    encoder = Encoder(args.tokenizer, args.threads)
    index = write_tokens(
        args.out,
        encoder.encode(document.text for document in training),
        vocab_size=encoder.vocab_size,
        shard_tokens=args.shard_tokens,
        tokenizer_sha256=encoder.sha256,
    )
    facts = {**training.facts, "tokens": index["tokens"], "threads": args.threads}
    manifest.write(args.manifest, {"tokens": args.out}, facts)


if __name__ == "__main__":
    cli.run(main)
