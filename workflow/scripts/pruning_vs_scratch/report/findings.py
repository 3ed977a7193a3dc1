"""What a study found about each claim, in words, next to what the paper's own numbers give."""

from dataclasses import dataclass
from typing import Any, get_args

from pruning_vs_scratch.figures.words import plural
from pruning_vs_scratch.report.grids import Grid, comparisons_grid
from pruning_vs_scratch.tables.claims import Verdict
from pruning_vs_scratch.tables.claims_text import falsification_text, range_of_effects, sentence

FOUND = {
    "C1": "the pruned model has the lower loss",
    "C2": "the advantage shrinks as the budget grows",
    "C3": "the advantage shrinks as the ratio rises",
    "C3-vanishing": "the advantage has nearly vanished",
    "D1": "the advantage survives distillation",
    "D2": "several steps give the lower loss",
    "D3": "one schedule gives the lower loss",
    "D4": "the loss falls the later the parent is pruned",
}
"""What is true of a comparison that goes as claimed. C4 has several kinds of them, which its reason counts."""
FIGURES = {
    "C1": ("token_budget",),
    "C2": ("crossover",),
    "C3": ("ratio",),
    "C3-vanishing": ("ratio",),
    "C4": ("answer", "full_budget"),
    "D1": ("objectives",),
    "D2": ("schedules",),
    "D3": ("schedules",),
    "D4": ("moments",),
}
"""The figures that show what a claim is about."""


@dataclass(frozen=True)
class Finding:
    """A claim as the page shows it."""

    id: str
    statement: str
    verdict: str
    found: str
    """What the study found, in a sentence or two."""
    effect: str | None
    """Of the comparison that supports the claim least, with its interval; None if nothing could be compared."""
    effect_is: str | None
    test: str | None
    falsification: str | None
    reported_verdict: str | None
    """What the paper's own numbers give; None if they say nothing about the claim."""
    reported: str
    """How many of the paper's numbers go as claimed."""
    reported_details: str
    """Which do not."""
    comparisons: Grid | None
    figures: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"claim-{self.id.lower()}"


def finding(claim: dict[str, Any]) -> Finding:
    """A claim of claims.json."""
    known = bool(claim["comparisons"])
    verdict, reported, details = _reported(claim["reported"].replace("read_off", "read off a plot"))
    falsification = claim.get("falsification")
    return Finding(
        id=claim["id"],
        statement=claim["statement"],
        verdict=claim["verdict"],
        found=f"{_found(claim)} {range_of_effects(claim)}".rstrip(),
        effect=None if claim["effect"] is None else _with_interval(claim),
        effect_is=claim["effect_is"],
        test=claim["test"],
        falsification=falsification_text(falsification) if falsification else None,
        reported_verdict=verdict,
        reported=reported,
        reported_details=details,
        comparisons=comparisons_grid(claim) if known else None,
        figures=FIGURES[claim["id"]],
    )


def tally(findings: list[Finding]) -> str:
    """How many of the claims have which verdict: '4 supported, 1 contradicted'."""
    verdicts = [found.verdict for found in findings]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in get_args(Verdict) if verdict in verdicts)


def _found(claim: dict[str, Any]) -> str:
    if claim["id"] not in FOUND:
        counts, _, parts = claim["reason"].partition("; ")
        return sentence(parts or counts)
    decisions = [row["decision"] for row in claim["comparisons"]]
    if not decisions:
        return sentence(claim["reason"])
    text = f"{FOUND[claim['id']]} in {decisions.count('as claimed')} of {plural(len(decisions), 'comparison')}"
    if against := decisions.count("against"):
        text += f"; {against} {'contradicts' if against == 1 else 'contradict'} this"
    if undecided := decisions.count("open"):
        text += f"; {undecided} {'is' if undecided == 1 else 'are'} undecided"
    if absent := sum(not row["premise"] for row in claim["comparisons"]):
        text += f"; in {absent} there is no advantage to begin with"
    return sentence(text)


def _with_interval(claim: dict[str, Any]) -> str:
    return f"{claim['effect']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}]"


def _reported(text: str) -> tuple[str | None, str, str]:
    """The verdict, the counts, and the numbers of 'contradicted, 15 of 17 as claimed. Against: ...'."""
    head, _, details = text.partition(". ")
    verdict, _, counts = head.partition(", ")
    if verdict not in get_args(Verdict):
        return None, text, ""
    return verdict, f"{counts.removesuffix(' as claimed')} numbers as claimed", details
