"""Prune one checkpoint by one method: any Llama-family checkpoint by hand, or a run of a study.

By hand: prune.py --model DIR --method wanda --ratio 0.5 --calibration text.txt --out DIR
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, request_of
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.arguments import add_text_arguments
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS
from pruning_vs_scratch.pruning.request import PruningRequest


def main() -> None:
    """Entry point."""
    catalogue.require_sound()
    request = _request(_arguments())
    request.require_inputs()
    request.require_replaceable()

    import_libraries()
    from pruning_vs_scratch.pruning.step import prune

    prune(request)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to prune (safetensors)")
    parser.add_argument("--method", choices=catalogue.methods(), required=True, help="pruning method")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--ratio", type=float, help="share of the decoder to prune, between 0 and 1")
    goal.add_argument(
        "--shape", nargs="+", metavar="KEY=N", help=f"depth and width methods: the shape ({', '.join(SHAPE_KEYS)})"
    )
    goal.add_argument("--target", type=Path, help="target file of a study")
    parser.add_argument(
        "--pattern", choices=["2:4", "4:8"], help="sparse methods: keep N of each M consecutive weights"
    )
    add_text_arguments(parser)
    parser.add_argument("--scores", type=Path, help="scores of score.py, instead of calibration text")
    parser.add_argument("--options", type=json_argument, default={}, help="JSON: options of the method")
    parser.add_argument("--mask-learning", type=json_argument, help="JSON: token plan of mask learning in a study")
    parser.add_argument(
        "--saving", type=json_argument, default={}, help="JSON: its checkpoint_every_minutes, keep_checkpoints"
    )
    parser.add_argument(
        "--domains", type=json_argument, default={}, help="JSON: proportions of the domains that masks are learned on"
    )
    parser.add_argument("--validation", type=Path, help="token shards by which these domains are weighed")
    parser.add_argument("--work", type=Path, help="folder for resume state of mask learning (default: beside --out)")
    parser.add_argument("--run", help="name of the run (default: that of --out)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--manifest", type=Path, help="manifest to write (default: OUT.manifest.json)")
    return parser.parse_args()


def _request(args: argparse.Namespace) -> PruningRequest:
    """What the options ask for."""
    out = args.out.resolve()
    return request_of(
        PruningRequest,
        args,
        out=out,
        run=args.run or out.name,
        manifest=args.manifest or out.parent / f"{out.name}.manifest.json",
        work=args.work or out.parent / f"{out.name}.work",
    )


if __name__ == "__main__":
    cli.run(main)
