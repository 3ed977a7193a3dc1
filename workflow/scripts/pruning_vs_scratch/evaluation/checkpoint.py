"""One checkpoint, loaded once and scored on everything."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.data.tokenizer import load_transformers_tokenizer, require_evaluable, separator_of
from pruning_vs_scratch.evaluation.harness import SharedHarness, load_task, task_scores
from pruning_vs_scratch.evaluation.perplexity import CorpusReading, checked_store, corpus_losses
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.study.evaluation import CorpusRequest, TaskRequest
from pruning_vs_scratch.training.precision import dtype_of, resolve_precision
from pruning_vs_scratch.training.world import World


class Evaluation:
    """The scores of a checkpoint, on corpora under ``tokens`` and on tasks; the processes of a world share the work.

    Raises:
        UserError: the checkpoint is damaged, or its tokenizer cannot be used for evaluation.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        tokens: Path,
        corpora: Mapping[str, CorpusRequest],
        reading: CorpusReading,
        tasks: Mapping[str, TaskRequest],
        definitions: Path,
        batch_size: int,
        precision: WantedPrecision,
        world: World,
    ) -> None:
        self.checkpoint, self.tokens, self.corpora, self.reading = checkpoint, tokens, corpora, reading
        self.tasks, self.definitions, self.batch_size, self.world = tasks, definitions, batch_size, world
        dtype = dtype_of(resolve_precision(precision, world.device))
        self.model: Any = load_model(checkpoint, world.device, dtype).eval()
        self.tokenizer = load_transformers_tokenizer(checkpoint)
        require_evaluable(self.tokenizer, self.model.config.vocab_size, str(checkpoint))
        self.harness = SharedHarness(self.model, self.tokenizer, batch_size, world)

    def losses(self, corpus: str) -> pd.DataFrame:
        """Loss of each window of a corpus: columns dataset, sequence, loss, mode.

        Raises:
            UserError: the corpus is too short, or of another tokenizer, or windows are beyond the model's positions.
        """
        losses = corpus_losses(
            self.model,
            checked_store(self.tokens / corpus, self.checkpoint / "tokenizer.json"),
            self.corpora[corpus],
            self.reading,
            bos_token=separator_of(self.checkpoint),
            batch_size=self.batch_size,
            world=self.world,
        )
        return losses.assign(dataset=corpus)

    def items(self, task: str) -> pd.DataFrame:
        """Score of each item of a task by each metric (harness.task_scores)."""
        request = self.tasks[task]
        return task_scores(self.harness, _task(request, self.definitions), request)


@functools.cache
def _task(request: TaskRequest, definitions: Path) -> Any:
    """lm-eval's task object, made once for all checkpoints."""
    return load_task(request, definitions)
