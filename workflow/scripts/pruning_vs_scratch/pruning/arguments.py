"""The options of scoring and pruning on the command line."""

import argparse
from pathlib import Path

from pruning_vs_scratch.cli import json_argument, positive_integer, request_of
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS
from pruning_vs_scratch.pruning.request import USUAL_LENGTH, USUAL_SEQUENCES, PruningRequest


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that determine which text is read, and how."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", default=[], metavar="PATH",
        help="folder of token shards, or files of text or of JSON lines, or one .npy of token windows, shape "
        "(n, length)",
    )  # fmt: skip
    parser.add_argument("--sequences", type=positive_integer, help=f"windows to read (default: {USUAL_SEQUENCES})")
    parser.add_argument(
        "--sequence-length",
        type=positive_integer,
        help=f"tokens per window (default: {USUAL_LENGTH})",
    )
    parser.add_argument("--batch-size", type=positive_integer, default=1, help="windows run together (default: 1)")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer (default: the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the windows (default: 0)")
    parser.add_argument("--threads", type=positive_integer, help="CPU threads (default: all cores)")
    parser.add_argument("--low-memory", action="store_true", help="read each block from disk when its turn comes")
    parser.add_argument(
        "--host-buffer-gib", type=float, default=16.0, help="hidden states in memory, beyond it in a file (default: 16)"
    )
    parser.add_argument(
        "--device-buffer-gib",
        type=float,
        default=USUAL_DEVICE_BUFFER_GIB,
        help="hidden states and weights that stay on a GPU (default: 16)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp32"],
        default=USUAL_PRECISION,
        help="arithmetic of the passes over the text (default: auto, bf16 on a GPU)",
    )


def add_pruning_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a pruning command."""
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


def pruning_request(args: argparse.Namespace) -> PruningRequest:
    """The request given by the options of a pruning command."""
    out = args.out.resolve()
    return request_of(
        PruningRequest,
        args,
        out=out,
        run=args.run or out.name,
        manifest=args.manifest or out.parent / f"{out.name}.manifest.json",
        work=args.work or out.parent / f"{out.name}.work",
    )


def prune_by_arguments(args: argparse.Namespace) -> None:
    """Check the request before the libraries are imported, then prune."""
    catalogue.require_sound()
    request = pruning_request(args)
    request.require_inputs()
    request.require_replaceable()

    import_libraries()
    from pruning_vs_scratch.pruning.step import prune

    prune(request)
