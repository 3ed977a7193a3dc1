"""Requests to score or to prune: a checkpoint, a method, its text, and what to write. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.config.pruning import USUAL_PRECISION
from pruning_vs_scratch.errors import no_such_path
from pruning_vs_scratch.files import PRUNING_FILE, require_replaceable

USUAL_SEQUENCES = 128
USUAL_LENGTH = 2048
"""Calibration of the sparse methods' papers: 128 sequences of 2,048 tokens."""


@dataclass(frozen=True, kw_only=True)
class CalibratedRequest:
    """What scoring and pruning have in common."""

    model: Path
    """Checkpoint to score or prune."""
    method: str
    options: Mapping[str, Any]
    """Options of the method."""
    calibration: tuple[Path, ...]
    """A folder of token shards, files of text or JSON lines, or one .npy of token windows; none to read no text."""
    sequences: int | None
    """Windows to read; None for the usual number."""
    sequence_length: int | None
    """Tokens per window; None for the usual number."""
    batch_size: int
    """Windows run together."""
    tokenizer: Path | None
    """Folder of the tokenizer; None for the checkpoint's own."""
    seed: int
    """Seed of the order of the windows."""
    threads: int | None
    """CPU threads; None for all cores."""
    low_memory: bool
    """Whether each block is read from disk when it is needed."""
    host_buffer_gib: float
    """Hidden states held in memory; what exceeds them waits in a file."""
    device_buffer_gib: float
    """Hidden states and weights held on a GPU."""
    precision: WantedPrecision
    """Arithmetic of the passes over the text."""
    out: Path
    """What to write: a file of scores, or a checkpoint folder."""
    manifest: Path
    """Manifest to write."""

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer is found."""
        return self.tokenizer or self.model

    @property
    def losses(self) -> Path:
        """Losses of candidates computed so far, kept until the output is written."""
        return self.out.with_name(f"{self.out.name}.losses.json")

    @property
    def texts(self) -> dict[str, Path]:
        """Calibration texts by their names in a manifest."""
        return {f"calibration/{i}": path for i, path in enumerate(self.calibration)}

    def recorded(self, *names: str) -> dict[str, Any]:
        """Some fields as recorded in a manifest, with the arithmetic if it was chosen."""
        chosen = ("precision",) if self.precision != USUAL_PRECISION else ()
        return {name: getattr(self, name) for name in (*names, *chosen)}

    def require_inputs(self) -> None:
        """Refuse a checkpoint or text that does not exist.

        Raises:
            UserError: names the option and the path.
        """
        for option, path in [("--model", self.model), *(("--calibration", path) for path in self.calibration)]:
            if not path.exists():
                raise no_such_path(option, path)


@dataclass(frozen=True, kw_only=True)
class ScoringRequest(CalibratedRequest):
    """Score a checkpoint for one method, once for all ratios."""

    shape: tuple[str, ...] | None
    """The shape that will be needed, as words such as ``layers=16``."""
    shapes: tuple[Mapping[str, Any], ...]
    """All shapes that will be needed, as plain values."""

    @property
    def options_recorded(self) -> dict[str, Any]:
        """The request as recorded in the manifest."""
        return self.recorded(
            "method", "options", "shape", "shapes", "seed", "sequences", "sequence_length", "batch_size", "threads"
        )


@dataclass(frozen=True, kw_only=True)
class PruningRequest(CalibratedRequest):
    """Prune a checkpoint with one method to one target.

    The target is given by ``target``, or follows from one of ``ratio``, ``pattern`` and ``shape``.
    """

    ratio: float | None
    """Share of the decoder to prune."""
    shape: tuple[str, ...] | None
    """The shape to reach, as words such as ``layers=16``."""
    target: Path | None
    """Target file of a study."""
    pattern: Literal["2:4", "4:8"] | None
    scores: Path | None
    """Scores of a scoring step, which replace calibration text."""
    mask_learning: Mapping[str, Any] | None
    """Token plan of mask learning in a study."""
    saving: Mapping[str, Any]
    """When mask learning saves its state, unless set in the plan."""
    domains: Mapping[str, float]
    """Proportions of the domains that masks are learned on."""
    validation: Path | None
    """Token shards whose losses weigh the domains."""
    work: Path
    """Folder for the resume state of mask learning."""
    run: str
    """Name of the run."""

    @property
    def options_recorded(self) -> dict[str, Any]:
        """The request as recorded in the manifest."""
        return self.recorded(
            "run", "method", "options", "ratio", "pattern", "shape", "seed", "sequences", "sequence_length",
            "batch_size", "threads", "low_memory", "mask_learning", "domains",
        )  # fmt: skip

    @property
    def inputs(self) -> dict[str, Path]:
        """The inputs of the pruned checkpoint, by their names in its manifest."""
        names = ("model", "target", "tokenizer", "scores", "validation")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | self.texts

    def require_replaceable(self) -> None:
        """Refuse to overwrite an input, or a folder that is not a pruned checkpoint.

        Raises:
            UserError: names the folder.
        """
        require_replaceable(self.out, PRUNING_FILE, "a pruned checkpoint", self.inputs.values())
