"""Bytes that a study leaves on disk, by kind."""

from collections.abc import Iterator
from dataclasses import dataclass

from pruning_vs_scratch.cluster.demand import WEIGHT_BYTES
from pruning_vs_scratch.config.corpus import HubSource
from pruning_vs_scratch.data.tokens import token_dtype
from pruning_vs_scratch.planning.estimate import tokens_of
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.study.runs import Run
from pruning_vs_scratch.study.study import Study
from pruning_vs_scratch.study.targets import shapes_to_score

STATE_TENSORS = 3
"""Weights and two moments of AdamW, in fp32."""
SCORE_BYTES = 8
"""Bytes of a score of a block, channel or window, in a file of scores."""
TEXT_BYTES_PER_TOKEN = 4
"""English text with a large vocabulary; a small one has shorter tokens."""
COMPRESSED_BYTES_PER_TOKEN = 1.5
"""The same as .jsonl.zst with some facts of each page: DCLM's files hold 144M tokens in 190 MB."""


@dataclass(frozen=True)
class FileKind:
    """One kind of files."""

    kind: str
    files: int
    bytes: int
    note: str


def storage(study: Study) -> list[FileKind]:
    """Every kind that occurs, in pipeline order."""
    return [stored for stored in _kinds(study) if stored.bytes]


def _kinds(study: Study) -> Iterator[FileKind]:
    tokens = {corpus: tokens_of(study, corpus) for corpus in study.text.extracted_corpora}
    copies = 1 + any(isinstance(source, HubSource) for source in study.sources.used.values())
    total = sum(tokens.values())
    source = study.config.corpus.numbered_source
    if source is not None:
        files = sum(len(part.files) for part in study.text.parts.values())
        yield FileKind(
            "downloaded training text", files, int(COMPRESSED_BYTES_PER_TOKEN * files * source.tokens_per_file),
            f"compressed, at {COMPRESSED_BYTES_PER_TOKEN:g} bytes per token",
        )  # fmt: skip
    yield FileKind(
        "documents", len(tokens) * copies, TEXT_BYTES_PER_TOKEN * copies * total,
        f"at {TEXT_BYTES_PER_TOKEN} bytes per token; " + ("frozen and extracted" if copies > 1 else "extracted"),
    )  # fmt: skip
    width = token_dtype(study.config.tokenizer.vocab_size).itemsize
    needed = sum(tokens_of(study, corpus) for corpus in study.text.corpora)
    yield FileKind("tokens", len(study.text.corpora), width * needed, f"{width} bytes per token that the study reads")
    models = list(study.runs.values())
    yield FileKind("checkpoints", len(models), sum(map(_weight_bytes, models)), "weights in fp32")
    masks = [run for run in models if run.pruning is not None and run.mask == run.name]
    yield FileKind("masks", len(masks), sum(map(_mask_bytes, masks)), "a bit a weight")
    trunks = list(study.trunks.values())
    yield FileKind(
        "optimizer states of trunks", len(trunks), STATE_TENSORS * sum(map(_weight_bytes, trunks)),
        "kept, so that a larger budget can go on",
    )  # fmt: skip
    yield FileKind("scores", len(study.scorings) + len(study.runs), _score_bytes(study), "of blocks, channels, windows")
    yield FileKind(
        "optimizer state of one run in training", 1, _resume_bytes(study),
        "of the largest run; in work/, gone at its end",
    )  # fmt: skip


def _weight_bytes(run: Run) -> int:
    return WEIGHT_BYTES * run.target.shape.params_total


def _mask_bytes(run: Run) -> int:
    return run.target.shape.layers * run.target.shape.block_linear_params // 8


def _resume_bytes(study: Study) -> int:
    """The states that are kept, and one that is being written."""
    states = study.config.training.keep_checkpoints + 1
    trained = [run for run in study.recorded_runs.values() if run.plan is not None]
    return states * STATE_TENSORS * max(map(_weight_bytes, trained))


def _score_bytes(study: Study) -> int:
    windows = sum(study.config.evaluation.perplexity.corpora.values())
    values = sum(_score_values(study, *scoring) for scoring in study.scorings)
    return SCORE_BYTES * (values + windows * len(study.runs))


def _score_values(study: Study, start: str, method: str) -> int:
    """Numbers that a method stores for a run, for all ratios."""
    shape, options = study.run(start).target.shape, study.config.pruning.options(method)
    return facts_of(method).score_numbers(shape, shapes_to_score(study.config, method, shape), options)
