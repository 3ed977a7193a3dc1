"""The table of verdicts: a line a claim of the paper."""

import pandas as pd

from pruning_vs_scratch.tables.published.stored import Published, Stored

COLUMNS = {"id": "claim", "statement": "the paper says", "verdict": "verdict", "reason": "because"}
"""Headings by the keys of claims.json. The report's first page shows this table's .csv."""


def verdict_table(stored: Stored) -> Published:
    """A row a claim: what it says, whether the study's numbers support it, and why."""
    rows = [{heading: claim[key] for key, heading in COLUMNS.items()} for claim in stored.claims["claims"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS.values()))
    return Published("The paper's claims in this study", table, table)
