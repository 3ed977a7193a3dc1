"""Prune or train from scratch, for a budget and a ratio: a study's answer, and how far it can be trusted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.crossover import TOO_FEW, TOO_IMPRECISE, GapFit, crossover, fit_gap, study_misfit
from pruning_vs_scratch.tables.gaps import GapGroup, gap_groups
from pruning_vs_scratch.tables.load import GROUP, Tables
from pruning_vs_scratch.tables.resampling import FAR, Misfit
from pruning_vs_scratch.tables.sides import Sides, all_sides
from pruning_vs_scratch.tables.transfer import parent_tokens

Advice = Literal["prune", "from scratch", "either", "not determined"]


@dataclass(frozen=True)
class Answer:
    """The advice for one method at one of its ratios."""

    label: str
    advice: Advice
    ratio: float
    """The ratio that was run."""
    remark: str
    gap: float | None = None
    """Loss of scratch minus that of pruned, in nats per token, measured or fitted; None if unknown."""
    low: float | None = None
    high: float | None = None
    beyond: float = 1.0
    """Factor by which the requested budget is outside the range that was run; 1 inside."""


def answers(
    groups: Sequence[GapGroup],
    tables: Tables,
    tokens: int,
    ratio: float,
    settings: ClaimsConfig,
    parent_is_there: bool = True,
) -> list[Answer]:
    """The advice for every method of a study; ``groups`` are its comparisons.

    With an existing parent, both sides train on ``tokens``; without one, scratch gets the parent's tokens too. A
    comparison that was run gives the answer itself. Otherwise the laws of both sides do, as far as they reach. A ratio
    between two that were run gets the answers of both; a ratio outside them gets none.

    Raises:
        UserError: the study has no such comparison.
    """
    found = all_sides(groups, tables.runs)
    misfit = study_misfit(found)
    asked = [sides for sides in found if (sides.equal if parent_is_there else sides.full)]
    if not asked:
        kind = "an equal budget" if parent_is_there else "the full pipeline budget"
        raise UserError(
            f"the study has no results to answer from: it needs a comparison at {kind} (matrix: retrain, full)"
        )
    gaps = tables.gaps.set_index(list(GROUP))
    given = [
        _measured(sides, tokens, gaps, settings, parent_is_there)
        or _fitted(sides, tokens, misfit, settings, parent_is_there)
        if covered
        else _outside(sides, asked)
        for sides, covered in _near(asked, ratio)
    ]
    return sorted(given, key=lambda answer: (answer.gap is None, -(answer.gap or 0.0)))


def _near(asked: Sequence[Sides], ratio: float) -> Iterator[tuple[Sides, bool]]:
    """For each method, the sides at the ratio or its neighbours; else the nearest, without advice."""
    for method in dict.fromkeys((sides.method, sides.pattern) for sides in asked):
        members = sorted((s for s in asked if (s.method, s.pattern) == method), key=lambda sides: sides.ratio)
        below, above = ([s for s in members if s.ratio <= ratio][-1:], [s for s in members if s.ratio >= ratio][:1])
        near = below if below == above else below + above
        covered = bool(below and above)
        yield from ((sides, covered) for sides in near)


def _outside(sides: Sides, asked: Sequence[Sides]) -> Answer:
    run = sorted(s.ratio for s in asked if (s.method, s.pattern) == (sides.method, sides.pattern))
    remark = f"ratios that were run: {', '.join(f'{ratio:g}' for ratio in run)}"
    return Answer(sides.label, "not determined", sides.ratio, remark)


def _measured(sides: Sides, tokens: int, gaps: pd.DataFrame, settings: ClaimsConfig, equal: bool) -> Answer | None:
    """The measured answer for the budget from gaps.csv, indexed by comparison; None if it was not run."""
    for group in sides.equal if equal else sides.full:
        if token_label(group.budget) == token_label(tokens):
            row: pd.Series = gaps.loc[tuple(getattr(group, key) for key in GROUP)]
            gap, low, high = (float(row[name]) for name in ("gap", "low", "high"))
            advice = _advice(low, high, settings.equivalence_margin)
            return Answer(sides.label, advice, sides.ratio, "measured", gap, low, high)
    return None


def _fitted(sides: Sides, tokens: int, misfit: Misfit | None, settings: ClaimsConfig, equal: bool) -> Answer:
    groups = sides.equal if equal else sides.full
    fit = fit_gap(sides, misfit)
    extra = 0 if equal else sides.extra or 0
    run = ", ".join(token_label(group.budget) for group in groups)
    nothing = Answer(sides.label, "not determined", sides.ratio, f"{TOO_FEW}; run: {run}")
    if fit is None:
        return replace(nothing, beyond=max(1.0, tokens / groups[-1].budget, groups[0].budget / tokens))
    beyond = fit.beyond(tokens, extra)
    if beyond > FAR:
        return replace(nothing, remark=f"{beyond:.3g} times outside of what was run ({run})", beyond=beyond)
    if not fit.is_precise(settings.confidence, extra):
        return replace(nothing, remark=TOO_IMPRECISE, beyond=beyond)
    low, high = fit.interval(tokens, settings.confidence, extra)
    return Answer(
        sides.label,
        _advice(low, high, settings.equivalence_margin),
        sides.ratio,
        _remark(fit, beyond, settings.confidence, equal),
        fit.gap(tokens, extra),
        low,
        high,
        beyond,
    )


def _advice(low: float, high: float, margin: float) -> Advice:
    if -margin < low and high < margin:
        return "either"
    if low > 0:
        return "prune"
    return "from scratch" if high < 0 else "not determined"


def _remark(fit: GapFit, beyond: float, confidence: float, equal: bool) -> str:
    origin = "fitted" if beyond == 1 else f"fitted, {beyond:.3g} times outside of what was run"
    return f"{origin}; {crossover(fit, confidence)}" if equal else origin


def recommendation(
    found: Sequence[Answer],
    tokens: int,
    ratio: float,
    *,
    study: str,
    studied_parent: int | None,
    parent: int | None,
    is_there: bool,
) -> str:
    """The answer in words: one line per method, then how far it can be trusted.

    ``parent`` and ``studied_parent`` are in tokens; None if unknown.
    """
    setting = (
        "It exists; both sides train on"
        if is_there
        else "It must still be trained, and scratch may use its tokens too; retraining takes"
    )
    of_parent = token_label(parent) if parent else "unknown"
    lines = [
        f"Parent of {of_parent} tokens. {setting} {token_label(tokens)} tokens, ratio {ratio:g}. Study {study}:",
        "",
        f"{'method':<24} {'advice':<15} {'gap (nats)':<26} remark",
        *map(_line, found),
    ]
    reach = _reach(found, ratio, f"{studied_parent / parent:.3g}" if parent and studied_parent else None)
    return "\n".join([*lines, "", *reach]) + "\n"


def advice(tables: Tables, tokens: int, ratio: float, *, study: str, parent: int | None, is_there: bool) -> str:
    """The recommendation of a study's tables; ``parent`` in tokens, None for the study's own.

    Raises:
        UserError: the study compared nothing, or nothing near this ratio.
    """
    measured = tables.gaps.iloc[0] if len(tables.gaps) else None
    settings = ClaimsConfig(
        dataset=str(measured["dataset"]), confidence=measured["confidence"], equivalence_margin=measured["margin"]
    ) if measured is not None else ClaimsConfig()  # fmt: skip
    found = answers(gap_groups(tables, settings.dataset), tables, tokens, ratio, settings, parent_is_there=is_there)
    studied = parent_tokens(tables.runs)
    return recommendation(
        found, tokens, ratio, study=study, studied_parent=studied, parent=parent or studied, is_there=is_there
    )


def _line(answer: Answer) -> str:
    gap = "-" if answer.gap is None else f"{answer.gap:+.3f} [{answer.low:+.3f}, {answer.high:+.3f}]"
    return f"{answer.label:<24} {answer.advice:<15} {gap:<26} {answer.remark}"


def _reach(found: Sequence[Answer], ratio: float, parents: str | None) -> Iterator[str]:
    """How far the answer goes beyond what was run.

    ``parents`` is the ratio of the training tokens of the study's parent to those of yours; None if unknown.
    """
    beyond = max(answer.beyond for answer in found)
    if beyond > 1:
        far = f" Beyond {FAR:g} times there is no advice." if beyond > FAR else ""
        yield f"The budget is up to {beyond:.3g} times outside the range that was run.{far}"
    if parents is None:
        yield "The training tokens of the study's parent are unknown, so it cannot be compared with yours."
    elif parents != "1":
        yield f"The study's parent was trained on {parents} times the tokens of yours."
    others = sorted({answer.ratio for answer in found} - {ratio})
    if others:
        yield f"Ratio {ratio:g} was not run for every method; the nearest were {', '.join(f'{r:g}' for r in others)}."
    yield "Models with a different size, text or tokenizer may behave differently."
