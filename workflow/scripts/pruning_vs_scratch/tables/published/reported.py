"""The paper's table of perplexities, next to the same three models of the study."""

from typing import Any

import numpy as np
import pandas as pd

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.load import records
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored, number, with_interval
from pruning_vs_scratch.tables.reported import BILLION

FIGURE = "table2"
"""The paper's table as named in config/reported.csv: one method at one ratio."""
MODELS = {
    "scratch, equal": "from scratch, same tokens",
    "pruned": "pruned and retrained",
    "scratch, full": "from scratch, whole pipeline's tokens",
}
PAPER = ("paper_tokens", "paper_perplexity", "paper_grade")
STUDY = ("study_tokens", "study_perplexity", "study_low", "study_high")
COMPARISON = ["method", "ratio", "budget"]

Perplexities = dict[str, dict[str, Any]]
"""Columns of a source by model (MODELS)."""


def make(stored: Stored) -> Published:
    """One row per model. The study's rows use the paper's method or, without it, the study's first depth method."""
    rows = stored.tables.reported
    rows = rows[rows["figure"] == FIGURE]
    if rows.empty:
        raise UserError(f"the numbers of the paper hold no rows of {FIGURE}: restore config/reported.csv")
    method, ratio = str(rows["method"].iloc[0]), float(rows["ratio"].iloc[0])
    chosen = _comparison(stored.tables.gaps, method, ratio)
    paper, study = _paper(rows), _study(chosen, stored.tables.runs)
    numbers = pd.DataFrame([{"model": name, **paper[key], **study.get(key, {})} for key, name in MODELS.items()])
    numbers = numbers.reindex(columns=["model", *PAPER, *STUDY])
    named = f"{_named(chosen)} in this study" if len(chosen) else "none of this study, which has no depth pruning"
    title = (
        f"Perplexity of {series_label(method, '')} at ratio {ratio:g} in the paper's table 2, next to {named}; they "
        "differ in model, text and tokens by orders of magnitude: compare the order, not the values"
    )
    return Published(title, numbers, _printed(numbers, stored.config.claims.dataset))


def _paper(rows: pd.DataFrame) -> Perplexities:
    retrained = rows.loc[rows["setting"] == "pruned", "budget_b"].item()
    found = {}
    for row in records(rows):
        same = "equal" if row["budget_b"] == retrained else "full"
        name = "pruned" if row["setting"] == "pruned" else f"scratch, {same}"
        found[name] = dict(zip(PAPER, (row["budget_b"] * BILLION, row["value"], row["precision"]), strict=True))
    return found


def _comparison(gaps: pd.DataFrame, method: str, ratio: float) -> pd.DataFrame:
    """The rows of the comparison closest to the paper's, preferably with a full budget and on the most tokens."""
    rows = gaps[(gaps["granularity"] == "depth") & gaps["gap"].notna()]
    if rows.empty:
        return rows
    settings = rows.groupby(COMPARISON)["setting"].transform("nunique")
    ranked = rows.assign(other=rows["method"] != method, far=(rows["ratio"] - ratio).abs(), settings=settings)
    ranked = ranked.sort_values(
        ["other", "far", "settings", "budget"], ascending=[True, True, False, False], kind="stable"
    )
    first = ranked.iloc[0]
    return rows[(rows[COMPARISON] == [first[name] for name in COMPARISON]).all(axis=1)]


def _study(chosen: pd.DataFrame, runs: pd.DataFrame) -> Perplexities:
    tokens = runs.set_index("run")["tokens_train"]
    found = {}
    for row in records(chosen):
        found["pruned"] = _perplexity(row, "retrained", tokens)
        found[f"scratch, {row['setting']}"] = _perplexity(row, "scratch", tokens)
    return found


def _perplexity(row: dict[str, Any], side: str, tokens: pd.Series) -> dict[str, float]:
    """Perplexity of the mean loss over all seeds in nats per token, with its interval."""
    losses = [row[f"loss_{side}{end}"] for end in ("", "_low", "_high")]
    return dict(zip(STUDY, (tokens[row[side].split(";")[0]], *np.exp(losses)), strict=True))


def _named(chosen: pd.DataFrame) -> str:
    first = chosen.iloc[0]
    return f"{series_label(first['method'], first['pattern'])} at ratio {first['ratio']:g}"


def _printed(numbers: pd.DataFrame, corpus: str) -> pd.DataFrame:
    intervals = [with_interval(row[STUDY[1]], row[STUDY[2]], row[STUDY[3]], ".2f") for row in records(numbers)]
    return pd.DataFrame(
        {
            "model": numbers["model"],
            "paper, tokens": [_tokens(value) for value in numbers[PAPER[0]]],
            "paper, WikiText-2": [number(value, ".2f") for value in numbers[PAPER[1]]],
            "paper, grade": numbers[PAPER[2]],
            "study, tokens": [_tokens(value) for value in numbers[STUDY[0]]],
            f"study, {corpus}": intervals,
        }
    )


def _tokens(count: float) -> str:
    return MISSING if pd.isna(count) else token_label(int(count))
