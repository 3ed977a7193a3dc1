"""The request for one training step: its plan, its starting point, and all paths. No torch."""

from dataclasses import dataclass
from pathlib import Path

from pruning_vs_scratch.config.training import ReporterName
from pruning_vs_scratch.study.plan import TrainingPlan


@dataclass(frozen=True)
class TrainingRequest:
    """A plan and the files that it uses.

    The initial weights come from one of ``target``, ``model``, ``redraw_linears`` and ``redraw_linears_and_head``.
    """

    plan: TrainingPlan
    tokens: Path
    """Token shards of the training split."""
    validation: Path
    """Token shards of the validation split."""
    tokenizer: Path
    """Folder of the tokenizer."""
    work: Path
    """Folder for resume state."""
    metrics: Path
    """metrics.jsonl to write."""
    manifest: Path
    """Manifest to write."""
    out: Path | None = None
    """Checkpoint folder to write, or for a trunk its state; None to keep neither."""
    target: Path | None = None
    """Target file: random weights of its shape."""
    model: Path | None = None
    """Checkpoint: its weights."""
    redraw_linears: Path | None = None
    """Checkpoint: its weights, with the linear layers of its blocks redrawn."""
    redraw_linears_and_head: Path | None = None
    """Checkpoint: its weights, with those linear layers and its output projection redrawn (the authors)."""
    like: Path | None = None
    """Checkpoint: random weights take over everything except the shape."""
    cut_like: Path | None = None
    """Pruned checkpoint: random weights are cut in the same way."""
    teacher: Path | None = None
    """Checkpoint to learn from, for a plan with distillation."""
    mask: Path | None = None
    """Pruned checkpoint: the zeros of its mask are kept."""
    state: Path | None = None
    """State of a trunk from which the run resumes; the initial weights are then those of the trunk."""
    state_metrics: Path | None = None
    """metrics.jsonl of that trunk, with which this run's begins."""
    report_to: tuple[ReporterName, ...] = ()
    """Where metrics are shown besides the file."""

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint with the initial weights, whole or in part; None for random ones."""
        return self.model or self.redraw_linears or self.redraw_linears_and_head

    @property
    def start(self) -> Path:
        """The field that gives the initial weights."""
        start = self.checkpoint or self.target
        assert start is not None
        return start
