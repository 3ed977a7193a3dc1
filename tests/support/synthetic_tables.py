"""Stored tables with known true gaps, for the tests of claims and figures."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.study import Pair
from pruning_vs_scratch.study.names import (
    parent_name,
    retrained_name,
    rewound_name,
    scratch_name,
    target_name,
)
from pruning_vs_scratch.tables.load import COLUMNS, Tables

PARENT_TOKENS, PARENT = 524288, "P524k"
BUDGETS = (32768, 65536, 131072)
RATIOS = (0.5, 0.75)
METHODS = {
    ("shortgpt", "dense"): "depth",
    ("minitron_width", "dense"): "width",
    ("wanda", "unstructured"): "sparse",
    ("wanda", "2:4"): "sparse",
}
SCRATCH_LOSS = 5.0
PARENT_PARAMS = 8_000_000_000

Candidate = tuple[float, int, int, int, float]
"""Ratio, hidden size, neurons, heads, and validation loss of a candidate of a shape search."""
SEARCH: list[Candidate] = [
    (0.5, 72, 136, 6, 4.21), (0.5, 66, 160, 6, 4.18), (0.5, 84, 104, 3, 4.4), (0.75, 48, 80, 6, 4.9),
    (0.75, 42, 112, 6, float("inf")),
]  # fmt: skip
Gap = Callable[[str, str, float, int], float]
"""True gap by setting, granularity, ratio and budget."""


def paper_gap(setting: str, granularity: str, ratio: float, budget: int) -> float:
    """Gaps for which every claim of the paper holds."""
    if setting == "full":
        return 0.1 if granularity == "sparse" else -0.1
    doublings = np.log2(budget / BUDGETS[0])
    return 1.0 - 0.2 * doublings if ratio == min(RATIOS) else 0.015 - 0.004 * doublings


def write_tables(
    folder: Path,
    gap: Gap = paper_gap,
    *,
    seeds: Sequence[int] = (0,),
    budgets: Sequence[int] = BUDGETS,
    ratios: Sequence[float] = RATIOS,
    methods: Sequence[tuple[str, str]] = tuple(METHODS),
    full: bool = True,
    rewind: bool = False,
    sequences: int = 64,
    noise: float = 0.002,
    items: bool = False,
    search: Sequence[Candidate] = (),
    rng_seed: int = 0,
) -> Tables:
    """Write runs, pairs, losses and, if asked, items; 2:4 exists at ratio 0.5 only."""
    rng = np.random.default_rng(rng_seed)
    pairs = [
        pair
        for seed in seeds
        for method, pattern in methods
        for ratio in ratios
        if pattern != "2:4" or ratio == 0.5
        for budget in budgets
        for pair in _pairs(method, pattern, ratio, budget, seed, full and budget == max(budgets), rewind)
    ]
    means: dict[str, float] = {}
    for pair in pairs:  # equal pairs come first, so that a full baseline can refer to its retrained run
        truth = gap(pair.setting, pair.granularity, pair.ratio, pair.budget)
        means.setdefault(pair.parent, SCRATCH_LOSS - 1.5)
        scratch = means[pair.retrained] + truth if pair.setting == "full" else SCRATCH_LOSS
        means.setdefault(pair.scratch, scratch)
        means.setdefault(pair.retrained, SCRATCH_LOSS - truth)
    folder.mkdir(parents=True, exist_ok=True)
    difficulty = rng.normal(0, 0.3, sequences)
    losses = [
        pd.DataFrame(
            {
                "run": run,
                "dataset": "test",
                "sequence": np.arange(sequences),
                "loss": mean + difficulty + rng.normal(0, noise, sequences),
                "mode": "heldout",
            }
        )
        for run, mean in means.items()
    ]
    pd.concat(losses).to_parquet(folder / "losses.parquet")
    pd.DataFrame([asdict(pair) for pair in pairs]).to_csv(folder / "pairs.csv", index=False)
    _runs(pairs).to_csv(folder / "runs.csv", index=False)
    write_search(folder, search)
    if items:
        _items(list(means), rng).to_parquet(folder / "items.parquet")
    return Tables(folder)


def write_search(folder: Path, candidates: Sequence[Candidate]) -> None:
    """Write the candidates of a shape search; the first of the lowest loss is chosen."""
    rows = [
        {
            "target": f"width-{ratio:g}", "ratio": ratio, "hidden_size": hidden, "ffn_size": ffn, "heads": heads,
            "params_decoder": 1_000_000, "validation_loss": loss, "tokens_seen": BUDGETS[0], "flops": 10**9,
            "run": f"candidate-{ratio:g}-{hidden}",
            "chosen": loss == min(other[-1] for other in candidates if other[0] == ratio),
        }
        for ratio, hidden, ffn, heads, loss in candidates
    ]  # fmt: skip
    pd.DataFrame(rows, columns=list(COLUMNS["shape_search.csv"])).to_csv(folder / "shape_search.csv", index=False)


def _pairs(method: str, pattern: str, ratio: float, budget: int, seed: int, full: bool, rewind: bool) -> list[Pair]:
    granularity = METHODS[(method, pattern)]
    label = target_name(method, ratio, pattern if granularity == "sparse" else "unstructured")
    target = label if granularity == "sparse" else target_name(granularity, ratio)
    settings = {"equal": budget} | ({"full": PARENT_TOKENS + budget} if full else {})
    names = {setting: scratch_name(target, tokens, seed) for setting, tokens in settings.items()}
    names |= {"rewind": rewound_name(label, budget, seed)} if rewind else {}
    return [
        Pair(
            setting,
            retrained=retrained_name(PARENT, label, budget, seed),
            scratch=scratch,
            parent=parent_name(PARENT, seed),
            method=method,
            granularity=granularity,
            pattern=pattern,
            ratio=ratio,
            budget=budget,
            seed=seed,
        )
        for setting, scratch in names.items()
    ]


def _runs(pairs: list[Pair]) -> pd.DataFrame:
    columns = [
        "run", "role", "method", "granularity", "pattern", "target_ratio", "params_nonzero", "tokens_parent",
        "tokens_prune", "tokens_train", "tokens_distinct", "tokens_total", "seed",
    ]  # fmt: skip
    rows = {}
    for pair in pairs:
        spent = PARENT_TOKENS + pair.budget
        target = (pair.granularity, pair.pattern, pair.ratio, round(PARENT_PARAMS * (1 - pair.ratio)))
        rows[pair.parent] = (
            "parent",
            None,
            None,
            "dense",
            0.0,
            PARENT_PARAMS,
            0,
            0,
            PARENT_TOKENS,
            PARENT_TOKENS,
            PARENT_TOKENS,
            pair.seed,
        )
        rows[pair.retrained] = (
            "retrained", pair.method, *target, PARENT_TOKENS, 0, pair.budget, pair.budget, spent, pair.seed,
        )  # fmt: skip
        tokens = spent if pair.setting == "full" else pair.budget
        role = "rewind" if pair.setting == "rewind" else "scratch"
        rows[pair.scratch] = (role, None, *target, 0, 0, tokens, tokens, tokens, pair.seed)
    return pd.DataFrame([(run, *facts) for run, facts in rows.items()], columns=columns)


def _items(runs: list[str], rng: np.random.Generator) -> pd.DataFrame:
    parts = [item_table(run, task, rng.integers(0, 2, 20)) for run in runs for task in ("continuation", "last_word")]
    return pd.concat(parts)


def item_table(run: str, task: str, scores: Sequence[float], **changes: Any) -> pd.DataFrame:
    """Scores of one run on a task with four choices, for each item separately."""
    values = {
        "run": run, "task": task, "metric": "acc", "shots": 0, "in_domain": False, "split": "test",
        "item": range(len(scores)), "chance": 0.25,
        "score": np.asarray(scores, dtype=float), "cluster": [str(i) for i in range(len(scores))],
    }  # fmt: skip
    return pd.DataFrame(values | changes)


def write_figure_tables(folder: Path, tables: Tables) -> None:
    """Write, next to runs and pairs, what only figures read: curves, importance, sizes, and the paper's numbers."""
    rng = np.random.default_rng(1)
    trained = tables.runs[tables.runs["tokens_train"] > 0]
    curves = [
        _curve(run, tokens, rng)
        for run, tokens in zip(trained["run"], trained["tokens_train"].astype(int), strict=True)
    ]
    pd.concat(curves, ignore_index=True).to_parquet(folder / "curves.parquet")
    pruned = tables.pairs.drop_duplicates(["method", "ratio", "seed"])
    scored = [_importance(*row) for row in pruned[["method", "ratio", "seed"]].itertuples(index=False)]
    columns = list(COLUMNS["importance.parquet"])
    pd.concat([pd.DataFrame(columns=columns), *scored]).to_parquet(folder / "importance.parquet")
    sizes = {"params_nonzero": 8.0e9, "forward_flops_theoretical": 3.0e13}
    runs = tables.runs.assign(**{name: size * (1 - tables.runs["target_ratio"]) for name, size in sizes.items()})
    long = runs.melt(id_vars="run", value_vars=list(sizes), var_name="metric")
    long.to_csv(folder.parent / "efficiency.csv", index=False)
    shutil.copy(REPOSITORY / "config/reported.csv", folder / "reported.csv")


