"""Prune one checkpoint by one method: any Llama-family checkpoint by hand, or a run of a study.

By hand: prune.py --model DIR --method wanda --ratio 0.5 --calibration text.txt --out DIR
"""

import argparse
import logging
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import PRUNING_FILE, atomic_directory, sha256_of_value, weight_bytes, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.manifest import ManifestWriter, peak_memory_bytes, source_hash
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.calibration_text import add_text_arguments, recorded_options, require_paths
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.goal import SHAPE_KEYS, wanted_target
from pruning_vs_scratch.resume_state import is_made, resume_state

if TYPE_CHECKING:
    from pruning_vs_scratch.models.blockwise import BlockwiseModel
    from pruning_vs_scratch.pruning.method import PruningSpec
    from pruning_vs_scratch.training.world import World

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point."""
    catalogue.require_sound()
    args = _arguments()
    require_paths(args)
    _require_replaceable(args)

    import_libraries()
    from pruning_vs_scratch.training.world import joined_world

    with joined_world() as world:
        if world.size > 1 and not facts_of(args.method).learns_masks:
            learning = ", ".join(name for name, facts in catalogue.methods().items() if facts.learns_masks)
            raise UserError(f"{args.method} prunes in one process; several can learn the masks of {learning}")
        if world.is_first:
            _prune_once(args, world)
        elif (work := world.from_first(None)) is not None:
            _take_part(args, work, world)


def _prune_once(args: argparse.Namespace, world: "World") -> None:
    """Prune and write the manifest, unless another job did so meanwhile."""
    from pruning_vs_scratch.pruning.session import forget_losses

    recorded = recorded_options(
        args, "run", "method", "options", "ratio", "pattern", "shape", "seed", "sequences", "sequence_length",
        "batch_size", "threads", "low_memory", "mask_learning", "domains",
    )  # fmt: skip
    manifest = ManifestWriter("prune", recorded, catalogue.packages_of(args.method))
    for name in ("model", "target", "tokenizer", "scores", "validation"):
        if getattr(args, name) is not None:
            manifest.add_input(name, getattr(args, name))
    for i, path in enumerate(args.calibration or []):
        manifest.add_input(f"calibration/{i}", path)
    # How memory is used changes nothing in the result.
    options = {name: value for name, value in manifest.options.items() if name != "low_memory"}
    spec_hash = sha256_of_value({"options": options, "inputs": manifest.inputs})
    with resume_state(args.work, args.run, spec_hash) if facts_of(args.method).learns_masks else nullcontext() as work:
        if work is not None and is_made(args.manifest, [args.out], spec_hash):
            log.info("%s is pruned already, by another job", args.run)
            world.from_first(None)
            return
        facts = _prune(args, world.from_first(work), world, spec_hash, manifest.inputs["model"])
        manifest.write(args.manifest, {"model": args.out}, facts)
        forget_losses(args)


def _take_part(args: argparse.Namespace, work: Path, world: "World") -> None:
    """Learn masks with the first process, which goes on with them alone."""
    from pruning_vs_scratch.pruning.choose import learn_masks
    from pruning_vs_scratch.pruning.session import open_model

    model = open_model(args)
    learn_masks(args, model, _spec(args, model), work, world)


def _spec(args: argparse.Namespace, model: "BlockwiseModel") -> "PruningSpec":
    """What the command asks of its method."""
    from pruning_vs_scratch.pruning.method import PruningSpec, options_of

    options = options_of(args.method, args.options)
    return PruningSpec(wanted_target(args, model.shape, options), options, args.seed)


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
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.run = args.run or args.out.name
    args.manifest = args.manifest or args.out.parent / f"{args.out.name}.manifest.json"
    args.work = args.work or args.out.parent / f"{args.out.name}.work"
    return args


def _require_replaceable(args: argparse.Namespace) -> None:
    """Refuse to write over what this command reads, or over a folder that is no pruned checkpoint.

    Raises:
        UserError: names the folder.
    """
    inputs = [args.model, args.tokenizer, args.scores, args.target, args.validation, *(args.calibration or [])]
    for path in filter(None, inputs):
        if path.resolve().is_relative_to(args.out):
            raise UserError(f"--out {args.out.name} holds {path}, which this command reads; choose another folder")
    if args.out.exists() and not (args.out / PRUNING_FILE).exists() and any(args.out.iterdir()):
        raise UserError(
            f"--out {args.out.name} exists and is no pruned checkpoint; choose another folder, or delete it"
        )


def _prune(
    args: argparse.Namespace, work: Path | None, world: "World", spec_hash: str, model_sha256: str
) -> dict[str, Any]:
    """Prune, write the checkpoint, and return the manifest's facts."""
    from pruning_vs_scratch.data.tokenizer import copy_tokenizer
    from pruning_vs_scratch.models.device import peak_device_memory_bytes
    from pruning_vs_scratch.pruning.choose import choose
    from pruning_vs_scratch.pruning.export import export
    from pruning_vs_scratch.pruning.record import earlier_step
    from pruning_vs_scratch.pruning.session import open_model

    start = time.monotonic()
    model = open_model(args)
    spec = _spec(args, model)
    with atomic_directory(args.out) as temporary:
        choice = choose(args, model, spec, temporary, work, world, model_sha256)
        exported = export(choice.model, choice.kept, choice.blocks, temporary, low_memory=args.low_memory)
        copy_tokenizer(args.tokenizer or args.model, temporary)
        seconds, spent = round(time.monotonic() - start, 3), choice.spent()
        record = {
            "method": args.method,
            "options": spec.options.model_dump(),
            "target": spec.target.to_dict(),
            "parent": model.shape.to_dict(),
            "kept": choice.kept.to_dict(),
            "dropped": choice.kept.dropped(model.shape),
            "scores": choice.scores,
            "layers": exported.facts,
            "tokens": spent["tokens_seen"],
            "seconds": seconds,
            "peak_memory_bytes": peak_memory_bytes(),
            "peak_device_memory_bytes": peak_device_memory_bytes(model.device),
            "before": earlier_step(args.model),
        }
        write_json(temporary / PRUNING_FILE, record)
    log.info("%s: %.1f s, peak memory %.0f MB", args.run, seconds, peak_memory_bytes() / 1e6)
    row = LedgerRow(
        run=args.run,
        phase="prune",
        seed=args.seed,
        wall_seconds=seconds,
        world_size=world.size,
        spec_hash=spec_hash,
        source_hash=source_hash(),
        **spent,
    )
    return {
        "ledger": row.to_dict(),
        "masked_weights": exported.masked_weights,
        "checkpoint_bytes": weight_bytes(args.out),
    }


if __name__ == "__main__":
    cli.run(main)
