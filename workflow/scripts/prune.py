"""Prune one checkpoint to a target by one method."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.pruning import GRANULARITY, METHODS
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MASK_FILE, PRUNING_FILE, atomic_directory, read_json, sha256_of_value, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.manifest import ManifestWriter, peak_memory_bytes, source_hash
from pruning_vs_scratch.study import ModelShape, Target

if TYPE_CHECKING:
    from pruning_vs_scratch.pruning.calibration import CalibrationStream
    from pruning_vs_scratch.pruning.pruned import Pruned

SHRINKS = {"depth": {"layers"}, "width": {"hidden_size", "ffn_size", "heads"}, "sparse": set()}
"""What each granularity may make smaller."""


def main() -> None:
    """Entry point."""
    args = _arguments()
    names = ("run", "method", "seed", "sequences", "sequence_length", "batch_size", "threads")
    manifest = ManifestWriter("prune", {name: getattr(args, name) for name in names})
    for name in ("model", "target", "calibration", "tokenizer"):
        manifest.add_input(name, getattr(args, name), ignore={PRUNING_FILE})
    spec_hash = sha256_of_value({"options": manifest.options, "inputs": manifest.inputs})
    facts = _prune(args, spec_hash)
    manifest.write(args.manifest, {"model": args.out}, facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to prune")
    parser.add_argument("--method", choices=METHODS, required=True, help="pruning method")
    parser.add_argument("--target", type=Path, required=True, help="target file: shape, or ratio and pattern")
    parser.add_argument("--calibration", type=Path, required=True, help="token shards of the calibration split")
    parser.add_argument("--sequences", type=int, required=True, help="calibration windows")
    parser.add_argument("--sequence-length", type=int, required=True, help="tokens a window")
    parser.add_argument("--batch-size", type=int, required=True, help="windows run together")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument(
        "--seed", type=int, required=True, help="seed of the order in which calibration windows are drawn"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    return parser.parse_args()


def _prune(args: argparse.Namespace, spec_hash: str) -> dict[str, Any]:
    """Prune, write the checkpoint, and return the manifest's facts."""
    import torch

    from pruning_vs_scratch.models.checkpoint import load_llama
    from pruning_vs_scratch.models.device import best_device
    from pruning_vs_scratch.models.llama import shape_of
    from pruning_vs_scratch.pruning.registry import CALIBRATED, CALIBRATION_FREE

    torch.set_num_threads(args.threads)
    target = Target.from_dict(read_json(args.target))
    model = load_llama(args.model).to(best_device()).eval()
    _check_reachable(args, shape_of(model.config), target)
    start = time.monotonic()
    stream: CalibrationStream | None = None
    if args.method in CALIBRATED:
        stream = _calibration_stream(args, model)
        pruned = CALIBRATED[args.method](model, target, stream)
    else:
        pruned = CALIBRATION_FREE[args.method](model, target)
    seconds = time.monotonic() - start
    _check_target(pruned, target)
    summary = {
        "method": args.method,
        "target": target.to_dict(),
        "kept": pruned.kept,
        "scores": pruned.scores,
        "tokens": stream.tokens if stream else 0,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    _save(args, pruned, summary)
    masked = sum(int((~mask).sum()) for mask in pruned.masks.values())
    return {"ledger": _ledger_row(args, stream, seconds, spec_hash).to_dict(), "masked_weights": masked}


def _check_reachable(args: argparse.Namespace, parent: ModelShape, target: Target) -> None:
    """Refuse a target that the method cannot make of the checkpoint.

    Raises:
        UserError: says which value does not fit.
    """
    granularity = GRANULARITY[args.method]
    if target.granularity != granularity:
        raise UserError(f"{args.target} is a {target.granularity} target, but {args.method} is a {granularity} method")
    for name, wanted in target.shape.to_dict().items():
        found = getattr(parent, name)
        if wanted != found and not (name in SHRINKS[granularity] and wanted < found):
            raise UserError(f"{args.target} asks for {name} = {wanted}, but {args.model} has {found}")


def _calibration_stream(args: argparse.Namespace, model: Any) -> "CalibrationStream":
    import torch

    from pruning_vs_scratch.data.tokens import TokenStore
    from pruning_vs_scratch.data.windows import Windows
    from pruning_vs_scratch.pruning.calibration import CalibrationStream

    store = TokenStore(args.calibration)
    store.check_tokenizer(args.tokenizer / "tokenizer.json")
    store.check_vocabulary(model.config.vocab_size, args.model)
    windows = Windows(store, args.sequence_length, args.seed)
    windows.require(args.sequences, "pruning.calibration")
    tokens = torch.from_numpy(windows.read(torch.arange(args.sequences).numpy()))
    return CalibrationStream(model, tokens, args.batch_size)


def _check_target(pruned: "Pruned", target: Target) -> None:
    from pruning_vs_scratch.models.llama import shape_of

    found = shape_of(pruned.model.config)
    if found != target.shape:
        raise AssertionError(f"pruning made {found}, not {target.shape}")


def _save(args: argparse.Namespace, pruned: "Pruned", summary: dict[str, Any]) -> None:
    """Write the checkpoint and check that what was written gives the same logits."""
    import torch

    from pruning_vs_scratch.models.checkpoint import load_llama, save_llama
    from pruning_vs_scratch.pruning.masks import write_masks

    pruned.model.cpu()
    with atomic_directory(args.out) as temporary:
        save_llama(pruned.model, temporary, args.tokenizer)
        write_json(temporary / PRUNING_FILE, summary)
        if pruned.masks:
            write_masks(pruned.masks, temporary / MASK_FILE)
        probe = torch.arange(min(args.sequence_length, pruned.model.config.vocab_size))[None]
        with torch.no_grad():
            expected, found = (m(input_ids=probe).logits for m in (pruned.model, load_llama(temporary).eval()))
        if not torch.equal(expected, found):
            raise AssertionError("the written checkpoint gives other logits than the pruned model")


def _ledger_row(
    args: argparse.Namespace, stream: "CalibrationStream | None", seconds: float, spec_hash: str
) -> LedgerRow:
    return LedgerRow(
        run=args.run,
        phase="prune",
        tokens_planned=args.sequences * args.sequence_length if stream else 0,
        tokens_seen=stream.tokens if stream else 0,
        window_start=0,
        window_end=stream.sequences if stream else 0,
        sequence_length=args.sequence_length,
        global_batch_size=args.batch_size,
        steps=0,
        peak_lr=None,
        schedule=None,
        precision="fp32",
        seed=args.seed,
        flops=stream.flops if stream else 0,
        wall_seconds=round(seconds, 3),
        world_size=1,
        spec_hash=spec_hash,
        source_hash=source_hash(),
    )


if __name__ == "__main__":
    cli.run(main)
