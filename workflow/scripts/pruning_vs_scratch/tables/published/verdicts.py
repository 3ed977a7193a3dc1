"""The table of verdicts: one line per claim."""

import pandas as pd

from pruning_vs_scratch.tables.claims import PAPERS
from pruning_vs_scratch.tables.published.stored import Published, Stored

COLUMNS = {
    "id": "claim",
    "statement": "the paper says",
    "verdict": "verdict",
    "reason": "because",
    "reported": "the paper's own numbers",
}
"""Headings by the keys of claims.json, if all claims are the paper's. The report's first page shows this table's .csv.
"""


def make(stored: Stored) -> Published:
    """One row per claim: its statement, the verdict, the reason, and the result on the paper's own numbers."""
    claims = stored.claims["claims"]
    columns = COLUMNS if {claim["id"] for claim in claims} <= set(PAPERS) else COLUMNS | {"statement": "statement"}
    rows = [{heading: claim[key] for key, heading in columns.items()} for claim in claims]
    table = pd.DataFrame(rows, columns=list(columns.values()))
    title = (
        "The paper's claims in this study and in the paper's own numbers, which have no intervals (points: points of "
        "mean accuracy)"
    )
    return Published(title, table, table)
