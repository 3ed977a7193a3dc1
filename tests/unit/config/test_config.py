"""Every mistake of a study is named with its place and the nearest valid value; what is valid is taken."""

from collections.abc import Callable
from typing import Any

import pytest

from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study

Values = dict[str, Any]
Edit = Callable[[Values], Any]


def mistake(values: Values, edit: Edit) -> str:
    """The message for a configuration that was valid before ``edit``."""
    edit(values)
    with pytest.raises(UserError) as error:
        parse_config(values)
    return str(error.value)


DEPTH_THEN_SPARSE = ["shortgpt@0.5", "wanda@0.5"]


def domains(*proportions: float) -> Values:
    return {f"d{i}": {"include": [f"{i}/*"], "proportion": value} for i, value in enumerate(proportions)}


FLAP = {"ratio": 0.5, "hidden_size": 32, "ffn_size": 32, "heads": 2, "kv_heads": 1, "methods": ["flap"]}


def flap(values: Values, **changes: Any) -> Values:
    """The smallest study with FLAP in place of Minitron-width, and a separate target."""
    values["targets"]["width"].append(FLAP | changes)
    values["matrix"][1].update(methods=["flap"])
    return values


def learning(values: Values) -> Values:
    """The study with Sheared-LLaMA in the place of Minitron-width."""
    values["pruning"]["sheared_llama"] = {"tokens": 4096}
    values["matrix"][1]["methods"] = ["sheared_llama"]
    return values


