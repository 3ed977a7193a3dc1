"""claims.md: the tested claims as a short results section. Every number comes from claims.json's content."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.claims import GAP

P_FLOOR = 0.0001
"""Smaller p-values are shown as an inequality."""

QUANTITIES = {
    "C1": "gaps",
    "C2": "changes of the gap per doubling of the budget",
    "C3": "changes of the gap per 0.1 of ratio",
    "C3-vanishing": "gaps at the highest ratio",
    "C4": "gaps",
    "D1": "gaps",
    "D2": "leads of several steps",
    "D3": "leads of one schedule",
    "D4": "changes of the loss per quarter of the parent's tokens",
}


def claims_markdown(claims: dict[str, Any]) -> str:
    """The text of claims.md, from the content of claims.json."""
    lines = [f"# What the numbers say: study {claims['study']}", "", *_conventions(claims)]
    for claim in claims["claims"]:
        lines += ["", *_section(claim)]
    return "\n".join(lines) + "\n"


def _conventions(claims: dict[str, Any]) -> Iterator[str]:
    known = [claim for claim in claims["claims"] if claim["comparisons"]]
    yield (
        f"Losses are mean nats per token on the corpus `{claims['dataset']}`. A gap is the loss of the model trained "
        "from scratch minus the loss of the pruned and retrained model; if it is positive, pruning is better. "
        f"Two models count as matched if their losses differ by less than {claims['margin']:g}."
    )
    yield ""
    yield (
        "The paper's own numbers are interpreted in the same way, but have no intervals. Each has its grade in "
        "parentheses; points are points of mean accuracy."
    )
    if claims["times_read"] > 1:
        yield ""
        yield (
            f"Text was read more than once: up to {claims['times_read']:.1f} times per run (`tokens_distinct` in "
            "ledger.csv). Budgets count every pass."
        )
    if not known:
        return
    yield ""
    yield (
        f"Intervals are at {known[0]['confidence']:.0%} for each comparison alone, from {known[0]['sequences']} "
        f"sequences that every run was evaluated on, taken as independent. They cover {known[0]['covers']}. "
        "Decisions hold for all comparisons of a claim jointly (Holm). "
        'A claim that says "every" is contradicted by one comparison against it, and supported only if all agree.'
    )


def _section(claim: dict[str, Any]) -> Iterator[str]:
    yield f"## {claim['id']}: {claim['verdict']}"
    yield ""
    yield f"> {claim['statement']}"
    yield ""
    yield f"{sentence(claim['reason'])} {range_of_effects(claim)}".rstrip()
    yield ""
    yield f"The paper's own numbers: {claim['reported']}."
    if "falsification" in claim:
        yield ""
        yield falsification_text(claim["falsification"])
    if claim["comparisons"]:
        yield ""
        yield f"Test: {claim['test']}. Runs: {len(claim['runs'])}. Seeds: {claim['seeds']}."
        yield ""
        yield from _table(claim["comparisons"])


def range_of_effects(claim: dict[str, Any]) -> str:
    """The range of effects of a claim's comparisons, as a sentence; empty without comparisons."""
    if not claim["comparisons"]:
        return ""
    comparisons = [row for row in claim["comparisons"] if row["quantity"] == GAP] or claim["comparisons"]
    smallest = min(comparisons, key=lambda comparison: comparison["effect"])
    largest = max(comparisons, key=lambda comparison: comparison["effect"])
    if smallest is largest:
        return f"The effect is {_effect(smallest)} ({smallest['label']})."
    return (
        f"The {QUANTITIES[claim['id']]} run from {_effect(smallest)} ({smallest['label']}) "
        f"to {_effect(largest)} ({largest['label']})."
    )


def falsification_text(falsification: dict[str, str]) -> str:
    """Whether the paper's condition for falsifying a claim is met, as a sentence."""
    outcome = {"yes": "is met", "no": "is not met", "undecided": "is undecided"}[falsification["met"]]
    condition = falsification["condition"].rstrip(".")
    return f'The paper\'s condition for falsifying this ("{condition}") {outcome}: {falsification["reason"]}.'


def _table(comparisons: list[dict[str, Any]]) -> Iterator[str]:
    stepped = any(row["steps"] for row in comparisons)
    yield "| comparison | effect | interval | claimed | p (Holm) | decision |" + " each step, per doubling |" * stepped
    yield "|---|---:|---|---|---:|---|" + "---|" * stepped
    for row in comparisons:
        decision = row["decision"] if row["premise"] else f"{row['decision']} (no advantage to begin with)"
        line = (
            f"| {row['label']} | {row['effect']:+.3f} | [{row['low']:+.3f}, {row['high']:+.3f}] | "
            f"{row['expected']} | {p_text(row['p_holm'])} | {decision} |"
        )
        yield line + f" {steps_text(row['steps'])} |" * stepped


def steps_text(steps: Sequence[Mapping[str, Any]]) -> str:
    """The changes between neighbouring budgets: '16.4k to 32.8k -0.120, 32.8k to 65.5k -0.003'."""
    return ", ".join(
        f"{token_label(step['start'])} to {token_label(step['end'])} {step['change']:+.3f}" for step in steps
    )


def p_text(p: float | None) -> str:
    """A p-value as text; a dash if it is not judged."""
    if p is None:
        return "–"
    return f"< {P_FLOOR:g}" if p < P_FLOOR else f"{p:.4f}"


def _effect(comparison: dict[str, Any]) -> str:
    return f"{comparison['effect']:+.3f} [{comparison['low']:+.3f}, {comparison['high']:+.3f}]"


def sentence(text: str) -> str:
    """A reason as a sentence."""
    return text[0].upper() + text[1:] + "."
