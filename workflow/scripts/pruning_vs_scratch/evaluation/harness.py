"""lm-eval tasks on a checkpoint, with per-item scores."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pandas as pd
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerBase

from pruning_vs_scratch.config.hub_tasks import hub_task
from pruning_vs_scratch.config.strict_yaml import read_yaml
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.plain_names import plainly_named
from pruning_vs_scratch.study.evaluation import TaskRequest
from pruning_vs_scratch.tables import load as tables
from pruning_vs_scratch.training.world import World

log = logging.getLogger(__name__)

COLUMNS = [column for column in tables.COLUMNS["items.parquet"] if column != "run"]
FEWSHOT_SEED = 1234
"""lm-eval's own default, by which it draws the examples of few-shot prompts."""
HARNESS_TASKS = Path(lm_eval.tasks.__file__).parent
DIGITS_OF_A_CLUSTER = 12


class SharedHarness(HFLM):  # type: ignore[misc] # lm_eval has no types
    """A model whose requests the processes of a world share; each of them gets all answers.

    lm-eval draws few-shot examples item by item, so every process must build the requests of all items.
    """

    def __init__(self, model: CausalLM, tokenizer: PreTrainedTokenizerBase, batch_size: int, world: World):
        # It warns of every model that it did not load itself, which all of ours are.
        with _without_warnings():
            super().__init__(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=batch_size,
                max_length=model.config.max_position_embeddings,
                device=str(model.device),
            )
        self.world = world

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each request's continuation, and whether it is the greedy one."""
        first, last = (len(requests) * (self.world.rank + i) // self.world.size for i in (0, 1))
        share = super().loglikelihood(requests[first:last], disable_tqdm=disable_tqdm) if last > first else []
        return [answer for part in self.world.values(share) for answer in part]


@contextmanager
def _without_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def load_task(request: TaskRequest, definitions: Path) -> Any:
    """lm-eval's task object, to be used for one checkpoint after another.

    Tasks of the hub are lm-eval's own, unmodified. ``definitions`` holds those over local items, and under package/
    those that inherit lm-eval's own and read a package's items.

    Raises:
        UserError: the definition, the items, or a data set is missing, or lacks what the task's file names.
    """
    if request.definition is None:
        [task] = _loaded(str(HARNESS_TASKS / hub_task(request.name).definition)).values()
    else:
        [task] = _loaded_with_items(definitions / request.definition, request.path).values()
    if request.data != "local":
        _require_named(task, request.name)
    task.set_config(key="num_fewshot", value=request.shots)
    return task


def _require_named(task: Any, name: str) -> None:
    """Refuse a task whose file names a metric or a column that lm-eval's definition and data lack."""
    named, metrics, columns = hub_task(name), task.aggregation(), task.eval_docs.column_names
    if named.metric not in metrics:
        wrong = f"metric: lm-eval scores no {named.metric}; {nearest(named.metric, metrics)}"
    elif named.items_share not in (None, *columns):
        wrong = f"items_share: no column {named.items_share}; {nearest(str(named.items_share), columns)}"
    else:
        return
    raise UserError(f"config/tasks/hub/{name}.yaml: {wrong}")


def _loaded_with_items(definition: Path, items: Path) -> dict[str, Any]:
    for needed in (definition, items):
        if not needed.exists():
            raise UserError(f"{needed} is missing; run the whole workflow, which makes it")
    config: dict[str, Any] = read_yaml(definition)
    with plainly_named(items) as link:
        return _loaded_from(config, link)


def _loaded_from(config: dict[str, Any], items: Path) -> dict[str, Any]:
    [split] = config["dataset_kwargs"]["data_files"]
    config["dataset_kwargs"] = {"data_files": {split: str(items)}}
    if "include" not in config:
        return _loaded(config)
    config["include"] = str(HARNESS_TASKS / config["include"])
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as stream:
        yaml.safe_dump(config, stream)
        stream.flush()
        return _loaded(stream.name)


def _loaded(task: str | dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = TaskManager(include_defaults=False).load([task])["tasks"]
        return found
    except ValueError as error:
        if "cache" not in str(error).lower():
            raise
        raise UserError(f"{str(error).splitlines()[0]}: fetch it where there is a network: snakemake freeze") from error


def task_scores(harness: SharedHarness, task: Any, request: TaskRequest) -> pd.DataFrame:
    """Score of each item by each metric: the columns of items.parquet but for the run.

    Items of one cluster share a passage or another source. ``chance`` is the score of guessing. lm-eval's
    ``simple_evaluate`` does the same, and then lists the machine's packages and devices, which takes longer than small
    tasks and belongs to the manifest.
    """
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    results = evaluate(
        lm=harness, task_dict={"tasks": {task.task_name: task}}, limit=request.limit, bootstrap_iters=0,
        log_samples=True,
    )  # fmt: skip
    if results is None:
        raise AssertionError("lm-eval returned no results")
    samples = results["samples"][task.task_name]
    _tell_of_cut_items(harness, samples, request)
    split = task.config.test_split or task.config.validation_split
    records = [
        {
            "task": request.name,
            "metric": metric,
            "shots": request.shots,
            "in_domain": request.in_domain,
            "split": split,
            "item": sample["doc_id"],
            "score": float(sample[metric]),
            "cluster": _cluster(request, sample),
            "chance": 1 / len(sample["arguments"]),
        }
        for sample in samples
        for metric in sample["metrics"]
    ]
    return pd.DataFrame(records, columns=COLUMNS).sort_values(["metric", "item"], ignore_index=True)


def _cluster(request: TaskRequest, sample: dict[str, Any]) -> str:
    """What an item shares with others: the speech of a local one, or a column of the data; else itself."""
    document = sample["doc"]
    if request.data == "local":
        shared = document["id"].rpartition(":")[0]
    else:
        column = hub_task(request.name).items_share
        shared = document[column] if column else ""
    text = shared or f"item {sample['doc_id']}"
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS_OF_A_CLUSTER]


def _tell_of_cut_items(harness: SharedHarness, samples: list[dict[str, Any]], request: TaskRequest) -> None:
    """Items that the model cannot read whole: those made here are refused, lm-eval's are cut as it cuts them.

    Raises:
        UserError: an item of a local task is too long.
    """
    limit = harness.max_length
    # No token is shorter than a byte.
    long = [
        text
        for sample in samples
        for text in map("".join, sample["arguments"])
        if len(text.encode()) > limit and len(harness.tok_encode(text)) > limit
    ]
    if not long:
        return
    if request.data == "local":
        raise UserError(
            f"{len(long)} items of {request.path} are longer than the {limit} tokens that the checkpoint reads; "
            "raise training.sequence_length or drop the task from evaluation.tasks"
        )
    log.warning("%s: %d prompts are longer than %d tokens and are cut from the left", request.key, len(long), limit)