UNKNOWN_KEYS: dict[str, tuple[Edit, str]] = {
    "at the top": (lambda v: v.update(trainning={}), "trainning: unknown key; did you mean 'training'?"),
    "in a section": (
        lambda v: v["training"].update(micro_batchsize=4),
        "training.micro_batchsize: unknown key; did you mean 'micro_batch_size'?",
    ),
    "in a section with defaults": (
        lambda v: v["training"]["optimizer"].update(weight_decays=0),
        "training.optimizer.weight_decays: unknown key; did you mean 'weight_decay'?",
    ),
    "in a list": (
        lambda v: v["matrix"][1].update(ratio=[0.5]),
        "matrix.1.ratio: unknown key; did you mean 'ratios'?",
    ),
    "in a mapping of sections": (
        lambda v: v["corpus"]["evaluation"]["milton"].update(includes=["*"]),
        "corpus.evaluation.milton.includes: unknown key; did you mean 'include'?",
    ),
    "in a member of a union": (
        lambda v: v["corpus"]["sources"]["shakespeare"].update(sha265="0"),
        "corpus.sources.shakespeare.sha265: unknown key; did you mean 'sha256'?",
    ),
    "with nothing near it": (
        lambda v: v["pruning"].update(xyz=1),
        "pruning.xyz: unknown key; known: calibration",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN_KEYS)
def test_an_unknown_key_names_its_path_and_the_nearest_key(case: str, smoke: Values) -> None:
    edit, expected = UNKNOWN_KEYS[case]
    assert expected in mistake(smoke, edit)


UNKNOWN_NAMES: dict[str, tuple[Edit, str]] = {
    "method": (
        lambda v: v["matrix"][0].update(methods=["shortgtp"]),
        "matrix.0.methods.0: no method 'shortgtp'; did you mean 'shortgpt'?",
    ),
    "method unlike any": (
        lambda v: v["matrix"][0].update(methods=["xyz"]),
        "matrix.0.methods.0: no method 'xyz'; known: flap, magnitude, ",
    ),
    "source kind": (
        lambda v: v["corpus"]["sources"]["shakespeare"].update(kind="paths"),
        "corpus.sources.shakespeare.kind: 'paths' is not valid; did you mean 'path'?",
    ),
    "source kind left out": (
        lambda v: v["corpus"]["sources"]["shakespeare"].pop("kind"),
        "corpus.sources.shakespeare.kind: this key is required",
    ),
    "pattern": (
        lambda v: v["matrix"][2].update(patterns=["2:5"]),
        "matrix.2.patterns.0: '2:5' is not valid; did you mean '2:4'?",
    ),
    "task": (
        lambda v: v["evaluation"]["tasks"]["local"].update(scrambel={"items": 3}),
        "evaluation.tasks.local.scrambel: 'scrambel' is not valid; did you mean 'scramble'?",
    ),
    "parent kind": (
        lambda v: v["parent"].update(kind="pretrian"),
        "parent.kind: 'pretrian' is not valid; did you mean 'pretrain'?",
    ),
    "source": (
        lambda v: v["corpus"]["train"][0].update(source="shakespear"),
        "corpus.train.0.source: no source 'shakespear' under corpus.sources; did you mean 'shakespeare'?",
    ),
    "evaluated corpus": (
        lambda v: v["evaluation"]["perplexity"]["corpora"].update(miltons=8),
        "evaluation.perplexity.corpora.miltons: no such corpus; did you mean 'milton'?",
    ),
    "benchmark": (
        lambda v: v["evaluation"]["tasks"].update(benchmarks=[{"names": ["hella_swag"], "data": "hub"}]),
        "evaluation.tasks.benchmarks.0.names.0: no task 'hella_swag' in config/tasks/hub; did you mean 'hellaswag'?",
    ),
    "claims corpus": (
        lambda v: v["claims"].update(dataset="tests"),
        "claims.dataset: 'tests' is not evaluated; did you mean 'test'?",
    ),
    "corpus named like a split": (
        lambda v: v["corpus"]["evaluation"].update(train=v["corpus"]["evaluation"]["milton"]),
        "corpus.evaluation.train: this name belongs to a split",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN_NAMES)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(case: str, smoke: Values) -> None:
    edit, expected = UNKNOWN_NAMES[case]
    assert expected in mistake(smoke, edit)


def benchmarks(*blocks: Values) -> Edit:
    return lambda v: v["evaluation"]["tasks"].update(benchmarks=list(blocks))


def as_authors(values: Values) -> None:
    values["corpus"]["evaluation"]["milton"]["mode"] = "authors"
    values["claims"]["dataset"] = "milton"


RULES: dict[str, tuple[Edit, str]] = {
    "windows beyond the models' positions": (
        lambda v: v["evaluation"]["perplexity"].update(sequence_length=256),
        "evaluation.perplexity.sequence_length: 256 is beyond the 128 positions of the models",
    ),
    "a prompt beyond the models' positions": (
        lambda v: v["evaluation"]["speed"].update(prompt_tokens=128),
        "evaluation.speed.prompt_tokens and new_tokens: 132 is beyond the 128 positions",
    ),
    "a stride that leaves text out": (
        lambda v: v["evaluation"]["perplexity"].update(stride=129),
        "evaluation.perplexity.stride: 129 leaves text out between windows of 128 tokens; at most 128",
    ),
    "claims on training text": (as_authors, "claims.dataset: 'milton' is read as the authors do"),
    "few shots without examples": (
        benchmarks({"names": ["piqa"], "data": "package", "shots": [0, 5]}),
        "evaluation.tasks.benchmarks.0.shots: the package has no training items",
    ),
    "in-domain scores of a task that is not asked for": (
        benchmarks({"names": ["piqa"], "data": "package", "in_domain": ["boolq"]}),
        "evaluation.tasks.benchmarks.0.in_domain: boolq is not among the names of this block",
    ),
    "one score twice": (
        benchmarks({"names": ["piqa", "sciq"], "data": "hub"}, {"names": ["piqa"], "data": "package"}),
        "evaluation.tasks.benchmarks: piqa with 0 shots is listed 2 times; keep one",
    ),
    "retraining budget": (
        lambda v: v["matrix"][1].update(retrain=[8192, 5000]),
        "matrix.1.retrain.1: 5000 tokens is not a multiple of the global batch of 1024 tokens; nearest: 4096 or 5120",
    ),
    "parent's budget below one batch": (
        lambda v: v["parent"].update(tokens=1000),
        "parent.tokens: 1000 tokens is not a multiple of the global batch of 1024 tokens; nearest: 1024",
    ),
    "processes": (
        lambda v: v["training"].update(processes=3, micro_batch_size=2),
        "training.processes: 3 processes cannot share a global batch of 8 sequences in micro-batches of 2; "
        "valid: 1, 2, 4; or lower micro_batch_size",
    ),
    "processes that learn masks": (
        lambda v: v["pruning"].update(processes=3, sheared_llama={"global_batch_size": 4, "micro_batch_size": 2}),
        "pruning.processes: 3 processes cannot share a global batch of 4 sequences in micro-batches of 2; valid: 1, 2; "
        "or lower micro_batch_size",
    ),
    "micro batch": (
        lambda v: v["training"].update(micro_batch_size=3),
        "training.micro_batch_size: 3 does not divide the global batch of 8 sequences; valid: 1, 2, 4, 8",
    ),
    "depth ratio without a target": (
        lambda v: v["matrix"][0].update(ratios=[0.4]),
        "matrix.0.ratios: minitron_depth needs a target for 0.4 under targets.depth; nearest: 0.5",
    ),
    "width ratio with no targets at all": (
        lambda v: v["targets"].update(width=[]),
        "matrix.1.ratios: minitron_width needs a target for 0.5 under targets.width; there are none",
    ),
    "ratio with two targets": (
        lambda v: v["targets"]["depth"].append({"ratio": 0.5, "layers": 3}),
        "targets.depth: ratio 0.5 has 2 targets; keep one",
    ),
    "N:M with another ratio": (
        lambda v: v["matrix"][2].update(ratios=[0.75]),
        "matrix.2.ratios: pattern 2:4 has ratio 0.5, not 0.75",
    ),
    "pattern of a dense method": (
        lambda v: v["matrix"][0].update(patterns=["2:4"]),
        "matrix.0.patterns: minitron_depth is a depth method and has no sparsity patterns",
    ),
    "as many blocks as the parent": (
        lambda v: v["targets"]["depth"][0].update(layers=4),
        "targets.depth.0.layers: 4 is not below the parent's 4",
    ),
    "wider than the parent": (
        lambda v: v["targets"]["width"][0].update(ffn_size=65),
        "targets.width.0.ffn_size: 65 is above the parent's 64",
    ),
    "query heads that the key-value heads do not divide": (
        lambda v: v["targets"]["width"][0].update(heads=3),
        "targets.width.0.heads: 3 is not a multiple of the 2 key-value heads",
    ),
    "parent's heads": (
        lambda v: v["parent"]["shape"].update(kv_heads=3),
        "parent.shape.kv_heads: 3 does not divide the 4 heads",
    ),
    "full budget that is not retrained": (
        lambda v: v["matrix"][0].update(full=[16384]),
        "matrix.0.full: 16384 is not one of this block's retrain budgets [4096, 8192]",
    ),
    "mask learning without a budget": (
        lambda v: learning(v)["pruning"].update(sheared_llama={}),
        "matrix.1.methods: sheared_llama learns its masks and needs pruning.sheared_llama.tokens",
    ),
    "mask learning without a budget in a chain": (
        lambda v: (
            v["pruning"].update(sheared_llama={}) or v["matrix"][1].update(chains=[["sheared_llama@0.5", "wanda@0.5"]])
        ),
        "matrix.1.chains.0: sheared_llama learns its masks and needs pruning.sheared_llama.tokens",
    ),
    "budget of mask learning": (
        lambda v: v["pruning"].update(sheared_llama={"tokens": 1000, "global_batch_size": 3, "micro_batch_size": 1}),
        "pruning.sheared_llama.tokens: 1000 tokens is not a multiple of the global batch of 384 tokens; "
        "nearest: 768 or 1152",
    ),
    "budget of mask learning below one batch": (
        lambda v: v["pruning"].update(sheared_llama={"tokens": 100, "global_batch_size": 2, "micro_batch_size": 1}),
        "pruning.sheared_llama.tokens: 100 tokens is not a multiple of the global batch of 256 tokens; nearest: 256",
    ),
    "micro batch of mask learning": (
        lambda v: v["pruning"].update(sheared_llama={"global_batch_size": 6, "micro_batch_size": 4}),
        "pruning.sheared_llama.micro_batch_size: 4 does not divide the global batch of 6 sequences; valid: 1, 2, 3, 6",
    ),
    "key-value heads that Minitron cannot drop": (
        lambda v: v["targets"]["width"][0].update(heads=2, kv_heads=1),
        "targets.width.0.kv_heads: minitron_width keeps all 2 of the parent's; methods that drop any: flap, ",
    ),
    "blocks that Minitron-width cannot drop": (
        lambda v: v["targets"]["width"][0].update(layers=3),
        "targets.width.0.layers: minitron_width keeps all 4 of the parent's; methods that drop any: sheared_llama",
    ),
    "blocks that Minitron-width cannot drop in a chain": (
        lambda v: (
            learning(v)["matrix"][1].update(chains=[["minitron_width@0.5", "wanda@0.5"]])
            or v["targets"]["width"][0].update(layers=3)
        ),
        "targets.width.0.layers: minitron_width keeps all 4 of the parent's; methods that drop any: sheared_llama",
    ),
    "biases that a method cannot give": (
        lambda v: v["targets"]["width"][0].update(attention_bias=True),
        "targets.width.0.attention_bias: minitron_width with its options cannot give these biases; leave the key out",
    ),
    "biases that FLAP gives and its target denies": (
        lambda v: flap(v, mlp_bias=False),
        "targets.width.1.mlp_bias: flap with its options has these biases; leave the key out, or change pruning.flap",
    ),
    "FLAP on the target of others": (
        lambda v: v["matrix"][1].update(methods=["flap"]),
        "targets.width.0: flap adds attention_bias and mlp_bias with these options, so it cannot share this shape; "
        "give it an entry of its own (methods: [flap])",
    ),
    "FLAP with half of a group": (
        lambda v: flap(v, heads=1),
        "targets.width.1.kv_heads: whole groups of 2 query heads are dropped, so 1 key-value heads need 2 heads, not 1",
    ),
    "FLAP with another hidden size": (
        lambda v: flap(v, hidden_size=24),
        "targets.width.1.hidden_size: flap keeps all 32 of the parent's; methods that drop any: minitron_width",
    ),
    "target of a depth method among width targets": (
        lambda v: flap(v, methods=["flap", "shortgpt"]),
        "targets.width.1.methods: shortgpt is a depth method; name width methods",
    ),
    "methods of different biases on one target": (
        lambda v: flap(v, methods=["flap", "wanda_sp"]),
        "targets.width.1.methods: flap, wanda_sp add different biases; give each an entry of its own",
    ),
    "method with two targets": (
        lambda v: flap(v)["targets"]["width"].append(FLAP | {"ffn_size": 24}),
        "targets.width.2: flap has a shape for ratio 0.5 in targets.width.1 already; keep one",
    ),
    "targets of one shape": (
        lambda v: v["targets"]["width"].append(v["targets"]["width"][0] | {"methods": ["sheared_llama"]}),
        "targets.width.1: this is the shape of targets.width.0 again; keep one entry, so that their methods share",
    ),
    "no target but that of another method": (
        lambda v: flap(v, methods=["wanda_sp"]),
        "targets.width.0: flap adds attention_bias and mlp_bias",
    ),
    "method twice on one target": (
        lambda v: flap(v, methods=["flap", "flap"]),
        "targets.width.1.methods: flap is listed 2 times",
    ),
    "SLEB without its last two blocks": (
        lambda v: v["targets"]["depth"][0].update(layers=1) or v["matrix"][0].update(methods=["sleb"]),
        "targets.depth.0.layers: sleb always leaves 2 blocks, not 1",
    ),
    "chain whose second step would drop nothing": (
        lambda v: (
            learning(v)["targets"]["width"][0].update(layers=2)
            or v["matrix"][1].update(chains=[["sheared_llama@0.5", "shortgpt@0.5"]])
        ),
        "matrix.1.chains.0: shortgpt@0.5 would drop no block: its target has 2, and no more are left",
    ),
    "half of a group of heads": (
        lambda v: learning(v)["targets"]["width"][0].update(heads=1, kv_heads=1),
        "targets.width.0.kv_heads: whole groups of 2 query heads are dropped, so 1 key-value heads need 2 heads, not 1",
    ),
    "more key-value heads than the parent": (
        lambda v: learning(v)["targets"]["width"][0].update(kv_heads=4),
        "targets.width.0.kv_heads: 4 is above the parent's 2",
    ),
    "more blocks than the parent": (
        lambda v: learning(v)["targets"]["width"][0].update(layers=5),
        "targets.width.0.layers: 5 is above the parent's 4",
    ),
    "query heads that the target's key-value heads do not divide": (
        lambda v: (
            learning(v)["parent"]["shape"].update(heads=8, kv_heads=4)
            or v["targets"]["width"][0].update(heads=3, kv_heads=2)
        ),
        "targets.width.0.heads: 3 is not a multiple of the 2 key-value heads",
    ),
    "methods without ratios": (
        lambda v: v["matrix"][0].update(ratios=[]),
        "matrix.0: methods and ratios go together: give both or neither",
    ),
    "ratios without methods": (
        lambda v: v["matrix"][0].update(methods=[], chains=[DEPTH_THEN_SPARSE]),
        "matrix.0: methods and ratios go together: give both or neither",
    ),
    "nothing to compare": (
        lambda v: v["matrix"][0].update(methods=[], ratios=[]),
        "matrix.0: give methods (with ratios), or chains",
    ),
    "rewound budget that is not retrained": (
        lambda v: v["matrix"][0].update(rewind=[8192, 16384]),
        "matrix.0.rewind: 16384 is not one of this block's retrain budgets [4096, 8192]",
    ),
    "proportions": (
        lambda v: v["corpus"].update(domains=domains(0.5, 0.4)),
        "corpus.domains: the proportions sum to 0.9, not to 1",
    ),
    "domain without patterns": (
        lambda v: v["corpus"].update(domains={"prose": {"include": [], "proportion": 0.5}}),
        "corpus.domains.prose.include: must be a list of at least 1, not []",
    ),
    "domain of no proportion": (
        lambda v: v["corpus"].update(domains=domains(1.0, 0.0)),
        "corpus.domains.d1.proportion: must be greater than 0, not ",
    ),
    "chain of one step": (
        lambda v: v["matrix"][0].update(chains=[["shortgpt@0.5"]]),
        "matrix.0.chains.0: must be a list of at least 2, not ",
    ),
    "step that is none": (
        lambda v: v["matrix"][0].update(chains=[["shortgpt", "wanda@0.5"]]),
        "matrix.0.chains.0.0: must be a step such as wanda@0.5 or wanda@2:4, not 'shortgpt'",
    ),
    "step of no method": (
        lambda v: v["matrix"][0].update(chains=[["shortgtp@0.5", "wanda@0.5"]]),
        "matrix.0.chains.0: 'shortgtp@0.5': no method 'shortgtp'; did you mean 'shortgpt'?",
    ),
    "sparse step before another": (
        lambda v: v["matrix"][0].update(chains=[DEPTH_THEN_SPARSE, ["wanda@0.5", "shortgpt@0.5"]]),
        "matrix.0.chains.1: [wanda@0.5, shortgpt@0.5]: a sparse step (wanda@0.5) can only be the last of a chain",
    ),
    "two steps along one axis": (
        lambda v: v["matrix"][0].update(chains=[["shortgpt@0.5", "minitron_depth@0.5"]]),
        "matrix.0.chains.0: each step of a chain must prune a different axis (depth, width, sparse)",
    ),
    "step without a target": (
        lambda v: v["matrix"][0].update(chains=[["minitron_width@0.5", "shortgpt@0.3"]]),
        "matrix.0.chains.0: shortgpt needs a target for 0.3 under targets.depth; nearest: 0.5",
    ),
    "step without any target": (
        lambda v: (
            v["targets"].update(width=[])
            or v.update(matrix=[{"chains": [["minitron_width@0.5", "shortgpt@0.5"]], "retrain": [4096]}])
        ),
        "matrix.0.chains.0: minitron_width needs a target for 0.5 under targets.width; there are none",
    ),
    "pattern of a chain that does not divide the matrices": (
        lambda v: (
            v["parent"]["shape"].update(ffn_size=68) or v["matrix"][0].update(chains=[["shortgpt@0.5", "wanda@4:8"]])
        ),
        "matrix.0.chains.0: 4:8 needs multiples of 8, but ffn_size gives 68",
    ),
    "pattern of a chain that does not divide what is left of the matrices": (
        lambda v: (
            v["targets"]["width"][0].update(ffn_size=30)
            or v["matrix"][0].update(chains=[["minitron_width@0.5", "wanda@2:4"]])
        ),
        "matrix.0.chains.0: 2:4 needs multiples of 4",
    ),
    "chain whose second step would add blocks": (
        lambda v: (
            learning(v)["targets"]["width"][0].update(layers=3)
            or v["matrix"][1].update(chains=[["shortgpt@0.5", "sheared_llama@0.5"]])
        ),
        "matrix.1.chains.0",
    ),
    "block of SparseGPT that cuts groups": (
        lambda v: v["pruning"].update(sparsegpt={"block_size": 6}) or v["matrix"][2].update(methods=["sparsegpt"]),
        "pruning.sparsegpt.block_size: 6 is not a multiple of 4, which 2:4 needs",
    ),
    "output projection that is an embedding": (
        lambda v: v.update(baselines={"redraw": "authors"}),
        "baselines.redraw: authors redraws the output projection, which this parent ties to its embeddings; choose",
    ),
    "warmup longer than the run": (
        lambda v: v["training"].update(schedule={"kind": "fms", "warmup_fraction": 1.5}),
        "training.schedule.warmup_fraction: must be at most 1, not 1.5",
    ),
    "mask learning by a schedule in steps": (
        lambda v: learning(v)["pruning"]["sheared_llama"].update(schedule={"kind": "wsd", "warmup_steps": 2}),
        "pruning.sheared_llama.schedule.kind: 'wsd' is not valid; known: cosine, fms",
    ),
    "required key": (lambda v: v["training"].pop("validation"), "training.validation: this key is required"),
    "wrong type": (lambda v: v["seeds"].append("one"), "seeds.1: must be a whole number, not 'one'"),
    "two rules for a split": (
        lambda v: v["corpus"]["splits"]["test"].update(fraction=0.1),
        "corpus.splits.test: give either include (glob patterns) or fraction, not both",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_broken_rule_is_reported_with_what_would_be_right(case: str, smoke: Values) -> None:
    edit, expected = RULES[case]
    assert expected in mistake(smoke, edit)


def test_all_problems_are_listed_at_once(smoke: Values) -> None:
    def edit(values: Values) -> None:
        values["parent"]["tokens"] = 5000
        values["training"]["micro_batch_size"] = 3

    message = mistake(smoke, edit)
    assert "parent.tokens" in message
    assert "training.micro_batch_size" in message


@pytest.mark.parametrize(
    ("section", "path"),
    [
        (lambda values: values["parent"]["shape"], "parent.shape.hidden_size"),
        (lambda values: values["targets"]["width"][0], "targets.width.0.hidden_size"),
    ],
    ids=["parent", "width target"],
)
def test_a_hidden_size_that_transformers_would_refuse_is_refused(
    smoke: Values, section: Callable[[Values], Values], path: str
) -> None:
    section(smoke).update(hidden_size=22, heads=4)
    with pytest.raises(UserError, match=rf"{path}: 22 is not a multiple of the 4 heads; nearest: 20 or 24"):
        parse_config(smoke)


def test_a_key_set_to_null_is_removed(smoke: Values) -> None:
    smoke["corpus"]["evaluation"]["milton"] = None
    smoke["evaluation"]["perplexity"]["corpora"]["milton"] = None
    smoke["corpus"]["splits"]["test"] = {"include": None, "fraction": 0.1}
    config = parse_config(smoke)
    assert set(config.corpus.evaluation) == {"folio", "encyclopedia"}
    assert config.corpus.splits.test.fraction == 0.1


def test_a_pattern_that_does_not_divide_the_matrices_is_refused(smoke: Values) -> None:
    smoke["parent"]["shape"]["ffn_size"] = 66
    with pytest.raises(UserError, match=r"patterns: 2:4 needs multiples of 4, but ffn_size gives 66"):
        parse_config(smoke)


@pytest.mark.parametrize("shape", [{"kv_heads": 1, "heads": 2}, {"layers": 3}, {"kv_heads": 2, "layers": 4}])
def test_sheared_llama_drops_key_value_heads_and_blocks(smoke: Values, shape: Values) -> None:
    learning(smoke)["targets"]["width"][0].update(shape)
    (target,) = parse_config(smoke).targets.width
    assert {key: getattr(target, key) for key in shape} == shape


@pytest.mark.parametrize("given", [{}, {"kv_heads": 2}])
def test_query_heads_may_go_from_every_group(smoke: Values, given: Values) -> None:
    smoke["targets"]["width"][0].update(heads=2, **given)
    assert parse_config(smoke).targets.width[0].heads == 2


def test_what_the_parent_has_may_be_given_for_minitron_too(smoke: Values) -> None:
    smoke["targets"]["width"][0].update(kv_heads=2, layers=4)
    assert parse_config(smoke).targets.width[0].kv_heads == 2


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_mask_learning_has_a_separate_batch(smoke: Values, batch: int) -> None:
    options = {"tokens": batch * 128 * 7, "global_batch_size": batch, "micro_batch_size": 1}
    learning(smoke)["pruning"]["sheared_llama"] = options
    assert parse_config(smoke).pruning.options("sheared_llama").tokens == batch * 896


@pytest.mark.parametrize(
    "chain",
    [
        DEPTH_THEN_SPARSE,
        ["minitron_width@0.5", "sparsegpt@0.3"],
        ["shortgpt@0.5", "minitron_width@0.5", "wanda@2:4"],
        ["minitron_width@0.5", "minitron_depth@0.5"],
    ],
)
def test_a_chain_may_cut_each_axis_once(smoke: Values, chain: list[str]) -> None:
    smoke["matrix"] = [{"chains": [chain], "retrain": [4096], "rewind": [4096]}]
    assert parse_config(smoke).matrix[0].chains == [chain]


@pytest.mark.parametrize("proportions", [(0.7, 0.3), (0.1,) * 10, (0.3333333, 0.3333333, 0.3333334)])
def test_proportions_may_sum_to_1_but_for_rounding(smoke: Values, proportions: tuple[float, ...]) -> None:
    smoke["corpus"]["domains"] = domains(*proportions)
    assert len(parse_config(smoke).corpus.domains) == len(proportions)


def test_methods_with_the_same_counts_and_different_biases_have_separate_entries(smoke: Values) -> None:
    flap(smoke)["targets"]["width"].append(FLAP | {"methods": ["wanda_sp"]})
    smoke["matrix"][1].update(methods=["flap", "wanda_sp"])
    assert [len(target.methods) for target in parse_config(smoke).targets.width] == [0, 1, 1]


def test_a_structure_that_follows_from_the_ratio_is_compared_with_its_target(smoke: Values) -> None:
    smoke["pruning"]["flap"]["structure"] = "UL-UM"
    assert Study(flap(smoke)).targets["flap-0.5"].shape.ffn_size == 32
    smoke["targets"]["width"][1]["ffn_size"] = 24
    with pytest.raises(UserError, match=r"targets\.width\.1\.ffn_size: flap with its options keeps 32 at the ratio 0"):
        Study(smoke)
