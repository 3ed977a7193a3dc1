"""Score a checkpoint for one method, once for all ratios; prune.py --scores takes the file.

By hand: score.py --model DIR --method sleb --shape layers=8 --calibration text.txt --out sleb.safetensors
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, request_of
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.arguments import add_text_arguments
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS
from pruning_vs_scratch.pruning.request import ScoringRequest

KEYS = ", ".join(SHAPE_KEYS)


def main() -> None:
    """Entry point."""
    catalogue.require_sound()
    args = _arguments()
    request = request_of(ScoringRequest, args, manifest=args.manifest or args.out.with_suffix(".manifest.json"))
    request.require_inputs()

    import_libraries()
    from pruning_vs_scratch.pruning.scoring import score_and_record

    score_and_record(request)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to score")
    parser.add_argument("--method", choices=catalogue.methods(), required=True, help="pruning method")
    parser.add_argument("--options", type=json_argument, default={}, help="JSON: options of the method")
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument("--shape", nargs="+", metavar="KEY=N", help=f"the shape that will be asked for ({KEYS})")
    goals.add_argument("--shapes", type=json_argument, default=[], help="JSON: all shapes that will be asked for")
    add_text_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="file of scores to write (.safetensors)")
    parser.add_argument("--manifest", type=Path, help="manifest to write (default: beside --out)")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
