"""The summary shown in the terminal when a study is done."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.study.paths import Paths
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.items import mean_accuracy, with_labels
from pruning_vs_scratch.tables.load import Tables

WIDTH = 110
ROW = ("granularity", "method", "pattern", "ratio", "budget")


def summary(
    tables: Tables, claims: dict[str, Any], times: pd.DataFrame, figures: Path, report: Path, seconds: float | None
) -> str:
    """Verdicts, the main table, accuracies if any, and where to look next, in lines of at most 110 characters."""
    lines = [
        f"Study {claims['study']}: prune, or train from scratch?",
        "",
        *_verdict_lines(claims),
        "",
        *_loss_lines(tables.gaps),
        "",
        *_accuracy_lines(tables),
        f"Figures  {figures}",
        f"Report   {report}",
    ]
    if seconds is not None:
        lines.append(f"Took     {duration(seconds)}")
        lines += textwrap.wrap(f"Jobs     {_phases(times)}", WIDTH, subsequent_indent=" " * 9)
    return "\n".join(lines) + "\n"


def summary_of(paths: Paths, report: Path, seconds: float | None) -> str:
    """The summary of a finished study; ``seconds`` is the time that this run took."""
    times = pd.read_csv(paths.results / "times.csv")
    return summary(
        Tables(paths.tables), read_json(paths.results / "claims.json"), times, paths.figures, report, seconds
    )


def _phases(times: pd.DataFrame) -> str:
    """'retrain 3 min 2 s, prune 40 s', the longest first; jobs run in parallel."""
    longest_first = times.sort_values("seconds", ascending=False, kind="stable")
    seconds = dict(zip(longest_first["phase"], longest_first["seconds"], strict=True))
    return ", ".join(f"{phase} {duration(spent)}" for phase, spent in seconds.items() if spent >= 1)


def duration(seconds: float) -> str:
    """'45 s', '9 min 30 s', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _verdict_lines(claims: dict[str, Any]) -> Iterator[str]:
    for claim in claims["claims"]:
        head = f"{claim['id']:<13} {claim['verdict']:<13} "
        yield from textwrap.wrap(head + claim["reason"], WIDTH, subsequent_indent=" " * len(head))


def _loss_lines(gaps: pd.DataFrame) -> Iterator[str]:
    if gaps.empty:
        yield "The study has no pairs of runs to compare."
        return
    first = gaps.iloc[0]
    seeds = f"{first['seeds']} seed" + ("s" if first["seeds"] > 1 else "")
    yield (
        f"Loss on {first['dataset']} (nats per token), gap = scratch - pruned with {first['confidence']:.0%} interval; "
        f"parent {first['loss_parent']:.3f}; {seeds}"
    )
    yield ""
    yield f"{'':<44}{'same tokens':^31}  {'whole pipeline tokens':^31}".rstrip()
    yield _columns("method", "ratio", "tokens", "pruned", "scratch", "gap", "scratch", "gap")
    for key, rows in gaps.groupby(list(ROW), sort=False):
        yield _loss_row(key, rows.set_index("setting"))


def _loss_row(key: Any, rows: pd.DataFrame) -> str:
    _, method, pattern, ratio, budget = key
    cells = [text for setting in ("equal", "full") for text in _setting_cells(rows, setting)]
    pruned = f"{rows['loss_retrained'].iloc[0]:.3f}"
    return _columns(series_label(method, pattern), f"{ratio:g}", token_label(budget), pruned, *cells)


def _setting_cells(rows: pd.DataFrame, setting: str) -> tuple[str, str]:
    if setting not in rows.index:
        return "-", "-"
    row = rows.loc[setting]
    return f"{row['loss_scratch']:.3f}", f"{row['gap']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _columns(method: str, ratio: str, tokens: str, pruned: str, *cells: str) -> str:
    scratch, gap, full, full_gap = cells
    return f"{method:<20} {ratio:>6} {tokens:>7}{pruned:>7}  {scratch:>7} {gap:>23}  {full:>7} {full_gap:>23}"


def _accuracy_lines(tables: Tables) -> Iterator[str]:
    accuracy = mean_accuracy(tables.items)
    if accuracy.empty:
        return
    tasks = with_labels(tables.items[tables.items["shots"] == 0])["dataset"].unique()
    yield from textwrap.wrap(f"Mean accuracy, 0-shot, over {len(tasks)} tasks: {', '.join(sorted(tasks))}", WIDTH)
    yield ""
    parents = tables.runs.loc[tables.runs["role"] == "parent", "run"]
    yield f"{'parent':<36}{_percent(accuracy, set(parents)):>7}"
    yield f"{'method':<20} {'ratio':>6} {'tokens':>7} {'pruned':>7} {'scratch, same tokens':>24} {'whole pipeline':>18}"
    for key, rows in tables.gaps.groupby(list(ROW), sort=False):
        yield _accuracy_row(key, rows, accuracy)
    yield ""


def _accuracy_row(key: Any, rows: pd.DataFrame, accuracy: pd.Series) -> str:
    _, method, pattern, ratio, budget = key
    scratch = {name: _runs(group["scratch"]) for name, group in rows.groupby("setting")}
    return (
        f"{series_label(method, pattern):<20} {ratio:>6g} {token_label(budget):>7} "
        f"{_percent(accuracy, _runs(rows['retrained'])):>7} {_percent(accuracy, scratch.get('equal', set())):>24} "
        f"{_percent(accuracy, scratch.get('full', set())):>18}"
    )


def _runs(cells: pd.Series) -> set[str]:
    return {run for cell in cells for run in cell.split(";")}


def _percent(accuracy: pd.Series, runs: set[str]) -> str:
    known = accuracy[accuracy.index.isin(runs)]
    return "-" if known.empty else f"{known.mean():.1%}"
