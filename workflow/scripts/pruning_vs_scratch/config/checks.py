"""Rules that span sections: budgets and batches, ratios and targets, shapes and the parent."""

from collections.abc import Iterator

from pruning_vs_scratch.config.pruning import GRANULARITY, Comparison
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.errors import nearest

N_OF_M_RATIO = 0.5
"""The ratio of the N:M patterns that are supported (2:4, 4:8)."""


def problems(config: StudyConfig) -> list[str]:
    """All broken rules, each as 'path: what is wrong and what would be right'."""
    return [
        *_source_problems(config),
        *_batch_problems(config),
        *_shape_problems(config),
        *_matrix_problems(config),
        *_evaluation_problems(config),
    ]


def _source_problems(config: StudyConfig) -> Iterator[str]:
    sets = {"corpus.train": config.corpus.train} | {
        f"corpus.evaluation.{name}": documents for name, documents in config.corpus.evaluation.items()
    }
    for path, documents in sets.items():
        if documents.source not in config.corpus.sources:
            hint = nearest(documents.source, config.corpus.sources)
            yield f"{path}.source: no source {documents.source!r} under corpus.sources; {hint}"
    for reserved in {"train", "calibration", "validation", "test"} & set(config.corpus.evaluation):
        yield f"corpus.evaluation.{reserved}: this name belongs to a split of corpus.train; choose another"


def _batch_problems(config: StudyConfig) -> Iterator[str]:
    training = config.training
    if training.global_batch_size % training.micro_batch_size:
        divisors = [d for d in range(1, training.global_batch_size + 1) if training.global_batch_size % d == 0]
        yield (
            f"training.micro_batch_size: {training.micro_batch_size} does not divide the global batch of "
            f"{training.global_batch_size} sequences; valid: {', '.join(map(str, divisors))}"
        )
    yield from _budget_problem(config, "parent.tokens", config.parent.tokens)
    for i, comparison in enumerate(config.matrix):
        for j, budget in enumerate(comparison.retrain):
            yield from _budget_problem(config, f"matrix.{i}.retrain.{j}", budget)


def _budget_problem(config: StudyConfig, path: str, tokens: int) -> Iterator[str]:
    batch = config.training.global_batch_size * config.training.sequence_length
    if tokens % batch:
        below, above = tokens // batch * batch, (tokens // batch + 1) * batch
        valid = f"{below} or {above}" if below else str(above)
        yield f"{path}: {tokens} tokens is not a multiple of the global batch of {batch} tokens; nearest: {valid}"


def _shape_problems(config: StudyConfig) -> Iterator[str]:
    parent = config.parent.shape
    for granularity in ("depth", "width"):
        ratios = [target.ratio for target in getattr(config.targets, granularity)]
        for ratio in sorted({ratio for ratio in ratios if ratios.count(ratio) > 1}):
            yield f"targets.{granularity}: ratio {ratio} has {ratios.count(ratio)} targets; keep one"
    if parent.heads % parent.kv_heads:
        yield f"parent.shape.kv_heads: {parent.kv_heads} does not divide the {parent.heads} heads"
    yield from _head_problem("parent.shape", parent.hidden_size, parent.heads)
    for i, depth in enumerate(config.targets.depth):
        if depth.layers >= parent.layers:
            yield f"targets.depth.{i}.layers: {depth.layers} is not below the parent's {parent.layers}"
    for i, width in enumerate(config.targets.width):
        for key in ("hidden_size", "ffn_size", "heads"):
            if getattr(width, key) > getattr(parent, key):
                yield f"targets.width.{i}.{key}: {getattr(width, key)} is above the parent's {getattr(parent, key)}"
        if width.heads % parent.kv_heads:
            yield f"targets.width.{i}.heads: {width.heads} is not a multiple of the {parent.kv_heads} key-value heads"
        yield from _head_problem(f"targets.width.{i}", width.hidden_size, width.heads)


def _head_problem(path: str, hidden_size: int, heads: int) -> Iterator[str]:
    """Transformers refuses such a Llama even where head_dim is given."""
    if hidden_size % heads:
        below = hidden_size // heads * heads
        valid = f"{below} or {below + heads}" if below else str(heads)
        yield f"{path}.hidden_size: {hidden_size} is not a multiple of the {heads} heads; nearest: {valid}"


def _matrix_problems(config: StudyConfig) -> Iterator[str]:
    for i, comparison in enumerate(config.matrix):
        for budget in set(comparison.full) - set(comparison.retrain):
            yield f"matrix.{i}.full: {budget} is not one of this block's retrain budgets {comparison.retrain}"
        for method in comparison.methods:
            yield from _target_problems(config, i, method, comparison)


def _target_problems(config: StudyConfig, index: int, method: str, comparison: Comparison) -> Iterator[str]:
    granularity = GRANULARITY[method]
    if granularity == "sparse":
        for pattern in comparison.patterns:
            yield from _pattern_problems(config, index, pattern)
            for ratio in comparison.ratios:
                if pattern != "unstructured" and ratio != N_OF_M_RATIO:
                    yield f"matrix.{index}.ratios: pattern {pattern} has ratio {N_OF_M_RATIO}, not {ratio}"
        return
    if comparison.patterns != ["unstructured"]:
        yield f"matrix.{index}.patterns: {method} is a {granularity} method and knows no sparsity patterns"
    known = {target.ratio for target in getattr(config.targets, granularity)}
    for ratio in comparison.ratios:
        if ratio not in known:
            closest = min(known, key=lambda r: abs(r - ratio), default=None)
            hint = f"nearest: {closest}" if closest else "there are none"
            yield f"matrix.{index}.ratios: {method} needs a target for {ratio} under targets.{granularity}; {hint}"


def _pattern_problems(config: StudyConfig, index: int, pattern: str) -> Iterator[str]:
    """N:M needs inputs of every linear layer that divide into groups of M."""
    if pattern == "unstructured":
        return
    group = int(pattern.split(":")[1])
    shape = config.parent.shape
    widths = {"hidden_size": shape.hidden_size, "ffn_size": shape.ffn_size, "heads": shape.heads * shape.head_dim}
    for key, width in widths.items():
        if width % group:
            yield f"matrix.{index}.patterns: {pattern} needs multiples of {group}, but parent.shape.{key} gives {width}"


def _evaluation_problems(config: StudyConfig) -> Iterator[str]:
    known = {"validation", "test", *config.corpus.evaluation}
    corpora = config.evaluation.perplexity.corpora
    for name in set(corpora) - known:
        yield f"evaluation.perplexity.corpora.{name}: no such corpus; {nearest(name, known)}"
    if config.claims.dataset not in corpora:
        yield (f"claims.dataset: {config.claims.dataset!r} is not evaluated; {nearest(config.claims.dataset, corpora)}")
