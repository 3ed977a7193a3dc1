"""What jobs ask a scheduler for follows from the plan, the study's geometry and the site."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.device_memory import device_memory_problems
from pruning_vs_scratch.cluster.request import JobRequest
from pruning_vs_scratch.cluster.site import VARIABLES, Queue, Site, read_site
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.pruning.facts import Text
from pruning_vs_scratch.pruning.memory import means_of, pruning_memory
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.costs import scoring_flops

Values = dict[str, Any]
PARENT = SimpleNamespace(run="P16.4k-seed0")


def allocation(values: Values, site: Site | None = None, **cluster: Any) -> Allocation:
    return Allocation(Study(values | {"cluster": cluster}), site or Site())


def large(values: Values, tokens: int) -> Values:
    """A parent of 1.1B parameters."""
    shape = {"layers": 16, "hidden_size": 2048, "ffn_size": 8192, "heads": 32, "kv_heads": 8, "head_dim": 64}
    parent = {"kind": "pretrain", "tokens": tokens, "shape": values["parent"]["shape"] | shape}
    targets = {"depth": values["targets"]["depth"], "width": []}
    return values | {"parent": parent, "targets": targets, "matrix": values["matrix"][:1]}


def training(values: Values, **cluster: Any) -> JobRequest:
    (found,) = (request for request in allocation(values, **cluster).requests if request.kind == "training")
    return found


def test_one_process_requests_no_gpu_and_no_second_node(smoke: Values) -> None:
    resources = allocation(smoke).training
    assert (resources["nodes"], resources["processes"]) == (1, 1)
    assert {"gres", "mpi", "tasks", "cpus_per_task"} & resources.keys() == set()


def test_time_and_memory_grow_with_every_attempt(smoke: Values) -> None:
    resources = allocation(smoke).training
    for name in ("runtime", "mem_mb"):
        first, third = (resources[name](PARENT, attempt=attempt) for attempt in (1, 3))
        assert third == 3 * first


def test_time_follows_tokens_and_throughput(smoke: Values) -> None:
    """6 FLOPs a parameter and token, and some for attention: 1.1B parameters on 8.2e9 tokens at 400 TFLOP/s."""
    tokens = 1024 * 8_000_000
    request = training(large(smoke, tokens), teraflops={"train": 400})
    parameters = 16 * (2048 * 64 * (64 + 16) + 3 * 2048 * 8192) + 512 * 2048
    assert request.minutes == pytest.approx(2 * 6 * parameters * tokens / 400e12 / 60, rel=0.02)
    assert training(large(smoke, 2 * tokens), teraflops={"train": 800}).minutes == pytest.approx(request.minutes, 0.01)


def test_memory_holds_the_state_of_the_optimiser_or_what_is_saved_of_it(smoke: Values) -> None:
    parameters = 16 * (2048 * 64 * (64 + 16) + 3 * 2048 * 8192)
    on_cpu, on_gpu = (training(large(smoke, 1024), gpus=gpus).megabytes for gpus in (False, True))
    assert on_cpu > 16 * parameters / 1e6
    # The copy that is being written: without gradients, and so 4 bytes a parameter less.
    assert on_cpu - on_gpu > 4 * parameters / 1e6
    assert on_gpu > 12 * parameters / 1e6


def test_several_nodes_share_the_processes(smoke: Values) -> None:
    smoke["training"] |= {"processes": 4, "micro_batch_size": 2, "threads": 3}
    site = Site(gpu=Queue(gpu_model="a100", partition="big"))
    resources = allocation(smoke, site, nodes=2, gpus=True).training
    expected = {"nodes": 2, "processes": 4, "mpi": "srun", "tasks": 2, "cpus_per_task": 6, "gres": "gpu:a100:2"}
    assert resources.items() >= (expected | {"tasks_per_gpu": 0, "slurm_partition": "big"}).items()


def test_text_stays_away_from_gpus(smoke: Values) -> None:
    site = Site(cpu=Queue(partition="small"), gpu=Queue(partition="big"))
    with_gpus = allocation(smoke, site, gpus=True)
    assert with_gpus.text["slurm_partition"] == "small"
    assert "gres" not in with_gpus.text
    for resources in (with_gpus.pruning, with_gpus.evaluation):
        assert resources["slurm_partition"] == "big"
    assert with_gpus.evaluation["gres"] == with_gpus.scoring["gres"] == "gpu:1"


def test_masks_are_learned_by_several_processes_of_one_node(smoke: Values) -> None:
    smoke["pruning"] |= {
        "processes": 4,
        "sheared_llama": {"tokens": 512, "global_batch_size": 4, "micro_batch_size": 1},
    }
    smoke["training"]["threads"] = 3
    smoke["matrix"][0] |= {"methods": ["minitron_width", "sheared_llama"], "ratios": [0.5]}
    learned, other = (SimpleNamespace(run=f"P16.4k-{name}-0.5-seed0") for name in ("sheared_llama", "minitron_width"))
    alone, together = (
        allocation(smoke | {"pruning": smoke["pruning"] | {"processes": n}}, gpus=True).pruning for n in (1, 4)
    )
    assert [together["gres"](wildcards) for wildcards in (other, learned)] == ["gpu:1", "gpu:4"]
    assert [together["processes"](wildcards) for wildcards in (other, learned)] == [1, 4]
    assert {"mpi", "tasks", "nodes"} & together.keys() == set()
    assert together["mem_mb"](learned, attempt=1) > alone["mem_mb"](learned, attempt=1)
    asked = allocation(smoke, gpus=True)
    assert asked.scoring["gres"] == "gpu:1"
    assert sorted(request.gpus for request in asked.requests if request.kind == "pruning") == [1, 4]
    assert together["mem_mb"](other, attempt=1) == alone["mem_mb"](other, attempt=1)


def test_no_job_is_longer_than_the_site_allows(smoke: Values) -> None:
    site = Site(cpu=Queue(max_hours=1.5))
    resources = allocation(large(smoke, 10**6 * 1024), site).training
    assert [resources["runtime"](SimpleNamespace(run="P1.02B-seed0"), attempt=attempt) for attempt in (1, 2)] == [
        90,
        90,
    ]


def test_a_request_in_words_of_sbatch() -> None:
    queue = Queue(account="me", partition="gpu", reservation="night")
    request = JobRequest("training", 10, 5000, queue, cpus=4, nodes=2, gpus=2)
    assert request.options == [
        "--nodes=2", "--ntasks=2", "--cpus-per-task=4", "--time=10", "--mem=5000", "--gres=gpu:2",
        "--account=me", "--partition=gpu", "--reservation=night",
    ]  # fmt: skip


def test_the_environment_overrides_the_sites_file(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("cpu: {partition: slow, qos: low}\ngpu: {partition: gpu, max_hours: 4}\n")
    site = read_site(file, {"SBATCH_PARTITION": "mine"})
    assert site == Site(cpu=Queue(partition="mine", qos="low"), gpu=Queue(partition="mine", max_hours=4))
    assert read_site(file, {}).cpu.partition == "slow"
    assert read_site(tmp_path / "none.yaml", {}) == Site()


@pytest.mark.parametrize(
    "text", ["cpu: {partitoin: x}", "gpu: {partition: 'a; rm b'}", "cpu: {max_hours: -1}", "cpu: [", "tpu: {}"]
)
def test_a_mistake_in_the_sites_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"site\.yaml"):
        read_site(file, {})


def test_a_shell_word_in_the_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SBATCH_ACCOUNT"):
        read_site(tmp_path / "none.yaml", {"SBATCH_ACCOUNT": "$(id)"})


def test_the_template_names_every_key_of_a_queue() -> None:
    template = read_site(REPOSITORY / "slurm/site.template.yaml", {})
    assert set(Queue.model_fields) == template.gpu.model_fields_set
    assert set(VARIABLES) < set(Queue.model_fields)


def test_nodes_that_cannot_share_the_processes_are_refused(smoke: Values) -> None:
    with pytest.raises(UserError, match=r"cluster.nodes: 3 nodes cannot share training.processes = 4 evenly"):
        smoke["training"] |= {"processes": 4, "micro_batch_size": 2}
        parse_config(smoke | {"cluster": {"nodes": 3}})


def test_jobs_that_their_gpus_have_too_little_memory_for_are_found_before_the_first_one(smoke: Values) -> None:
    def problems(**cluster: Any) -> list[str]:
        return list(device_memory_problems(allocation(large(smoke, 16384), **cluster)))

    # The state of 0.97B parameters alone takes 15.6 GB, their weights in fp32 3.9.
    found = problems(gpus=True, device_gigabytes=4)
    [training] = [line for line in found if line.startswith("training 0.97B parameters (processes: 1) needs about 21")]
    assert "on each GPU, which has 4 (cluster.device_gigabytes): raise training.processes" in training
    assert any(line.startswith("evaluating 0.97B") and "evaluation.precision: bf16" in line for line in found)
    assert problems(gpus=True, device_gigabytes=80) == []
    assert problems(device_gigabytes=4) == []


def test_the_papers_jobs_fit_their_gpus_and_would_not_fit_half(study_values: Callable[[str], Values]) -> None:
    values = study_values("paper")
    assert list(device_memory_problems(Allocation(Study(values), Site()))) == []
    values["cluster"] |= {"device_gigabytes": 20}
    values["training"] |= {"processes": 64}
    found = "\n".join(device_memory_problems(Allocation(Study(values), Site())))
    assert re.search(r"^pruning 8\.03B parameters by minitron_depth needs about 31 GB", found, re.MULTILINE)
    assert re.search(
        r"^pruning 8\.03B parameters by sheared_llama needs about \d+ GB.*raise pruning", found, re.MULTILINE
    )
    assert re.search(r"^evaluating 8\.03B parameters needs about 24 GB", found, re.MULTILINE)


def test_scoring_requests_the_time_of_the_passes_that_the_plan_counts(study_values: Callable[[str], Values]) -> None:
    """Depth takes the losses of 34 candidates, width one pass."""
    study = Study(study_values("paper"))
    made, parent = Allocation(study, Site()), "P210B-seed0"
    for method in ("minitron_depth", "minitron_width"):
        wildcards = SimpleNamespace(run=parent, method=method)
        minutes = made.scoring["runtime"](wildcards, attempt=1)
        reading = study.run(parent).target.shape.params_total / 1e9
        passes = scoring_flops(study, parent, method) / (study.config.cluster.teraflops.prune * 1e12) / 60
        assert minutes == math.ceil(5 + 2 * (reading + passes))
    size = (128, 8192)
    shape = study.run(parent).target.shape
    candidates = [(run, start) for run in (16, 24, 28, 30) for start in range(32 - run + 1)]
    blocks = 16 + sum(32 - run - start for run, start in candidates)
    by_hand = blocks * shape.block_flops(*size) + len(candidates) * shape.output_flops(*size)
    assert (len(candidates), scoring_flops(study, parent, "minitron_depth")) == (34, by_hand)


def test_pruning_by_scores_in_a_file_reads_no_text(study_values: Callable[[str], Values]) -> None:
    study = Study(study_values("paper"))
    made = Allocation(study, Site()).pruning
    by_scores, by_text = (SimpleNamespace(run=f"P210B-{name}-0.5-seed0") for name in ("minitron_depth", "wanda"))
    assert made["runtime"](by_scores, attempt=1) < made["runtime"](by_text, attempt=1)


def test_memory_of_scoring_and_pruning_is_that_of_the_estimate(study_values: Callable[[str], Values]) -> None:
    values = study_values("paper")
    study = Study(values)
    parent, pruning = study.run("P210B-seed0").target.shape, study.config.pruning
    text, means = Text(128, 8192, 4), means_of(pruning, gpu=True)
    found = pruning_memory(parent, "shortgpt", text, means)
    wildcards = SimpleNamespace(run="P210B-seed0", method="shortgpt")
    asked = Allocation(study, Site()).scoring["mem_mb"](wildcards, attempt=1)
    assert asked == 2000 + found.host // 10**6
    # Without a GPU, the blocks and their states are the host's, and in fp32.
    values["cluster"] |= {"gpus": False}
    values["training"] |= {"processes": 64}
    on_cpu = pruning_memory(parent, "shortgpt", text, means_of(pruning, gpu=False))
    asked = Allocation(Study(values), Site()).scoring["mem_mb"](wildcards, attempt=1)
    assert asked == 2000 + (on_cpu.host + on_cpu.device) // 10**6 > 2 * found.host // 10**6


def test_a_model_that_is_held_counts(study_values: Callable[[str], Values]) -> None:
    values = study_values("paper")
    wildcards = SimpleNamespace(run="P210B-wanda-0.5-seed0")
    asked = []
    for low_memory in (True, False):
        values["pruning"] |= {"low_memory": low_memory}
        asked.append(Allocation(Study(values), Site()).pruning["mem_mb"](wildcards, attempt=1))
    assert asked[1] - asked[0] == pytest.approx(8 * 8030, rel=0.001)


def test_a_study_without_scores_has_resources_of_scoring(smoke: Values) -> None:
    smoke["matrix"] = [{"methods": ["magnitude"], "ratios": [0.5], "retrain": [4096]}]
    study = Study(smoke)
    assert study.scorings == {}
    assert Allocation(study, Site()).scoring["runtime"] is not None
