"""The table of verdicts: one line per claim of the paper."""

import pandas as pd

from pruning_vs_scratch.tables.published.stored import Published, Stored

COLUMNS = {
    "id": "claim",
    "statement": "the paper says",
    "verdict": "verdict",
    "reason": "because",
    "reported": "the paper's own numbers",
}
"""Headings by the keys of claims.json. The report's first page shows this table's .csv."""


def make(stored: Stored) -> Published:
    """One row per claim: its statement, the verdict, the reason, and the result on the paper's own numbers."""
    rows = [{heading: claim[key] for key, heading in COLUMNS.items()} for claim in stored.claims["claims"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS.values()))
    title = (
        "The paper's claims in this study and in the paper's own numbers, which have no intervals (points: points of "
        "mean accuracy)"
    )
    return Published(title, table, table)
