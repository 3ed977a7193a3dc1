"""Score a checkpoint for one method, once for all ratios; prune.py --scores takes the file."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.files import RECORDS, atomic_file
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.calibration_text import add_text_arguments, require_paths
from pruning_vs_scratch.study import ModelShape


def main() -> None:
    """Entry point."""
    catalogue.require_sound()
    args = _arguments()
    names = ("method", "options", "shapes", "seed", "sequences", "sequence_length", "batch_size", "threads")
    manifest = ManifestWriter(
        "score", {name: getattr(args, name) for name in names}, catalogue.packages_of(args.method)
    )
    require_paths(args)
    model_sha256 = manifest.add_input("model", args.model, ignore=RECORDS)
    for i, path in enumerate(args.calibration or []):
        manifest.add_input(f"calibration/{i}", path)

    from pruning_vs_scratch.pruning.method import options_of
    from pruning_vs_scratch.pruning.scores import TextRead, score, write_scores
    from pruning_vs_scratch.pruning.session import calibration_stream, open_model

    options = options_of(args.method, args.options)
    model = open_model(args)
    stream = calibration_stream(args, model, args.out.parent)
    scores = score(stream, args.method, [ModelShape.from_dict(shape) for shape in args.shapes], options)
    text = TextRead.by(stream)
    with atomic_file(args.out) as temporary:
        write_scores(scores, args.method, options, text, temporary, model_sha256)
    manifest.write(args.manifest, {"scores": args.out}, {"tokens": text.tokens, "flops": text.flops})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to score")
    parser.add_argument("--method", choices=catalogue.methods(), required=True, help="pruning method")
    parser.add_argument("--options", type=json_argument, default={}, help="JSON: options of the method")
    parser.add_argument("--shapes", type=json_argument, required=True, help="JSON: shapes that will be asked for")
    add_text_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="file of scores to write (.safetensors)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
