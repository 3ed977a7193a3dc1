"""Several processes train as one does: the same windows, the same losses, and each other's states."""

import gc
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.training import resume
from pruning_vs_scratch.training.collecting import garbage_collected_together
from pruning_vs_scratch.training.export import write_checkpoint
from pruning_vs_scratch.training.loop import Trainer
from pruning_vs_scratch.training.sharding import local, whole_tensors
from pruning_vs_scratch.training.sparsity import fitted_masks
from pruning_vs_scratch.training.world import World
from together import SECONDS, run_together
from training_world import half_mask, make_trainer, random_store, recorded_reads, untimed_metrics

STEPS = 50
BATCH = 4
PLAN = {"window_start": 8, "window_end": 8 + BATCH * STEPS, "micro_batch_size": 1}
TOLERANCE = 1e-4

Alone = Callable[[bool], dict[str, Any]]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random text in a folder."""
    return random_store(tmp_path_factory.mktemp("tokens"), count=9000).folder


@pytest.fixture(scope="module")
def alone(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The whole run by one process, dense or sparse, to compare with; trained once."""

    @cache
    def trained(sparse: bool) -> dict[str, Any]:
        [found] = run_together(1, compared_run, tokens, tmp_path_factory.mktemp("alone"), sparse, {})
        return found

    return trained


def trainer(world: World, tokens: Path, work: Path, sparse: bool = False, **plan: Any) -> Trainer:
    """A trainer of the processes' own."""
    return make_trainer(TokenStore(tokens), work, half_mask() if sparse else None, world=world, **(PLAN | plan))


def values(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Whole weights by name."""
    return {name: tensor.numpy().copy() for name, tensor in whole_tensors(model)}


def whole_run(world: World, *arguments: Any, **plan: Any) -> dict[str, Any]:
    """Train to the end; the first process also tells its records."""
    made = trainer(world, *arguments, **plan)
    read = recorded_reads(made)
    result = made.train()
    return {
        "read": read,
        "tokens": result.tokens_seen,
        "validation": result.validation_loss,
        "records": untimed_metrics(made) if world.is_first else [],
        "weights": values(made.model),
    }


def compared_run(world: World, tokens: Path, work: Path, sparse: bool, plan: dict[str, Any]) -> dict[str, Any]:
    """``whole_run`` with picklable arguments."""
    return whole_run(world, tokens, work, sparse, **plan)


def losses(records: list[dict[str, float]]) -> list[float]:
    """The loss curve."""
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_processes_agree_with_one_and_read_the_same_windows(
    tokens: Path, tmp_path: Path, alone: Alone, sparse: bool
) -> None:
    expected = alone(sparse)
    assert len(losses(expected["records"])) == STEPS
    for size in (2, 4):
        ranks = run_together(size, compared_run, tokens, tmp_path / str(size), sparse, {})
        first = ranks[0]
        np.testing.assert_allclose(losses(first["records"]), losses(expected["records"]), rtol=0, atol=TOLERANCE)
        assert first["validation"] == pytest.approx(expected["validation"], abs=TOLERANCE)
        by_step = [sorted(itertools.chain(*shares)) for shares in zip(*(rank["read"] for rank in ranks), strict=True)]
        assert by_step == expected["read"] == [[*range(s, s + BATCH)] for s in range(8, 8 + BATCH * STEPS, BATCH)]
        assert {rank["tokens"] for rank in ranks} == {expected["tokens"]}
        if sparse:
            for name, mask in half_mask().items():
                assert not first["weights"][name][~mask.numpy()].any()
                assert first["weights"][name].any()


def masks_on_a_mesh(world: World, grid: tuple[int, ...], rows: int) -> tuple[bool, int]:
    """Whether this process's part of a mask is what torch cuts out of the mask itself, and how many rows it has."""
    placements = [*[Replicate()] * (len(grid) - 1), Shard(0)]
    mask = torch.rand(rows, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    mesh = init_device_mesh("cpu", grid)
    module = torch.nn.Module()
    module.register_parameter("weight", torch.nn.Parameter(distribute_tensor(mask.float(), mesh, placements)))
    part = fitted_masks(module, {"weight": PackedMask.of(mask)})["weight"]
    return torch.equal(part.float(), local(module.get_parameter("weight").detach())), len(part)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "rows", "parts"),
    [((4,), 8, [2, 2, 2, 2]), ((4,), 5, [2, 2, 1, 0]), ((2, 2), 5, [3, 2, 3, 2])],
    ids=["even", "uneven", "copies and shards"],
)
def test_each_process_takes_its_own_rows_of_a_mask(grid: tuple[int, ...], rows: int, parts: list[int]) -> None:
    assert run_together(4, masks_on_a_mesh, grid, rows) == [(True, number) for number in parts]


