"""Measure latency, generation speed and memory of checkpoints, one after the other."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import named_path, positive_integer
from pruning_vs_scratch.config.evaluation import SpeedConfig
from pruning_vs_scratch.manifest import ManifestWriter, hardware
from pruning_vs_scratch.tables.load import SKIPPING_ZEROS


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=named_path, action="append", required=True, metavar="NAME=DIR", help="checkpoint"
    )
    parser.add_argument(
        "--settings", type=cli.json_argument, required=True, help='JSON: {"prompt_tokens": N, "new_tokens": N}'
    )
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="fp32", help="arithmetic")
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="table to write (.csv)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    settings = SpeedConfig.from_option("--settings", args.settings)
    manifest = ManifestWriter("measure_speed", settings.model_dump())
    for name, folder in args.checkpoint:
        manifest.add_input(f"model/{name}", folder)

    import pandas as pd

    from pruning_vs_scratch.tables.write import write_csv

    # The first model pays for what the libraries set up on first use: it is measured again.
    first, first_folder = args.checkpoint[0]
    _measured(args, first, first_folder, settings)
    rows = [row for name, folder in args.checkpoint for row in _measured(args, name, folder, settings)]
    write_csv(args.out, pd.DataFrame(rows))
    manifest.write(args.manifest, {"speed": args.out}, {})


def _measured(args: argparse.Namespace, name: str, folder: Path, settings: SpeedConfig) -> list[dict[str, Any]]:
    import torch

    from pruning_vs_scratch.evaluation.semi_structured import skips_zeros, two_of_four_masks, with_packed_weights
    from pruning_vs_scratch.evaluation.speed import measure
    from pruning_vs_scratch.models.checkpoint import load_model
    from pruning_vs_scratch.models.device import best_device
    from pruning_vs_scratch.training.precision import dtype_of, resolve_precision

    torch.set_num_threads(args.threads)
    device = best_device()
    precision = resolve_precision(args.precision, device)
    dtype = dtype_of(precision)
    found = measure(lambda: load_model(folder, device, dtype).eval(), settings, device)
    if skips_zeros(device, dtype) and (masks := two_of_four_masks(folder)):
        packed = measure(lambda: with_packed_weights(load_model(folder, device, dtype).eval(), masks), settings, device)
        found += [replace(each, metric=f"{each.metric}{SKIPPING_ZEROS}") for each in packed]
    machine = hardware()
    threads = "1 thread" if args.threads == 1 else f"{args.threads} threads"
    where = machine["gpus"][0] if "gpus" in machine else f"{machine['processor']}, {threads}"
    return [{"target": name, **asdict(each), "hardware": f"{where}, {precision}"} for each in found]


if __name__ == "__main__":
    cli.run(main)
