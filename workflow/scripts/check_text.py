"""Check that tokenised corpora hold the sequences that a study reads of them."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.reading import Reading
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, MORE_FILES, MORE_HELD_OUT, MORE_PASSES, MORE_TEXT, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="folder with a folder of tokens for each corpus")
    parser.add_argument(
        "--needs", type=cli.json_argument, required=True, help="JSON: {CORPUS: [[sequences, length], ...], ...}"
    )
    parser.add_argument(
        "--reading", type=cli.json_argument, default={}, help="JSON: how often the training text is read, and its parts"
    )
    parser.add_argument("--in-parts", action="store_true", help="text is divided and fetched as far as needed")
    parser.add_argument("--estimate", type=int, default=0, help="tokens that each should hold at least (default: 0)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    training = Reading.from_option("--reading", args.reading)
    manifest = ManifestWriter("check_text", {"needs": args.needs, "reading": training.model_dump()})
    found = {}
    for corpus, needs in args.needs.items():
        store = TokenStore(args.tokens / corpus)
        found[corpus] = len(store)
        split = Path(corpus).parts[0]
        for sequences, length in needs:
            if split == TRAIN:
                _require_training_text(Windows(store, length, EVALUATION_SEED, training), sequences, args.in_parts)
            else:
                remedy = MORE_HELD_OUT if args.in_parts and split in HELD_OUT else MORE_TEXT
                Windows(store, length, EVALUATION_SEED).require(sequences, "the study", remedy)
        if len(store) < args.estimate:
            raise UserError(
                f"{store.name} holds {len(store):,} tokens, and {args.estimate:,} by tokens_per_file of the training "
                f"text: lower that to {len(store) / args.estimate:.0%} of it or less. Once runs are trained, another "
                "number would train again those that read other parts by it"
            )
    manifest.write(args.manifest, {}, {"tokens": found})


def _require_training_text(windows: Windows, sequences: int, in_parts: bool) -> None:
    """Refuse a training text that is too short for the passes over it.

    Raises:
        UserError: says how many passes would do, or asks for more files.
    """
    if in_parts and windows.reading.passes == 1:  # text that is read in passes is all that the source has
        remedy = MORE_FILES
    else:
        passes = windows.reading.passes_that_suffice(sequences, windows.count)
        remedy = MORE_PASSES.format(passes=passes) if passes else MORE_TEXT
    windows.require(sequences, "the study", remedy)


if __name__ == "__main__":
    cli.run(main)
