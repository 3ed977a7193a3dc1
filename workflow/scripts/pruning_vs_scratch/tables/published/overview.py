"""The table that summarises a study: its models, tokens and seeds."""

from collections.abc import Iterable

import pandas as pd

from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.published.stored import MISSING, Published, Stored
from pruning_vs_scratch.tables.summary import duration


def make(stored: Stored) -> Published:
    """One row per fact, counted from the stored tables."""
    runs, pairs, ledger = stored.tables.runs, stored.tables.pairs, stored.ledger
    series = pairs.drop_duplicates(["method", "pattern"])
    full = ledger[ledger["run"].isin(pairs.loc[pairs["setting"] == "full", "scratch"])]
    tokens, flops = (
        (ledger["tokens_seen"] - ledger["tokens_trunk"]).sum(),
        (ledger["flops"] - ledger["flops_trunk"]).sum(),
    )
    facts = {
        "study": stored.claims["study"],
        "parent": _parent(runs),
        "pruned by": _listed(map(series_label, series["method"], series["pattern"])),
        "ratios": _listed(f"{ratio:g}" for ratio in sorted(pairs["ratio"].unique())),
        "retraining": f"{_tokens(pairs['budget'])} tokens, and as many for scratch",
        "full budgets of scratch": f"{_tokens(full['tokens_seen'])} tokens" if len(full) else "none",
        "seeds": _listed(str(seed) for seed in sorted(runs["seed"].unique())),
        "models": str(len(runs)),
        "matched pairs": str(len(pairs)),
        "losses on": stored.claims["dataset"],
        "read in all": f"{token_label(int(tokens))} tokens, {flops:.3g} FLOP",
        "time of all jobs": duration(stored.provenance["seconds"].sum()),
    }
    table = pd.DataFrame(facts.items(), columns=["fact", "value"])
    return Published("What was run", table, table)


def _parent(runs: pd.DataFrame) -> str:
    """The tokens that the parent was trained on, here or by its publisher, if known."""
    known = runs.loc[runs["role"] == "retrained", "tokens_parent"].dropna()
    return f"trained on {_tokens(known)} tokens" if len(known) else "published, number of training tokens unknown"


def _tokens(counts: pd.Series) -> str:
    return _listed(token_label(int(count)) for count in sorted(counts.unique()))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or MISSING
