"""Prune or train from scratch, for a budget and a ratio: what a study's results say, and how far they reach."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.crossover import GapLine, crossover, gap_lines
from pruning_vs_scratch.tables.gaps import GapGroup
from pruning_vs_scratch.tables.statistics import estimate_mean

Advice = Literal["prune", "from scratch", "either", "undecided"]
FAR = 2.0
"""Extrapolation by more than this factor is warned of."""


@dataclass(frozen=True)
class Answer:
    """The advice for one method."""

    label: str
    advice: Advice
    gap: float
    """Expected loss of scratch minus that of pruned, in nats per token."""
    low: float
    high: float
    beyond: float
    """How many times the asked budget lies outside of those that were run; 1 inside."""
    ratio: float
    """The ratio that was run, nearest to the asked one."""
    remark: str


def answers(
    groups: Sequence[GapGroup], tokens: int, ratio: float, settings: ClaimsConfig, parent_is_there: bool = True
) -> list[Answer]:
    """The advice for every method of a study at its ratio nearest to the asked one.

    With a parent that is there already, both sides train on ``tokens``: the trend of the gap is asked. Without,
    scratch gets the parent's tokens too: the comparison at the full budget whose retraining is nearest to ``tokens``
    is asked, and nothing is extrapolated.

    Raises:
        UserError: the study has no such comparison.
    """
    asked = _from_trends if parent_is_there else _from_full
    found = list(asked(groups, tokens, ratio, settings))
    if not found:
        kind = "two budgets of one method" if parent_is_there else "a baseline at the full pipeline budget"
        raise UserError(f"the study has nothing to answer from: it needs {kind} (matrix: retrain, full)")
    return sorted(found, key=lambda answer: -answer.gap)


def _from_trends(groups: Sequence[GapGroup], tokens: int, ratio: float, settings: ClaimsConfig) -> Iterator[Answer]:
    for line in _nearest(gap_lines(groups), ratio):
        low, high = line.interval(tokens, settings.confidence)
        beyond = max(1.0, tokens / line.budgets[-1], line.budgets[0] / tokens)
        gap = line.height(tokens)
        advice = _advice(low, high, settings.equivalence_margin)
        yield Answer(line.label, advice, gap, low, high, beyond, line.ratio, _crossover_text(line, settings))


def _from_full(groups: Sequence[GapGroup], tokens: int, ratio: float, settings: ClaimsConfig) -> Iterator[Answer]:
    full = [group for group in groups if group.setting == "full"]
    for method in dict.fromkeys((group.method, group.pattern) for group in full):
        members = [group for group in full if (group.method, group.pattern) == method]
        group = min(_nearest(members, ratio), key=lambda group: abs(group.budget - tokens))
        gap = estimate_mean(group.differences, settings)
        beyond = max(tokens / group.budget, group.budget / tokens)
        advice = _advice(gap.low, gap.high, settings.equivalence_margin)
        remark = f"measured with {token_label(group.budget)} tokens of retraining"
        yield Answer(
            f"{group.series} {group.ratio:g}", advice, gap.mean, gap.low, gap.high, beyond, group.ratio, remark
        )


def _nearest(members: Sequence, ratio: float) -> list:
    """Of each method and pattern, those at the ratio nearest to the asked one."""
    nearest = {
        key: min((m.ratio for m in members if (m.method, m.pattern) == key), key=lambda found: abs(found - ratio))
        for key in dict.fromkeys((m.method, m.pattern) for m in members)
    }
    return [member for member in members if member.ratio == nearest[member.method, member.pattern]]


def _advice(low: float, high: float, margin: float) -> Advice:
    if -margin < low and high < margin:
        return "either"
    if low > 0:
        return "prune"
    return "from scratch" if high < 0 else "undecided"


def _crossover_text(line: GapLine, settings: ClaimsConfig) -> str:
    found = crossover(line, settings.confidence)
    if found.tokens is None:
        return "scratch never overtakes on this trend" if found.status != "before the data" else "scratch is ahead"
    low, high = (token_label(round(end)) if end else "open" for end in (found.low, found.high))
    return f"scratch overtakes at {token_label(round(found.tokens))} tokens [{low}, {high}], {found.status}"


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
    """The answer in words: one line a method, then how far it can be trusted.

    ``parent`` and ``studied_parent`` are in tokens; None where nobody says how many.
    """
    setting = (
        "It is there; both sides train on"
        if is_there
        else "It is still to be trained, and scratch may use its tokens too; retraining takes"
    )
    of_parent = token_label(parent) if parent else "unknown"
    lines = [
        f"Parent of {of_parent} tokens. {setting} {token_label(tokens)} tokens, ratio {ratio:g}. Study {study}:",
        "",
        f"{'method':<24} {'advice':<13} {'expected gap (nats)':<26} remark",
    ]
    for answer in found:
        gap = f"{answer.gap:+.3f} [{answer.low:+.3f}, {answer.high:+.3f}]"
        lines.append(f"{answer.label:<24} {answer.advice:<13} {gap:<26} {answer.remark}")
    return (
        "\n".join([*lines, "", *_reach(found, ratio, parent / studied_parent if parent and studied_parent else None)])
        + "\n"
    )


def _reach(found: Sequence[Answer], ratio: float, parents: float | None) -> Iterator[str]:
    """How far the answer goes beyond what was run."""
    beyond = max(answer.beyond for answer in found)
    if beyond > 1:
        far = " That is far: take it as a guess." if beyond > FAR else ""
        yield f"The budget lies outside of those that were run by a factor of up to {beyond:.3g}.{far}"
    if parents is None:
        yield "Nobody says what the study's parent was trained on, so it cannot be compared with yours."
    elif parents != 1:
        yield f"The study's parent was trained on {1 / parents:.3g} times the tokens of yours."
    others = sorted({answer.ratio for answer in found} - {ratio})
    if others:
        yield f"Ratio {ratio:g} was not run for every method; the nearest were {', '.join(f'{r:g}' for r in others)}."
    yield "Models of another size, text or tokenizer than the study's may behave otherwise."
