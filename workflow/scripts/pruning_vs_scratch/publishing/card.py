"""The model card: what a model is, how it came to be, what it scores, how to load it, and who may use it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from pruning_vs_scratch.config.corpus import HubSource
from pruning_vs_scratch.files import MASK_FILE, PRUNING_FILE
from pruning_vs_scratch.publishing.lineage import Stage
from pruning_vs_scratch.study import ModelShape, Study
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.items import CHANCE
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import number

PAPER = "2606.14150"
UNSTATED = "not stated"


@dataclass(frozen=True)
class Subject:
    """What a card is about."""

    study: Study
    stages: list[Stage]
    shape: ModelShape
    results: pd.DataFrame
    """The study's results.csv."""
    weights: dict[str, str]
    """SHA-256 of each file of weights and masks, by its name."""

    @property
    def stage(self) -> Stage:
        """The model itself."""
        return self.stages[-1]


def model_card(subject: Subject) -> str:
    """The text of README.md, with the metadata that the hub reads on top."""
    from huggingface_hub import ModelCard

    sections = (
        _head(subject), _lineage(subject), _scores(subject), _loading(subject), _sparsity(subject), _files(subject),
        _licences(subject),
    )  # fmt: skip
    body = "\n\n".join("\n".join(section) for section in map(list, sections) if section)
    return str(ModelCard(f"---\n{_metadata(subject)}\n---\n\n{body}\n"))


def _metadata(subject: Subject) -> str:
    from huggingface_hub import ModelCardData

    study, run, publishing = subject.study, subject.stage.run, subject.study.config.publishing
    tags = [subject.shape.family, "pruning-vs-scratch", run.role, f"arxiv:{PAPER}"]
    tags += [run.target.granularity] if run.target.granularity else []
    tags += run.method.split("+") if run.method else []
    tags += [f"{run.target.pattern.replace(':', '-of-')}-sparsity"] if run.mask else []
    datasets = sorted({s.dataset for s in study.sources.used.values() if isinstance(s, HubSource)})
    descends = not run.is_parent and subject.stages[0].run.is_parent
    data = ModelCardData(
        license=publishing.license,
        language=publishing.language or None,
        base_model=publishing.base_model if descends else None,
        datasets=datasets or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=tags,
    )
    return data.to_yaml()


def _head(subject: Subject) -> Iterator[str]:
    run, shape = subject.stage.run, subject.shape
    yield f"# {run.name}"
    yield ""
    yield f"A {shape.facts.label} model of the study `{subject.study.name}`: {_what(subject.stage)}."
    yield "The study compares pruned models with models trained from random weights on the same tokens, as in"
    yield f'"Small LLMs: Pruning vs. Training from Scratch" ([arXiv {PAPER}](https://arxiv.org/abs/{PAPER})).'
    facts = subject.results.loc[subject.results["run"] == run.name].iloc[0]
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| parameters | {facts['params_total']:,} |"
    if run.mask is not None:
        yield f"| of these not zero | {facts['params_nonzero']:,} |"
    yield f"| decoder blocks | {shape.layers} |"
    yield f"| hidden size, neurons | {shape.hidden_size}, {shape.ffn_size} |"
    yield f"| heads, key-value heads, head size | {shape.heads}, {shape.kv_heads}, {shape.head_dim} |"
    yield f"| vocabulary | {shape.vocab_size:,} |"
    yield f"| tokens read | {_tokens(facts['tokens_total'])} |"
    yield "| of these by the parent, by pruning, by this model's training | " + (
        f"{_tokens(facts['tokens_parent'])}, {facts['tokens_prune']:,}, {facts['tokens_train']:,} |"
    )


def _tokens(count: float) -> str:
    """A number of tokens; that of a published parent may be unknown."""
    return "not known" if pd.isna(count) else f"{int(count):,}"


def _what(stage: Stage) -> str:
    """What a stage did, in words."""
    run = stage.run
    made_by = f"{series_label(str(run.method), run.target.pattern)} at ratio {run.target.ratio:g}"
    if run.is_parent:
        return "a parent, trained from random weights" if run.plan else "a parent that others published, unchanged"
    if run.pruning is not None:
        return f"its parent, pruned by {made_by}"
    taught = ", learning from the whole parent" if run.plan and run.plan.distillation else ""
    if run.start is not None:
        return f"a parent pruned by {made_by}, and retrained{taught}"
    if run.rewound is not None:
        return f"the shape and mask of {run.rewound} (pruned by {made_by}) with the parent's initial weights, trained"
    if run.mask is not None:
        redrawn = "embeddings and norms of the pruned model, other weights random" if run.redrawn else "random weights"
        return f"the mask of {run.mask} (pruned by {made_by}), trained from scratch ({redrawn}){taught}"
    return f"the shape of the target {run.target.name}, trained from random weights{taught}"


