"""The options of scoring and pruning on the command line."""

import argparse
from pathlib import Path

from pruning_vs_scratch.cli import json_argument, number, positive_integer, request_of
from pruning_vs_scratch.config.pruning import USUAL_DEVICE_BUFFER_GIB, USUAL_PRECISION
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS
from pruning_vs_scratch.pruning.request import USUAL_LENGTH, USUAL_SEQUENCES, PruningRequest


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that determine which text is read, and on what it is read."""
    text = parser.add_argument_group("how (calibration text)")
    text.add_argument(
        "--calibration", type=Path, nargs="+", default=[], metavar="PATH",
        help="folder of token shards, or files of text or of JSON lines, or one .npy of token windows, shape "
        "(n, length)",
    )  # fmt: skip
    text.add_argument(
        "--sequences", type=positive_integer, metavar="N", help=f"windows to read (default: {USUAL_SEQUENCES})"
    )
    text.add_argument(
        "--sequence-length", type=positive_integer, metavar="N", help=f"tokens per window (default: {USUAL_LENGTH})"
    )
    text.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="folder of the tokenizer (default: the checkpoint's)"
    )
    text.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the order of the windows (default: 0)")
    _add_machine_arguments(parser)


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """The options for the memory and arithmetic with which the text is read."""
    machine = parser.add_argument_group("where it runs (threads and memory)")
    machine.add_argument("--threads", type=positive_integer, metavar="N", help="CPU threads (default: all cores)")
    machine.add_argument("--low-memory", action="store_true", help="read each block from disk when its turn comes")
    machine.add_argument(
        "--batch-size", type=positive_integer, default=1, metavar="N", help="windows run together (default: 1)"
    )
    machine.add_argument(
        "--host-buffer-gib", type=number, default=16.0, metavar="GIB",
        help="hidden states in memory, beyond it in a file (default: 16)",
    )  # fmt: skip
    machine.add_argument(
        "--device-buffer-gib", type=number, default=USUAL_DEVICE_BUFFER_GIB, metavar="GIB",
        help="hidden states and weights that stay on a GPU (default: 16)",
    )  # fmt: skip
    machine.add_argument(
        "--precision", choices=["auto", "bf16", "fp32"], default=USUAL_PRECISION,
        help="arithmetic of the passes over the text (default: auto, bf16 on a GPU)",
    )  # fmt: skip


def add_pruning_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a pruning command."""
    what = parser.add_argument_group("what to prune")
    what.add_argument("--model", type=Path, required=True, metavar="DIR", help="checkpoint to prune (safetensors)")
    what.add_argument(
        "--method", choices=catalogue.methods(), required=True, metavar="METHOD",
        help=f"pruning method: {', '.join(catalogue.methods())}",
    )  # fmt: skip
    goal = what.add_mutually_exclusive_group()
    goal.add_argument("--ratio", type=number, metavar="R", help="share of the decoder to prune, between 0 and 1")
    goal.add_argument(
        "--shape", nargs="+", metavar="KEY=N", help=f"depth and width methods: the shape ({', '.join(SHAPE_KEYS)})"
    )
    goal.add_argument("--target", type=Path, metavar="FILE", help="target file of a study")
    what.add_argument("--pattern", choices=["2:4", "4:8"], help="sparse methods: keep N of each M consecutive weights")
    what.add_argument("--options", type=json_argument, default={}, metavar="JSON", help="options of the method")
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint folder to write")
    add_text_arguments(parser)
    _add_study_arguments(parser)


def _add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that only a study's steps use."""
    step = parser.add_argument_group("as a step of a study")
    step.add_argument("--scores", type=Path, metavar="FILE", help="scores of score.py, instead of calibration text")
    step.add_argument("--mask-learning", type=json_argument, metavar="JSON", help="token plan of mask learning")
    step.add_argument(
        "--saving", type=json_argument, default={}, metavar="JSON",
        help="its checkpoint_every_minutes, keep_checkpoints",
    )  # fmt: skip
    step.add_argument(
        "--domains", type=json_argument, default={}, metavar="JSON",
        help="proportions of the domains that masks are learned on",
    )  # fmt: skip
    step.add_argument("--validation", type=Path, metavar="DIR", help="token shards by which these domains are weighed")
    step.add_argument(
        "--work", type=Path, metavar="DIR", help="folder for resume state of mask learning (default: next to --out)"
    )
    step.add_argument("--run", metavar="NAME", help="name of the run (default: that of --out)")
    step.add_argument("--manifest", type=Path, metavar="FILE", help="manifest to write (default: OUT.manifest.json)")


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
