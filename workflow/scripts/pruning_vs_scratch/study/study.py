"""A study: what the workflow and the tables ask about runs, plans and files. No torch here."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pruning_vs_scratch.config import StudyConfig, parse_config
from pruning_vs_scratch.config.corpus import PathSource, PypiSource
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.study.expand import Expansion, corpora_of
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.study.runs import Pair, Run
from pruning_vs_scratch.study.targets import Target


class Study:
    """The expansion of one configuration.

    Raises:
        UserError: the configuration is not valid (all problems are listed).
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config: StudyConfig = parse_config(values)
        self.name = self.config.study
        self.paths = Paths(self.name)
        expansion = Expansion(self.config)
        self.runs: dict[str, Run] = expansion.runs
        self.pairs: list[Pair] = expansion.pairs

    def run(self, name: str) -> Run:
        """A run by name.

        Raises:
            UserError: there is none; the nearest name is given.
        """
        if name not in self.runs:
            raise UserError(f"study {self.name} has no run {name!r}; {nearest(name, self.runs)}")
        return self.runs[name]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Targets by name, the parent's own shape included."""
        return {run.target.name: run.target for run in self.runs.values()}

    @property
    def pruned_runs(self) -> list[str]:
        """Names of the runs that a pruning method makes."""
        return [run.name for run in self.runs.values() if run.role == "pruned"]

    @property
    def trained_runs(self) -> list[str]:
        """Names of the runs that the training loop makes."""
        return [run.name for run in self.runs.values() if run.plan is not None]

    @property
    def corpora(self) -> list[str]:
        """Every tokenised corpus."""
        return list(corpora_of(self.config))

    @cached_property
    def downloads(self) -> dict[str, PypiSource]:
        """Files to fetch, by the name of their source: those that some corpus reads."""
        corpus = self.config.corpus
        used = {documents.source for documents in (corpus.train, *corpus.evaluation.values())}
        return {name: s for name, s in corpus.sources.items() if name in used and isinstance(s, PypiSource)}

    @cached_property
    def source_files(self) -> list[Path]:
        """Everything that the corpora are read from: downloads, and the files of local folders."""
        corpus = self.config.corpus
        used = {documents.source for documents in (corpus.train, *corpus.evaluation.values())}
        folders = [Path(s.path) for name, s in corpus.sources.items() if name in used and isinstance(s, PathSource)]
        local = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
        return [self.paths.download(source.file) for source in self.downloads.values()] + local

    @cached_property
    def evaluation_groups(self) -> dict[str, list[str]]:
        """Checkpoints that one process evaluates, by the group's name."""
        groups: dict[str, list[str]] = {}
        for run in self.runs.values():
            by_target = f"{run.target.name}-seed{run.seed}"
            groups.setdefault(run.name if self.config.evaluation.group_by == "run" else by_target, []).append(run.name)
        return groups

    def starting_point(self, name: str) -> dict[str, Path]:
        """What a training run starts from, by option of train.py: a checkpoint or a target, and a masked checkpoint."""
        run = self.run(name)
        start = {"target": self.paths.target(run.target.name)}
        if run.start is not None:
            start = {"model": self.paths.model(run.start)}
        return start | ({"mask": self.paths.model(run.mask)} if run.mask is not None else {})

    def windows_needed(self, corpus: str) -> list[tuple[int, int]]:
        """How many windows of which length the study reads of a corpus, so that too little text is found at once."""
        training, evaluation = self.config.training, self.config.evaluation.perplexity
        needs = []
        if corpus == "train":
            ends = (run.plan.window_end for run in self.runs.values() if run.plan is not None)
            needs.append((max(ends), training.sequence_length))
        if corpus == "calibration":
            calibration = self.config.pruning.calibration
            needs.append((calibration.sequences, calibration.sequence_length))
        if corpus == "validation":
            needs.append((training.validation.sequences, training.sequence_length))
        if corpus in evaluation.corpora:
            needs.append((evaluation.corpora[corpus], evaluation.sequence_length))
        return needs

    def training_flops(self, name: str) -> int:
        """FLOPs of a run's training, masked weights included."""
        run = self.run(name)
        if run.plan is None:
            return 0
        return run.target.shape.training_flops(run.plan.sequences, run.plan.sequence_length)

    def priority(self, name: str) -> int:
        """Scheduling priority of a training run: parents first (all pruning waits for them), then the longest."""
        return self.training_flops(name) // 10**6 * (1000 if self.run(name).role == "parent" else 1)
