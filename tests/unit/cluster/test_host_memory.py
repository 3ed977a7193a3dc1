"""Jobs request enough host memory for what they hold, and at most a few times as much."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.host_memory import evaluation_megabytes, process_megabytes
from pruning_vs_scratch.cluster.request import JobRequest
from pruning_vs_scratch.cluster.site import Site
from pruning_vs_scratch.config.load import load_config, study_files
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import config_of, empty_model, random_model
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.training.sparsity import fitted_masks
from steady_memory import printed_by
from training_world import SHAPE

MEASURE = REPOSITORY / "tests" / "bench" / "measure_loading.py"
LARGER = replace(SHAPE, vocab_size=16_000, layers=6, hidden_size=512, ffn_size=2048, heads=8, kv_heads=4, head_dim=64)
"""31M parameters: large compared with what Python itself allocates from time to time."""
EVALUATION = load_config(study_files(["smoke"])).evaluation
PROCESSES, NODES = 64, 8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the larger shape, of zeros."""
    folder = tmp_path_factory.mktemp("model")
    model = empty_model(config_of(replace(LARGER, tie_embeddings=False), positions=64))
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(folder)
    save_file({name: torch.zeros_like(p) for name, p in model.named_parameters()}, folder / "model.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [False, True], ids=["CPU", "GPU"])
def test_evaluation_requests_what_loading_a_model_takes(checkpoint: Path, gpus: bool) -> None:
    shape = replace(LARGER, tie_embeddings=False)
    found = printed_by(MEASURE, checkpoint, "meta" if gpus else "cpu", "bfloat16")
    mapped = 4 * shape.params_total
    asked = evaluation_megabytes(shape, EVALUATION, 1, gpus=gpus) - process_megabytes(gpus)
    assert mapped + found["peak"] < asked * 10**6
    assert found["dtypes"] == ["torch.bfloat16"]
    # On a GPU nothing of the weights stays on the host; on a CPU they are there in bf16 alone.
    assert found["held"] == pytest.approx(0 if gpus else 2 * shape.params_total, abs=0.1 * shape.params_total)


def test_a_checkpoint_is_cast_as_it_is_read_and_rotates_in_fp32(tmp_path: Path) -> None:
    model = random_model(SHAPE, positions=64, seed=0)
    model.save_pretrained(tmp_path)
    loaded: Any = load_model(tmp_path, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter.to(torch.bfloat16))
    rotary: Any = model.model.rotary_emb
    assert torch.equal(loaded.model.rotary_emb.inv_freq, rotary.inv_freq)
    assert rotary.inv_freq.dtype == torch.float32


@pytest.fixture
def first_of_many() -> Iterator[None]:
    """The first of 64 processes, without starting the other 63."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=PROCESSES)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("first_of_many")
def test_a_process_unpacks_its_64th_of_the_masks_of_a_block_of_8b() -> None:
    shape = paper().runs["P210B-seed0"].target.shape
    matrices = {"q": (shape.hidden_size, shape.hidden_size), "up": (shape.ffn_size, shape.hidden_size)}
    mesh, model = init_device_mesh("cpu", (PROCESSES,)), torch.nn.Module()
    for name, (rows, columns) in matrices.items():
        part = DTensor.from_local(torch.empty(rows // PROCESSES, columns), mesh, [Shard(0)], run_check=False)
        model.register_parameter(name, torch.nn.Parameter(part))
    masks = {name: PackedMask(torch.zeros(r * c // 8, dtype=torch.uint8), (r, c)) for name, (r, c) in matrices.items()}
    entries = sum(r * c for r, c in matrices.values())
    tracemalloc.start()
    fitted = fitted_masks(model, masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(mask.numel() for mask in fitted.values()) == entries // PROCESSES
    assert peak < 1.2 * entries / PROCESSES


def paper(**training: Any) -> Study:
    """The paper's study, with as many processes for every run, among all of which its model is cut."""
    values = load_config(study_files(["paper"])).model_dump(mode="json")
    values["training"] |= {"processes": PROCESSES, "sharding": "all"} | training
    return Study(values)


def requests(kind: str) -> list[JobRequest]:
    return [request for request in Allocation(paper(), Site()).requests if request.kind == kind]


def test_eight_processes_that_score_8b_ask_for_its_file_once() -> None:
    """Its weights are 32 GB in fp32; with a copy of them in each process it would be 8 x 32 GB."""
    [request] = requests("evaluation")
    weights = 4 * paper().runs["P210B-seed0"].target.shape.params_total / 1e6
    assert weights + 8 * process_megabytes(gpus=True) < request.megabytes < 4 * weights


def test_learning_masks_requests_memory_for_the_learned_weights_and_the_written_state() -> None:
    """Of 8B: 12 bytes a parameter that wait to be written, 4 as they are gathered, and 4 as they are stored."""
    request = max(requests("pruning"), key=lambda each: each.gpus)
    params = paper().runs["P210B-seed0"].target.shape.params_total / 1e6
    assert request.gpus == 8
    assert 20 * params + 8 * process_megabytes(gpus=True) < request.megabytes < 30 * params


def test_sparse_training_requests_all_weights_but_not_whole_masks_in_each_process() -> None:
    """Of 8B: 32 GB of weights in the first of a node's eight processes; whole masks took a byte a weight in each."""
    study = paper()
    asked = Allocation(study, Site()).training["mem_mb"]
    sparse = [run for run in study.runs.values() if run.plan is not None and run.mask is not None]
    run = max(sparse, key=lambda each: each.target.shape.params_total)
    params = run.target.shape.params_total / 1e6
    base = 4 * params + PROCESSES // NODES * process_megabytes(gpus=True)
    assert base < asked(SimpleNamespace(run=run.name), attempt=1) < base + 0.5 * params


def test_a_copy_of_the_model_on_each_node_is_written_from_a_copy_on_each_host() -> None:
    shared, copied = (
        Allocation(paper(sharding=sharding), Site()).training["mem_mb"](SimpleNamespace(run="P210B-seed0"), attempt=1)
        for sharding in ("all", "node")
    )
    state = 12 * paper().runs["P210B-seed0"].target.shape.params_total / 1e6
    assert shared < state < copied
