"""Studies that the tests expand: blocks of a matrix, chains, and any study at all (hypothesis)."""

import itertools
from typing import Any

from hypothesis import strategies as st

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.pruning.catalogue import methods as catalogue
from pruning_vs_scratch.study import PruningPlan, Run, Study, TrainingPlan

Values = dict[str, Any]

STORED = ("demo", "smoke", "demo-seeds", "demo-wsd", "paper", "smollm2")
"""Studies of config/."""
LENGTH, BATCH = 16, 4
GLOBAL_BATCH = LENGTH * BATCH
METHODS = tuple(catalogue())
GRANULARITY = {method: facts.granularity for method, facts in catalogue().items()}
SPARSE = tuple(method for method in METHODS if GRANULARITY[method] == "sparse")
DENSE = tuple(method for method in METHODS if method not in SPARSE)
STEPS = [f"{method}@0.5" for method in METHODS] + ["wanda@2:4", "sparsegpt@4:8", "random@0.3"]
CHAINS = [
    list(chain)
    for length in (2, 3)
    for chain in itertools.permutations(STEPS, length)
    if all(GRANULARITY[step.split("@")[0]] != "sparse" for step in chain[:-1])
    and len({GRANULARITY[step.split("@")[0]] for step in chain}) == length
]


def block(methods: list[str], budgets: list[int], *, full: list[int] | None = None, **more: Any) -> Values:
    return {"methods": methods, "ratios": [0.5], "retrain": budgets, "full": full or [], **more}


def with_matrix(values: Values, *blocks: Values) -> Study:
    values["matrix"] = list(blocks)
    return Study(values)


def scratch_of(study: Study, retrained: str, setting: str = "equal") -> str:
    (name,) = (pair.scratch for pair in study.pairs if (pair.retrained, pair.setting) == (retrained, setting))
    return name


def plan(study: Study, run: str) -> TrainingPlan:
    found = study.run(run).plan
    assert found is not None
    return found


def pruning(study: Study, run: str) -> PruningPlan:
    found = study.run(run).pruning
    assert found is not None
    return found


def learning(study: Study, run: str) -> TrainingPlan:
    found = pruning(study, run).training
    assert found is not None
    return found


def runs_of(study: Study, role: str) -> list[Run]:
    return [run for run in study.runs.values() if run.role == role]


def chained(study: Values, *chains: list[str], **more: Any) -> Study:
    """The study of nothing but some chains."""
    return with_matrix(study, {"chains": list(chains), "retrain": [4096], **more})


def batches(count: int) -> int:
    return count * GLOBAL_BATCH


FLAP_TARGET = {"ratio": 0.5, "hidden_size": 32, "ffn_size": 32, "heads": 2, "kv_heads": 1, "methods": ["flap"]}
WANDA_SP_TARGET = FLAP_TARGET | {"ffn_size": 24, "methods": ["wanda_sp"]}
"""Shapes of methods that keep the hidden size, and so cannot share the target of the other width methods."""


def base() -> Values:
    """The smallest study with a parent, a batch and calibration text of few tokens."""
    files = [REPOSITORY / "config" / name for name in ("config.yaml", "smoke.yaml")]
    values = load_config(files).model_dump(mode="json")
    values["evaluation"]["perplexity"] |= {"sequence_length": LENGTH}
    values["evaluation"]["speed"] = None
    values["training"] |= {"sequence_length": LENGTH, "global_batch_size": BATCH, "micro_batch_size": BATCH}
    values["targets"]["width"] += [FLAP_TARGET, WANDA_SP_TARGET]
    return values


BASE = base()
LEARNING = {"global_batch_size": 3, "micro_batch_size": 1}
"""The batch of mask learning, which is not that of training."""
LEARNING_BATCH = 3 * LENGTH


@st.composite
def blocks(draw: st.DrawFn) -> Values:
    budgets = draw(st.lists(st.integers(1, 40).map(batches), min_size=1, max_size=3, unique=True))
    chains = draw(st.lists(st.sampled_from(CHAINS), max_size=2))
    methods: Values = {}
    if draw(st.booleans()) or not chains:
        sparse = draw(st.booleans())
        methods = {
            "methods": draw(st.lists(st.sampled_from(SPARSE if sparse else DENSE), min_size=1, unique=True)),
            "ratios": [0.5],
            "patterns": draw(st.sampled_from([["unstructured"], ["2:4"], ["unstructured", "4:8"]]))
            if sparse
            else ["unstructured"],
        }
    return methods | {
        "chains": chains,
        "retrain": budgets,
        "full": draw(st.lists(st.sampled_from(budgets), unique=True)),
        "rewind": draw(st.lists(st.sampled_from(budgets), unique=True)),
    }


@st.composite
def studies(draw: st.DrawFn) -> Study:
    parent = {**BASE["parent"], "tokens": batches(draw(st.integers(1, 40)))}
    pruning = {
        "calibration": BASE["pruning"]["calibration"] | {"sequences": draw(st.integers(1, 20)), "sequence_length": 12},
        "sheared_llama": LEARNING | {"tokens": draw(st.integers(1, 20)) * LEARNING_BATCH},
        "wanda": {"order": draw(st.sampled_from(["sequential", "dense"]))},
    }
    baselines = {
        "mask": draw(st.sampled_from(["inherited", "random", "random_at_full"])),
        "redraw": draw(st.sampled_from(["all", "linear"])),
    }
    return Study(
        BASE
        | {
            "seeds": draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True)),
            "parent": parent,
            "pruning": pruning,
            "baselines": baselines,
            "matrix": draw(st.lists(blocks(), min_size=1, max_size=2)),
        }
    )
