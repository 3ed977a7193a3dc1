"""Score a checkpoint for one method, once for all ratios; prune.py --scores takes the file.

By hand: score.py --model DIR --method sleb --shape layers=8 --calibration text.txt --out sleb.safetensors
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.calibration_text import add_text_arguments, recorded_options, require_paths
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS, named_shape
from pruning_vs_scratch.study import ModelShape

KEYS = ", ".join(SHAPE_KEYS)


def main() -> None:
    """Entry point."""
    catalogue.require_sound()
    args = _arguments()
    recorded = recorded_options(
        args, "method", "options", "shape", "shapes", "seed", "sequences", "sequence_length", "batch_size", "threads"
    )
    manifest = ManifestWriter("score", recorded, catalogue.packages_of(args.method))
    require_paths(args)
    model_sha256 = manifest.add_input("model", args.model)
    for i, path in enumerate(args.calibration or []):
        manifest.add_input(f"calibration/{i}", path)

    import_libraries()
    from pruning_vs_scratch.pruning.method import options_of
    from pruning_vs_scratch.pruning.scores import TextRead, score, write_scores
    from pruning_vs_scratch.pruning.session import calibration_stream, forget_losses, open_model

    options = options_of(args.method, args.options)
    model = open_model(args)
    goals = [ModelShape.from_dict(shape) for shape in args.shapes]
    if args.shape is not None:
        goals.append(named_shape(args.shape, model.shape))
    if not goals and facts_of(args.method).needs_goals:
        raise UserError(f"the scores of {args.method} depend on what will be asked for: give --shape")
    stream = calibration_stream(args, model, args.out.parent, model_sha256)
    scores = score(stream, args.method, goals, options)
    text = TextRead.by(stream)
    with atomic_file(args.out) as temporary:
        write_scores(scores, args.method, options, text, temporary, model_sha256)
    manifest.write(args.manifest, {"scores": args.out}, {"tokens": text.tokens, "flops": text.flops})
    forget_losses(args)


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
    args = parser.parse_args()
    args.manifest = args.manifest or args.out.with_suffix(".manifest.json")
    return args


if __name__ == "__main__":
    cli.run(main)
