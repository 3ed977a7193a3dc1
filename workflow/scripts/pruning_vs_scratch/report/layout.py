"""Where each figure is on the page: once, and elsewhere as a link."""

from collections.abc import Sequence
from dataclasses import dataclass

from pruning_vs_scratch.report.findings import Finding
from pruning_vs_scratch.report.pictures import Picture


@dataclass(frozen=True)
class Layout:
    """The figures of a page by their places."""

    first: Picture
    """Below the verdicts."""
    of_claims: dict[str, list[Picture]]
    """By claim, those that stand in its section."""
    links_of_claims: dict[str, list[Picture]]
    """By claim, those that stand in a place above its section."""
    further: list[Picture]
    """Behind the claims."""


def layout(findings: Sequence[Finding], shown: Sequence[Picture]) -> Layout:
    """The places of figures, the most important first, on a page with these claims."""
    first, *left = shown
    of_claims, links_of_claims = {}, {}
    for found in findings:
        mine = [picture for picture in shown if picture.name in found.figures]
        of_claims[found.id] = [picture for picture in mine if picture in left]
        links_of_claims[found.id] = [picture for picture in mine if picture not in left]
        left = [picture for picture in left if picture not in mine]
    return Layout(first, of_claims, links_of_claims, left)
