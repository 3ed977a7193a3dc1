"""Studies of several sizes side by side: gaps at equal budgets, and the worth of pruned starts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.config.load import read_study_file
from pruning_vs_scratch.errors import UserError, nearest
from pruning_vs_scratch.tables.load import Tables
from pruning_vs_scratch.tables.reported import BILLION, best_graded, reported_parent, with_patterns, worst_grade
from pruning_vs_scratch.tables.scale_fit import ScaleFit, fit_scales
from pruning_vs_scratch.tables.transfer import SERIES, parent_tokens, reported_transfer

MEASURES = ("gap", "share")
FAMILY = ["granularity", "pattern"]
PAPER = "the paper"
COLUMNS = [
    "measure", *FAMILY, "method", "ratio", "study", "params", "tokens_parent", "budget", "share_retrained", "value",
    "low", "high", "predicted", "without_size", "dataset", "grade",
]  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """One of several studies."""

    study: str
    params: int
    """Parameters of the parent."""
    tokens: int | None
    """Tokens that the parent was trained on; None if unknown."""
    tables: Tables
    source: Path
    """Where the study was read from, for messages."""


def read_scale(results: Path, source: Path) -> Scale:
    """The study of a results folder.

    Raises:
        UserError: the folder has no tables, or they are incomplete.
    """
    tables = Tables(results / "tables")
    if not tables.folder.is_dir():
        raise UserError(f"{source} holds no tables: give an archive, or the folder results/STUDY of a finished study")
    runs = tables.runs
    parents = runs.loc[runs["role"] == "parent", "run"]
    costs = tables.efficiency
    sizes = costs.loc[(costs["metric"] == "params_nonzero") & costs["run"].isin(parents), "value"]
    if sizes.empty:
        raise UserError(f"{source} does not record the size of its parent: run the study up to its tables again")
    study = str(read_study_file(results / "config.yaml").get("study"))
    return Scale(study, int(sizes.max()), parent_tokens(runs), tables, source)


def sorted_scales(scales: Sequence[Scale]) -> list[Scale]:
    """The studies by size.

    Raises:
        UserError: a study is listed twice.
    """
    first: dict[str, Scale] = {}
    for scale in scales:
        if first.setdefault(scale.study, scale) is not scale:
            raise UserError(
                f"{first[scale.study].source} and {scale.source} both hold a study {scale.study}: give one of them"
            )
    return sorted(scales, key=lambda scale: (scale.params, scale.tokens or 0, scale.study))


def scale_points(scales: Sequence[Scale], methods: Sequence[str], reported: pd.DataFrame) -> pd.DataFrame:
    """What is drawn (COLUMNS): a row per measure, family, study and budget, and the paper's, by size. Each granularity
    and pattern has one method at one ratio: the one that most studies have; among equals the one that the paper
    reports, and then the one with the most budgets. Given ``methods``, each of them at its ratio. Studies whose
    parent's tokens are unknown are left out.

    Raises:
        UserError: no study has a method.
    """
    found = pd.concat([_points(scale) for scale in scales], ignore_index=True)
    found = found[found["tokens_parent"].notna()]
    known = set(found["method"])
    for method in methods:
        if method not in known:
            raise UserError(f"--methods names {method!r}, which no study compares; {nearest(method, known)}")
    found = found[found["method"].isin(methods)] if methods else found
    paper = reported_points(reported)
    panels = found.groupby([*FAMILY, "method"] if methods else FAMILY, sort=False)
    chosen = [_chosen(rows, paper) for _, rows in panels]
    parts = [part for rows in chosen for part in (*_with_predictions(rows), _paper(rows, paper))]
    parts = [part.reindex(columns=COLUMNS) for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def scale_fits(points: pd.DataFrame) -> pd.DataFrame:
    """One row per measure and family: predictions for the largest study by fits to all the others."""
    studies = points[points["study"] != PAPER]
    keys = ["measure", *FAMILY, "method", "ratio"]
    rows: list[dict[str, Any]] = [
        dict(zip(keys, key, strict=True)) | asdict(fit_scales(rows)[0])
        for key, rows in studies.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, *(field.name for field in fields(ScaleFit))])


def _points(scale: Scale) -> pd.DataFrame:
    """Gaps at equal budgets and shares of a study, in one table."""
    gaps = scale.tables.gaps
    gaps = gaps[(gaps["setting"] == "equal") & gaps["gap"].notna()].assign(measure="gap")
    worths = scale.tables.transfer.assign(measure="share").drop(columns="tokens_parent")
    ends = {"share": "value", "share_low": "low", "share_high": "high"}
    both = pd.concat([gaps.rename(columns={"gap": "value"}), worths.rename(columns=ends)], ignore_index=True)
    tokens = float("nan") if scale.tokens is None else float(scale.tokens)
    return both.assign(
        study=scale.study, params=scale.params, tokens_parent=tokens, share_retrained=both["budget"] / tokens
    ).reindex(columns=COLUMNS)


def _chosen(rows: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """The rows of the method and ratio that most studies have; of equals the paper's, with most values, the first."""
    choices = rows[rows["value"].notna()].groupby(["method", "ratio"], sort=False)
    counts = choices.agg(studies=("study", "nunique"), points=("value", "size"))
    if counts.empty:
        return rows.iloc[:0]
    counts["reported"] = counts.index.isin(paper.set_index(["method", "ratio"]).index)
    order = ["studies", "reported", "points"]
    method, ratio = counts.sort_values(order, ascending=False, kind="stable").index[0]
    found: pd.DataFrame = rows[(rows["method"] == method) & (rows["ratio"] == ratio)]
    return found


def _with_predictions(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for measure in MEASURES:
        values = rows[rows["measure"] == measure].drop(columns=["predicted", "without_size"])
        _, judged = fit_scales(values)
        yield values.join(judged[["predicted", "without_size"]])


def _paper(rows: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The paper's points of the same method and ratio."""
    if rows.empty:
        return rows
    same = pd.Series(True, points.index)
    for name in SERIES:
        same &= points[name] == rows[name].iloc[0]
    return points[same].assign(granularity=rows["granularity"].iloc[0])


def reported_points(reported: pd.DataFrame) -> pd.DataFrame:
    """Gaps at equal budgets and shares from the losses that the paper reports, each with its worst grade."""
    parent = reported_parent(reported)
    losses = with_patterns(reported[(reported["quantity"] == "val_loss") & reported["method"].notna()])
    losses = best_graded(losses, ["setting", *SERIES, "budget_b"])
    pruned, scratch = (losses[losses["setting"] == side] for side in ("pruned", "scratch"))
    both = pruned.merge(scratch, on=[*SERIES, "budget_b"], suffixes=("", "_scratch")).sort_values("budget_b")
    gaps = both.assign(
        measure="gap", value=both["value_scratch"] - both["value"], budget=both["budget_b"] * BILLION,
        grade=[worst_grade(grades) for grades in zip(both["precision"], both["precision_scratch"], strict=True)],
    )  # fmt: skip
    shares = reported_transfer(reported).rename(columns={"share": "value"}).assign(measure="share")
    points = pd.concat([part.reindex(columns=COLUMNS) for part in (gaps, shares)], ignore_index=True)
    return points.assign(study=PAPER, tokens_parent=parent, share_retrained=points["budget"] / parent)
