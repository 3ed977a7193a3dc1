"""Check that tokenised corpora hold the windows that a study reads of them."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.data.splits import HELD_OUT, TRAIN
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, MORE_FILES, MORE_HELD_OUT, MORE_TEXT, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="folder with a folder of tokens for each corpus")
    parser.add_argument(
        "--needs", type=cli.json_argument, required=True, help="JSON: {CORPUS: [[windows, length], ...], ...}"
    )
    parser.add_argument("--in-parts", action="store_true", help="text is divided and fetched as far as needed")
    parser.add_argument("--estimate", type=int, default=0, help="tokens that each should hold at least (default: 0)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    manifest = ManifestWriter("check_text", {"needs": args.needs})
    in_parts = dict.fromkeys(HELD_OUT, MORE_HELD_OUT) | {TRAIN: MORE_FILES} if args.in_parts else {}
    found = {}
    for corpus, needs in args.needs.items():
        store = TokenStore(args.tokens / corpus)
        remedy = in_parts.get(Path(corpus).parts[0], MORE_TEXT)
        found[corpus] = len(store)
        for windows, length in needs:
            Windows(store, length, EVALUATION_SEED).require(windows, "the study", remedy)
        if len(store) < args.estimate:
            raise UserError(
                f"{store.name} holds {len(store):,} tokens, and {args.estimate:,} by tokens_per_file of the training "
                f"text: lower that to {len(store) / args.estimate:.0%} of it or less. Once runs are trained, another "
                "number would train again those that read other parts by it"
            )
    manifest.write(args.manifest, {}, {"tokens": found})


if __name__ == "__main__":
    cli.run(main)
