"""lm-eval tasks on a checkpoint, zero-shot, with per-item scores."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from pruning_vs_scratch.errors import UserError

COLUMNS = ["task", "metric", "shots", "item", "score"]


def local_task(definition: Path, items: Path) -> dict[str, Any]:
    """A task definition of config/tasks, reading the study's own items.

    Raises:
        UserError: the definition or the items are missing.
    """
    for file in (definition, items):
        if not file.exists():
            raise UserError(f"{file} is missing; run the whole workflow, which makes it")
    config: dict[str, Any] = yaml.safe_load(definition.read_text(encoding="utf-8"))
    return {**config, "dataset_kwargs": {"data_files": {"test": str(items)}}}


def require_fit(task: dict[str, Any], tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
    """Refuse items that a model could not read whole: lm-eval would cut them without a word.

    Raises:
        UserError: names the longest item and both lengths.
    """
    items = Path(task["dataset_kwargs"]["data_files"]["test"])
    texts = [
        record["context"] + task["target_delimiter"] + choice
        for record in map(json.loads, items.read_text(encoding="utf-8").splitlines())
        for choice in record["choices"]
    ]
    longest = max(len(ids) for ids in tokenizer(texts)["input_ids"])
    if longest > limit:
        raise UserError(
            f"an item of {items} has {longest} tokens, but the checkpoint reads {limit}; "
            "raise training.sequence_length or drop the task from evaluation.tasks"
        )


def load_tasks(definitions: list[dict[str, Any]]) -> Any:
    """lm-eval's task objects, to be used for one checkpoint after another."""
    return TaskManager(include_defaults=False).load(definitions)


def task_scores(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, tasks: Any, batch_size: int
) -> pd.DataFrame:
    """Score of each item: columns task, metric, shots, item, score.

    ``tasks`` comes from ``load_tasks``. lm-eval's ``simple_evaluate`` does the same, and then lists the machine's
    packages and devices, which takes longer than these tasks and belongs to the manifest.
    """
    if not tasks["tasks"]:
        return pd.DataFrame(columns=COLUMNS)
    harness = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        max_length=model.config.max_position_embeddings,
        device=str(model.device),
    )
    results = evaluate(lm=harness, task_dict=tasks, bootstrap_iters=0, log_samples=True)
    if results is None:
        raise AssertionError("lm-eval returned no results")
    records = [
        {
            "task": task,
            "metric": metric,
            "shots": results["n-shot"][task],
            "item": sample["doc_id"],
            "score": float(sample[metric]),
        }
        for task, samples in results["samples"].items()
        for sample in samples
        for metric in sample["metrics"]
    ]
    return pd.DataFrame(records, columns=COLUMNS).sort_values(COLUMNS[:-1], ignore_index=True)
