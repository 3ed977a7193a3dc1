"""What a study is, in two lines."""

from collections.abc import Iterable

from pruning_vs_scratch.figures.words import inflected, listed
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.gaps import series_label
from pruning_vs_scratch.tables.published.stored import Stored


def setting(stored: Stored) -> tuple[str, str]:
    """Its parent and how that is pruned; the budgets, seeds and losses that are compared."""
    runs, pairs, ledger = stored.tables.runs, stored.tables.pairs, stored.ledger
    if pairs.empty:
        return f"The parent{_size(stored)} is not compared with anything.", ""
    series = pairs.drop_duplicates(["method", "pattern"])
    full = ledger[ledger["run"].isin(pairs.loc[pairs["setting"] == "full", "scratch"])]
    known = runs.loc[runs["role"] == "retrained", "tokens_parent"].dropna()
    trained = f"was trained on {_tokens(known)} tokens" if len(known) else "was trained on an unknown number of tokens"
    budgets = f"Both sides of a pair read {_tokens(pairs['budget'], 'or')} tokens"
    if count := full["tokens_seen"].nunique():
        is_or_are = "is" if count == 1 else "are"
        budgets += (
            f"; the full {inflected('budget', count)} of scratch {is_or_are} {_tokens(full['tokens_seen'])} tokens"
        )
    seeds = sorted(runs["seed"].unique())
    return (
        f"The parent{_size(stored)} {trained}. It is pruned by "
        f"{listed(map(series_label, series['method'], series['pattern']))} at "
        f"{inflected('ratio', pairs['ratio'].nunique())} {listed(f'{x:g}' for x in sorted(pairs['ratio'].unique()))}.",
        f"{budgets}. {inflected('Seed', len(seeds))}: {listed(map(str, seeds))}. Losses are in nats per token on the "
        f"corpus {stored.claims['dataset']}.",
    )


def _size(stored: Stored) -> str:
    """' of 29,968 parameters', where that is known."""
    sizes = stored.efficiency
    known = sizes.loc[(sizes["role"] == "parent") & (sizes["metric"] == "params_total"), "value"].dropna()
    if known.empty:
        return ""
    count = int(known.iloc[0])
    return f" of {f'{count:,}' if count < 10**6 else token_label(count)} parameters"


def _tokens(counts: Iterable[float], conjunction: str = "and") -> str:
    return listed((token_label(int(count)) for count in sorted(set(counts))), conjunction)
