"""Scores as a file: one calibration serves every ratio.

A safetensors file; the metadata entry ``facts`` is JSON with the method, its options, and the text that was read.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.models.tensors import load_tensors, save_tensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
from pruning_vs_scratch.pruning.method import Scores, StructuredMethod
from pruning_vs_scratch.pruning.sparse import dense_statistics
from pruning_vs_scratch.study import ModelShape

FACTS = "facts"
PRECISIONS: dict[torch.dtype, str] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Names of arithmetic, as the ledger has them."""


@dataclass(frozen=True)
class TextRead:
    """The calibration text on which a choice was based."""

    sequences: int
    sequence_length: int
    flops: int
    precision: str = "fp32"

    @property
    def tokens(self) -> int:
        """Tokens read."""
        return self.sequences * self.sequence_length

    @classmethod
    def by(cls, stream: CalibrationStream) -> "TextRead":
        """What a stream has read."""
        return cls(stream.sequences, stream.length, stream.flops, PRECISIONS[stream.model.skeleton.dtype])


NO_TEXT = TextRead(0, 0, 0)


def score(stream: CalibrationStream, method: str, shapes: list[ModelShape], options: Any) -> Scores:
    """Scores of a method for the shapes that will be needed.

    Raises:
        UserError: the method, with these options, has no scores that serve every ratio.
    """
    if not facts_of(method).scored_once(options):
        raise UserError(f"{method} has no scores that serve every ratio: prune with it directly")
    implementation = implementation_of(method)
    if isinstance(implementation, StructuredMethod):
        return implementation.score(stream, shapes, options)
    return dense_statistics(implementation, stream, method)


def write_scores(scores: Scores, method: str, options: Any, text: TextRead, path: Path, model_sha256: str) -> None:
    """Write scores and what they are based on; ``model_sha256`` is the hash of the checkpoint, without its records."""
    facts = {"method": method, "options": options.model_dump(), "text": asdict(text), "model": model_sha256}
    save_tensors(scores, path, metadata={FACTS: canonical_json(facts)})


def read_scores(path: Path, method: str, options: Any, model_sha256: str) -> tuple[Scores, TextRead]:
    """Read scores of a checkpoint by a method and its options.

    Raises:
        UserError: the file is missing or damaged, or has scores of another method, options or checkpoint.
    """
    scores = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get(FACTS, "{}"))
    wanted = {"method": method, "options": options.model_dump()}
    found = {name: facts.get(name) for name in wanted}
    if found != wanted:
        raise UserError(f"{path} holds scores of {found}, not of {wanted}; score the checkpoint again")
    if facts["model"] != model_sha256:
        raise UserError(f"{path} holds scores of another checkpoint; score this one")
    return scores, TextRead(**facts["text"])
