"""lm-eval tasks on a checkpoint, zero-shot, with per-item scores."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from pruning_vs_scratch.errors import UserError


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


def task_scores(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, tasks: list[dict[str, Any]], batch_size: int
) -> pd.DataFrame:
    """Score of each item: columns task, metric, shots, item, score."""
    harness = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        max_length=model.config.max_position_embeddings,
        device=str(model.device),
    )
    results = simple_evaluate(
        model=harness, tasks=list(tasks), task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
    )
    if results is None:
        raise AssertionError("lm-eval returned no results")
    shots = {task["task"]: task["num_fewshot"] for task in tasks}
    records = [
        {"task": task, "metric": metric, "shots": shots[task], "item": sample["doc_id"], "score": float(sample[metric])}
        for task, samples in results["samples"].items()
        for sample in samples
        for metric in sample["metrics"]
    ]
    columns = ["task", "metric", "shots", "item", "score"]
    return pd.DataFrame(records, columns=columns).sort_values(columns[:-1], ignore_index=True)