def _curve(run: str, tokens: int, rng: np.random.Generator) -> pd.DataFrame:
    seen = np.linspace(tokens / 50, tokens, 50)
    loss = 4 + 2 * np.exp(-3 * seen / PARENT_TOKENS) + rng.normal(0, 0.02, 50)
    training = pd.DataFrame({"run": run, "kind": "training", "tokens": seen, "loss": loss})
    return pd.concat([training, pd.DataFrame({"run": [run], "kind": "validation", "tokens": tokens, "loss": loss[-1]})])


def _importance(method: str, ratio: float, seed: int) -> pd.DataFrame | None:
    """Scores of 8 blocks by the methods that have some."""
    measures = {"shortgpt": ["block_influence"], "minitron_width": ["neuron_importance", "attention_importance"]}
    values = np.random.default_rng(seed).uniform(0.1, 1, 8)
    depth = method == "shortgpt"
    parts = [
        pd.DataFrame(
            {
                "run": f"{method}-{ratio:g}-seed{seed}", "method": method, "ratio": ratio, "seed": seed,
                "measure": measure, "block": range(8), "value": values, "low": values * (1 if depth else 0.5),
                "high": values * (1 if depth else 2), "removed": depth & (values < np.quantile(values, ratio)),
            }
        )
        for measure in measures.get(method, [])
    ]  # fmt: skip
    return pd.concat(parts) if parts else None