def _lineage(subject: Subject) -> Iterator[str]:
    yield "## How it came to be"
    yield ""
    yield "| run | what it is | tokens | windows | seed | peak learning rate | schedule | SHA-256 of the checkpoint |"
    yield "|---|---|---|---|---|---|---|---|"
    for stage in subject.stages:
        row = stage.ledger
        rate, schedule = number(row.peak_lr, "g"), row.schedule or "–"
        windows = f"{row.window_start}–{row.window_end}, {row.sequence_length} tokens each" if row.tokens_seen else "–"
        yield (
            f"| `{row.run}` | {_what(stage)} | {row.tokens_seen:,} | {windows} | {row.seed} | {rate} | {schedule} "
            f"| `{stage.sha256}` |"
        )
    yield ""
    yield "A pruned model reads windows of calibration text, the others windows of the shuffled training text; a"
    yield "retrained model and its baseline read the same ones. Hashes are those of the study's manifests: of the names"
    yield "and contents of all files of a checkpoint's folder."


def _scores(subject: Subject) -> Iterator[str]:
    table = subject.results
    guesses = {(row["dataset"], row["metric"]): row["value"] for row in records(table[table["run"] == CHANCE])}
    yield "## Scores"
    yield ""
    yield "| data | metric | value | standard error | n | guessing |"
    yield "|---|---|---|---|---|---|"
    for row in records(table[table["run"] == subject.stage.run.name]):
        key = (row["dataset"], row["metric"])
        value, error, guess = (number(x, ".4f") for x in (row["value"], row["stderr"], guesses.get(key)))
        yield f"| {key[0]} | {key[1]} | {value} | {error} | {number(row['n'], '.0f')} | {guess} |"
    yield ""
    yield "Losses are in nats per token. Errors are over evaluation windows or items, not over seeds."


def _loading(subject: Subject) -> Iterator[str]:
    length = subject.stages[-1].ledger.sequence_length
    yield "## How to load it"
    yield ""
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield 'folder = "."  # this folder, or its name on the hub'
    yield "model = AutoModelForCausalLM.from_pretrained(folder)"
    yield "tokenizer = AutoTokenizer.from_pretrained(folder)"
    yield 'inputs = tokenizer("Once upon a time", return_tensors="pt")'
    yield "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))"
    yield "```"
    if length:
        yield ""
        made = "trained" if subject.stage.run.pruning is None else "pruned"
        yield f"It was {made} on windows of {length} tokens."


def _sparsity(subject: Subject) -> Iterator[str]:
    run = subject.stage.run
    if run.mask is None:
        return
    yield "## Sparsity"
    yield ""
    of = "unstructured" if run.target.pattern == "unstructured" else f"{run.target.pattern} along the inputs of a layer"
    yield f"The linear layers of the decoder blocks are sparse, {of}, at ratio {run.target.ratio:g}. Zeros are stored"
    yield "densely: the file is as large as that of a dense model, and no faster until a sparse kernel reads it."
    yield f"`{MASK_FILE}` holds the mask: by weight a flat uint8 tensor, True is kept, in row-major order, eight"
    yield "entries a byte, the first in the lowest bit; the metadata entry `shapes` has their shapes. Further training"
    yield "must keep the zeros."


def _files(subject: Subject) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield "| file | SHA-256 |"
    yield "|---|---|"
    yield from (f"| `{name}` | `{digest}` |" for name, digest in subject.weights.items())
    if any(stage.run.pruning is not None for stage in subject.stages):
        yield ""
        yield f"`{PRUNING_FILE}` says what pruning kept: blocks, channels, neurons and heads of the parent."


def _licences(subject: Subject) -> Iterator[str]:
    publishing = subject.study.config.publishing
    yield "## Licences"
    yield ""
    yield f"- This model: {publishing.license or UNSTATED}"
    if subject.stages[0].run.is_parent:
        yield f"- Its parent: {publishing.parent_license or UNSTATED}"
    for name in subject.study.sources.used:
        yield f"- Text `{name}`: {publishing.data_licenses.get(name, UNSTATED)}"
