"""Check that the tokenised corpora hold the windows that a study reads of them."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.reading import Reading
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, MORE_FILES, MORE_PASSES, MORE_TEXT, Windows
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="folder with a folder of tokens for each corpus")
    parser.add_argument("--sequences", type=int, required=True, help="how many of the training text are read")
    parser.add_argument("--sequence-length", type=int, required=True, help="tokens of each")
    parser.add_argument(
        "--reading", type=cli.json_argument, default={}, help="JSON: how often the training text is read, and its parts"
    )
    parser.add_argument(
        "--needs", type=cli.json_argument, default={}, help="JSON, other text: {CORPUS: [[windows, length], ...], ...}"
    )
    parser.add_argument("--in-parts", action="store_true", help="the training text was fetched as far as needed")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("check_text", {"sequences": args.sequences, "needs": args.needs})
    found = {"train": _check_training_text(args)}
    for corpus, needs in args.needs.items():
        store = TokenStore(args.tokens / corpus)
        found[corpus] = len(store)
        for windows, length in needs:
            Windows(store, length, EVALUATION_SEED).require(windows, "the study")
    manifest.write(args.manifest, {}, {"tokens": found})


def _check_training_text(args: argparse.Namespace) -> int:
    """Tokens of the training text.

    Raises:
        UserError: they are too few for the passes over them; says how many passes would do.
    """
    store, reading = TokenStore(args.tokens / "train"), Reading.model_validate(args.reading)
    windows = Windows(store, args.sequence_length, EVALUATION_SEED, reading)
    passes = reading.passes_that_suffice(args.sequences, windows.count)
    repeat = MORE_PASSES.format(passes=passes) if passes else MORE_TEXT
    windows.require(args.sequences, "the study", MORE_FILES if args.in_parts else repeat)
    return len(store)


if __name__ == "__main__":
    cli.run(main)