VARIANTS = {
    "chunked loss": {"loss_chunk_tokens": 5},
    "fused loss": {"fused_loss": True},
    "activation checkpointing": {"activation_checkpointing": True},
    "gradients masked after clipping": {"mask_gradients": "after_clip"},
    "three processes, uneven shards": {"global_batch_size": 6},
    "a Gemma 2": {"family": "gemma2", "loss_chunk_tokens": 5},
    "an OLMo 3": {"family": "olmo3"},
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_of_training_agrees_with_one_process(tokens: Path, tmp_path: Path, variant: str) -> None:
    size = 3 if "three" in variant else 2
    plan = {"window_end": 8 + 30, "validation": {"sequences": 5}, "global_batch_size": 2} | VARIANTS[variant]
    [alone] = run_together(1, compared_run, tokens, tmp_path / "alone", True, plan)
    found = run_together(size, compared_run, tokens, tmp_path / "together", True, plan)[0]
    np.testing.assert_allclose(losses(found["records"]), losses(alone["records"]), rtol=0, atol=TOLERANCE)
    norms = [[r["gradient_norm"] for r in run["records"] if "loss" in r] for run in (found, alone)]
    np.testing.assert_allclose(*norms, rtol=1e-3)
    assert found["validation"] == pytest.approx(alone["validation"], abs=TOLERANCE)


SAME_BITS = {
    "each second block run again": {"activation_checkpointing": 2},
    "states written beside": {"async_saves": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", SAME_BITS)
def test_what_changes_memory_and_time_alone_changes_no_bit(tokens: Path, tmp_path: Path, variant: str) -> None:
    plan = {"window_end": 8 + 30, "validation": {"sequences": 5}, "global_batch_size": 2}
    plain = run_together(2, compared_run, tokens, tmp_path / "plain", True, plan)[0]
    found = run_together(2, compared_run, tokens, tmp_path / "variant", True, plan | SAME_BITS[variant])[0]
    assert found["records"] == plain["records"]
    assert found["validation"] == plain["validation"]
    assert all(np.array_equal(found["weights"][name], value) for name, value in plain["weights"].items())


def copies_and_run(world: World, tokens: Path, work: Path, sparse: bool, plan: dict[str, Any]) -> dict[str, Any]:
    """``whole_run``, with how often the processes hold the model and what part this one has."""
    made = trainer(world, tokens, work / "looked-at", sparse, **plan)
    weight = made.model.get_parameter("model.layers.1.mlp.down_proj.weight")
    run = whole_run(world, tokens, work, sparse, **plan)
    return run | {"copies": world.copies, "rows": len(local(weight)), "all_rows": len(weight)}


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_nodes_that_each_hold_a_copy_agree_with_one_process(
    tokens: Path, tmp_path: Path, alone: Alone, sparse: bool
) -> None:
    plan: dict[str, Any] = {"sharding": "node", "checkpoint_every_steps": 20}
    expected = alone(sparse)
    ranks = run_together(4, copies_and_run, tokens, tmp_path / "4", sparse, plan, in_node=2)
    first = ranks[0]
    assert [(rank["copies"], 2 * rank["rows"]) for rank in ranks] == [(2, first["all_rows"])] * 4
    np.testing.assert_allclose(losses(first["records"]), losses(expected["records"]), rtol=0, atol=TOLERANCE)
    norms = [[r["gradient_norm"] for r in run["records"] if "loss" in r] for run in (first, expected)]
    np.testing.assert_allclose(*norms, rtol=1e-3)
    for rank in ranks[1:]:
        assert all(np.array_equal(first["weights"][name], value) for name, value in rank["weights"].items())


@pytest.mark.slow
def test_a_state_of_copies_is_resumed_without_them(tokens: Path, tmp_path: Path, alone: Alone) -> None:
    whole = alone(True)
    saved = run_together(4, begin, tokens, tmp_path / "cut", in_node=2)[0]
    [(restored, found, _)] = run_together(1, resumed, tokens, tmp_path / "cut")
    assert all(np.array_equal(restored[name], value) for name, value in saved.items())
    np.testing.assert_allclose(found, losses(whole["records"]), rtol=0, atol=TOLERANCE)


def compiled_run(world: World, tokens: Path, work: Path) -> tuple[list[float], dict[str, int]]:
    """Losses of compiled blocks of which each is run again, and where their graphs break."""
    plan: dict[str, Any] = {"window_end": 8 + BATCH * 6, "compile": True, "activation_checkpointing": True}
    run = whole_run(world, tokens, work, **plan)
    return losses(run["records"]), dict(counters["graph_break"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_sharded_block_is_compiled_in_one_piece(tokens: Path, tmp_path: Path) -> None:
    plan = {"window_end": 8 + BATCH * 6}
    [alone] = run_together(1, compared_run, tokens, tmp_path / "alone", False, plan)
    found, breaks = run_together(2, compiled_run, tokens, tmp_path / "compiled")[0]
    assert not breaks
    np.testing.assert_allclose(found, losses(alone["records"]), rtol=0, atol=TOLERANCE)


def killed_in_its_second_save(world: World, tokens: Path, work: Path) -> None:
    """Train on while the second state is being written, and end before it is complete."""
    written = threading.Event()

    def hash_no_more(*_: Any) -> None:
        if (work / "step-00000003").exists():
            written.set()
            time.sleep(1000)

    original = resume._hashed_files
    resume._hashed_files = lambda *arguments: hash_no_more() or original(*arguments)
    made = trainer(world, tokens, work, True, async_saves=True)
    for step in range(1, 9):
        made.train_step()
        if step % 3 == 0:
            made.save()
    assert written.wait(SECONDS), "the second state was never begun"
    os._exit(9)


@pytest.mark.slow
def test_a_kill_during_a_background_save_leaves_the_previous_state(tokens: Path, tmp_path: Path) -> None:
    whole = run_together(2, compared_run, tokens, tmp_path / "whole", True, {})[0]
    with pytest.raises(EOFError):
        run_together(2, killed_in_its_second_save, tokens, tmp_path / "cut")
    assert [folder.name for folder in (tmp_path / "cut").glob("step-*")] == ["step-00000003"]
    assert list((tmp_path / "cut").glob(".step-00000006.*.tmp")), "nothing was being written"
    restored, found, _ = run_together(2, resumed, tokens, tmp_path / "cut")[0]
    assert restored["step"] == 3
    assert found == losses(whole["records"])


@pytest.mark.slow
def test_in_bf16_two_processes_differ_from_one_by_no_more_than_its_rounding(tokens: Path, tmp_path: Path) -> None:
    plan = {"precision": "bf16", "window_end": 8 + 40}
    [alone] = run_together(1, compared_run, tokens, tmp_path / "alone", False, plan)
    found = run_together(2, compared_run, tokens, tmp_path / "together", False, plan)[0]
    np.testing.assert_allclose(losses(found["records"]), losses(alone["records"]), rtol=0, atol=2e-2)
    assert {tensor.dtype for tensor in found["weights"].values()} == {np.dtype("float32")}


def begin(world: World, tokens: Path, work: Path) -> dict[str, Any]:
    """Train for a while and save; returns what is in the state."""
    made = trainer(world, tokens, work, True)
    for _ in range(20):
        made.train_step()
    made.save()
    return whole_state(made)


def resumed(world: World, tokens: Path, work: Path) -> tuple[dict[str, Any], list[float], int]:
    """What is restored, then the rest of the run."""
    made = trainer(world, tokens, work, True)
    restored = whole_state(made)
    result = made.train()
    return restored, losses(untimed_metrics(made)) if world.is_first else [], result.tokens_seen


def whole_state(made: Trainer) -> dict[str, Any]:
    """Step, tokens, and every weight and moment, put together from their shards."""
    moments = {}
    for name, parameter in made.model.named_parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            tensor = made.optimizer.state[parameter][moment]
            moments[f"{name}.{moment}"] = getattr(tensor, "full_tensor", lambda held=tensor: held)().numpy().copy()
    return {"step": made.state.step, "tokens": made.state.tokens_seen, **values(made.model), **moments}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (4, 1)])
def test_a_state_is_resumed_by_another_number_of_processes(
    tokens: Path, tmp_path: Path, alone: Alone, before: int, after: int
) -> None:
    whole = alone(True)
    saved = run_together(before, begin, tokens, tmp_path / "cut")[0]
    ranks = run_together(after, resumed, tokens, tmp_path / "cut")
    for restored, _, tokens_seen in ranks:
        assert restored.keys() == saved.keys()
        assert all(np.array_equal(restored[name], value) for name, value in saved.items())
        assert tokens_seen == whole["tokens"]
    assert saved["step"] == 20
    np.testing.assert_allclose(ranks[0][1], losses(whole["records"]), rtol=0, atol=TOLERANCE)


def exported(world: World, tokens: Path, work: Path, folder: Path) -> dict[str, Any]:
    """Write a checkpoint after some steps."""
    made = trainer(world, tokens, work)
    for _ in range(3):
        made.train_step()
    with world.atomic_directory(folder) as temporary:
        write_checkpoint(made.decoder, temporary, world)
    return values(made.model)


@pytest.mark.slow
def test_shards_are_written_as_one_plain_checkpoint(tokens: Path, tmp_path: Path) -> None:
    written = run_together(2, exported, tokens, tmp_path / "work", tmp_path / "model")[1]
    model = load_model(tmp_path / "model")
    assert type(model).__name__ == "LlamaForCausalLM"
    loaded = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    assert loaded.keys() == written.keys()
    assert all(np.array_equal(loaded[name], value) for name, value in written.items())


def refused(world: World, tokens: Path, work: Path) -> str:
    """The message about a batch that three processes cannot share."""
    with pytest.raises(UserError) as found:
        trainer(world, tokens, work)
    return str(found.value)


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_lists_the_numbers_of_processes_that_can(tokens: Path, tmp_path: Path) -> None:
    for message in run_together(3, refused, tokens, tmp_path):
        assert "run a-run: 3 processes cannot share a global batch of 4 sequences in micro-batches of 1" in message
        assert "valid: 1, 2, 4" in message


def waited(world: World, seconds: float) -> str:
    """What a process that another one keeps waiting ends with."""
    world.wait_at_most(timedelta(seconds=seconds))
    if not world.is_first:
        time.sleep(2)
        return "late"
    with pytest.raises(RuntimeError) as found:
        world.wait()
    return str(found.value).lower()


@pytest.mark.slow
def test_a_peer_that_hangs_is_given_up() -> None:
    message, _ = run_together(2, waited, 0.5)
    assert "timed out" in message or "timeout" in message


def collections(world: World) -> tuple[bool, list[int], bool]:
    """Whether garbage is collected at will inside, in which steps it is, and whether it is again at will afterwards."""
    steps = []
    with garbage_collected_together(world) as collect:
        at_will = gc.isenabled()
        for step in range(1, 121):
            before = gc.get_stats()[2]["collections"]
            collect(step)
            if gc.get_stats()[2]["collections"] > before:
                steps.append(step)
    return at_will, steps, gc.isenabled()


@pytest.mark.slow
def test_processes_collect_garbage_in_the_same_steps() -> None:
    assert run_together(2, collections) == [(False, [50, 100], True)] * 2
    assert run_together(1, collections) == [(True, [], True)]
