"""Adopt an acquired checkpoint as the parent of a study, if it is what the configuration says."""

import argparse
import time
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import positive_integer
from pruning_vs_scratch.files import read_json, sha256_of_value, weight_bytes
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.manifest import ManifestWriter, source_hash
from pruning_vs_scratch.parents.adopt import adopt
from pruning_vs_scratch.study import Target

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Names of dtypes as the ledger has them."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of acquire_checkpoint.py")
    parser.add_argument("--target", type=Path, required=True, help="target file of the parent: the shape it must have")
    parser.add_argument("--positions", type=positive_integer, required=True, help="tokens that it must read at a time")
    parser.add_argument("--seed", type=int, required=True, help="seed of the runs that are made of it")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    start = time.monotonic()
    manifest = ManifestWriter("adopt_parent", {"run": args.run, "positions": args.positions})
    for name in ("checkpoint", "target"):
        manifest.add_input(name, getattr(args, name))
    shape = Target.from_dict(read_json(args.target)).shape
    dtype = adopt(args.checkpoint, shape, args.positions, args.out)
    row = LedgerRow(
        run=args.run, phase="acquire", tokens_planned=0, tokens_seen=0, tokens_distinct=0, window_start=0,
        window_end=0, sequence_length=0, global_batch_size=0, steps=0, peak_lr=None, schedule=None,
        precision=PRECISIONS.get(dtype, dtype), seed=args.seed,
        flops=0, wall_seconds=round(time.monotonic() - start, 3), world_size=1,
        spec_hash=sha256_of_value(manifest.inputs), source_hash=source_hash(),
    )  # fmt: skip
    manifest.write(
        args.manifest, {"model": args.out}, {"ledger": row.to_dict(), "checkpoint_bytes": weight_bytes(args.out)}
    )


if __name__ == "__main__":
    cli.run(main)
