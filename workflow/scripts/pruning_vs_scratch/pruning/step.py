"""One pruning step, from its inputs to its checkpoint, record and manifest."""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_vs_scratch.data.tokenizer import copy_tokenizer
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import PRUNING_FILE, atomic_directory, sha256_of_value, weight_bytes, write_json
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.manifest import ManifestWriter, peak_memory_bytes, source_hash
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.device import peak_device_memory_bytes
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.choose import Choice, Chooser
from pruning_vs_scratch.pruning.export import Exported, export
from pruning_vs_scratch.pruning.goal import wanted_target
from pruning_vs_scratch.pruning.mask_learning import learn_masks
from pruning_vs_scratch.pruning.method import PruningSpec, options_of
from pruning_vs_scratch.pruning.record import earlier_step
from pruning_vs_scratch.pruning.request import PruningRequest
from pruning_vs_scratch.pruning.session import open_model
from pruning_vs_scratch.resume_state import is_made, resume_state
from pruning_vs_scratch.training.world import World, joined_world

log = logging.getLogger(__name__)


def prune(request: PruningRequest) -> None:
    """Prune as one of this command's processes and record what was done; do nothing if it is done already.

    Raises:
        UserError: several processes were started for a method that learns no masks, or the request cannot be met.
    """
    with joined_world() as world:
        if world.size > 1 and not facts_of(request.method).learns_masks:
            learning = ", ".join(name for name, facts in catalogue.methods().items() if facts.learns_masks)
            raise UserError(f"{request.method} prunes in one process; several can learn the masks of {learning}")
        if world.is_first:
            _prune_and_record(request, world)
        elif (work := world.from_first(None)) is not None:
            model = open_model(request)
            learn_masks(request, model, _spec(request, model), work, world)


def _prune_and_record(request: PruningRequest, world: World) -> None:
    """Prune and write the manifest, unless another job did so meanwhile."""
    manifest = ManifestWriter("prune", request.options_recorded, catalogue.packages_of(request.method))
    for name, path in request.inputs.items():
        manifest.add_input(name, path)
    # The use of memory does not affect the result.
    options = {name: value for name, value in manifest.options.items() if name != "low_memory"}
    spec_hash = sha256_of_value({"options": options, "inputs": manifest.inputs})
    learns = facts_of(request.method).learns_masks
    with resume_state(request.work, request.run, spec_hash) if learns else nullcontext() as work:
        if work is not None and is_made(request.manifest, [request.out], spec_hash):
            log.info("%s is pruned already, by another job", request.run)
            world.from_first(None)
            return
        pruned = _prune(request, world.from_first(work), world, manifest.inputs["model"])
        manifest.write(request.manifest, {"model": request.out}, pruned.facts(request, world, spec_hash))
        request.losses.unlink(missing_ok=True)


@dataclass(frozen=True)
class Pruned:
    """A written pruned checkpoint."""

    spent: dict[str, Any]
    """The cost of the choice, as fields of the ledger."""
    exported: Exported
    seconds: float

    def facts(self, request: PruningRequest, world: World, spec_hash: str) -> dict[str, Any]:
        """The facts of the step's manifest."""
        row = LedgerRow(
            run=request.run,
            phase="prune",
            seed=request.seed,
            wall_seconds=self.seconds,
            world_size=world.size,
            spec_hash=spec_hash,
            source_hash=source_hash(),
            **self.spent,
        )
        return {
            "ledger": row.to_dict(),
            "masked_weights": self.exported.masked_weights,
            "checkpoint_bytes": weight_bytes(request.out),
        }


def _prune(request: PruningRequest, work: Path | None, world: World, model_sha256: str) -> Pruned:
    """Prune, and write the checkpoint with its record."""
    start = time.monotonic()
    model = open_model(request)
    spec = _spec(request, model)
    with atomic_directory(request.out) as temporary:
        choice = Chooser(request, model, spec, temporary, model_sha256).choose(work, world)
        exported = export(choice.model, choice.kept, choice.blocks, temporary, low_memory=request.low_memory)
        copy_tokenizer(request.tokenizer_folder, temporary)
        pruned = Pruned(choice.spent(), exported, round(time.monotonic() - start, 3))
        write_json(temporary / PRUNING_FILE, _record(request, model, spec, choice, pruned))
    log.info(
        "%s: pruned by %s in %.1f s, peak memory %.0f MB",
        request.run, request.method, pruned.seconds, peak_memory_bytes() / 1e6,
    )  # fmt: skip
    return pruned


def _spec(request: PruningRequest, model: BlockwiseModel) -> PruningSpec:
    """The task that the request gives its method."""
    options = options_of(request.method, request.options)
    return PruningSpec(wanted_target(request, model.shape, options), options, request.seed)


def _record(
    request: PruningRequest, model: BlockwiseModel, spec: PruningSpec, choice: Choice, pruned: Pruned
) -> dict[str, Any]:
    """The contents of pruning.json."""
    return {
        "method": request.method,
        "options": spec.options.model_dump(),
        "target": spec.target.to_dict(),
        "parent": model.shape.to_dict(),
        "kept": choice.kept.to_dict(),
        "dropped": choice.kept.dropped(model.shape),
        "scores": choice.scores,
        "layers": pruned.exported.facts,
        "tokens": pruned.spent["tokens_seen"],
        "seconds": pruned.seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_device_memory_bytes": peak_device_memory_bytes(model.device),
        "before": earlier_step(request.model),
    }
