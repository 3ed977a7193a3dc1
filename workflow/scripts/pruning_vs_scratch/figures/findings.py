"""What each figure found, in a sentence computed from what it draws. No matplotlib here.

Each function takes the data of its figure and returns '' if there are none.
"""

from collections.abc import Mapping, Sequence
from math import inf, nan

import pandas as pd

from pruning_vs_scratch.figures import words
from pruning_vs_scratch.planning.text import hours
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.items import TASK_MEAN

SERIES = ["method", "pattern"]
SETTINGS = {"equal": "at equal tokens", "full": "on the whole pipeline's tokens"}


def answer(drawn: pd.DataFrame) -> str:
    """Who leads at equal tokens and by how much, and at which granularities on the whole pipeline's tokens."""
    equal, full = (drawn[drawn["setting"] == setting] for setting in SETTINGS)
    parts = [_equal(equal)] if len(equal) else []
    parts += [f"{SETTINGS['full']}, {_by_granularity(full)}"] if len(full) else []
    return ". ".join(map(words.capital, parts))


def _by_granularity(rows: pd.DataFrame) -> str:
    """'pruned leads in sparse, scratch in depth': at which granularities which side leads with all methods."""
    if rows["granularity"].nunique() == 1:
        return words.tally(words.intervals(rows))
    names: dict[int | None, list[str]] = {1: [], -1: [], 0: [], None: []}
    for name, methods in rows.groupby("granularity", sort=False):
        signs = {interval.sign for interval in words.intervals(methods)}
        names[signs.pop() if len(signs) == 1 else None].append(str(name))
    sides = {1: "pruned", -1: "scratch", 0: "neither side"}
    first, *others = [f"{sides[sign]} {{}}in {words.listed(names[sign])}" for sign in sides if names[sign]] or [""]
    divided = [f"methods disagree in {words.listed(names[None])}"] if names[None] else []
    return ", ".join([*filter(None, [first.format("leads "), *(other.format("") for other in others)]), *divided])


def _equal(rows: pd.DataFrame) -> str:
    budgets = rows["budget"].nunique()
    signs = {interval.sign for interval in words.intervals(rows)}
    where = "at every budget" if budgets > 1 else f"at {token_label(rows['budget'].iloc[0])} tokens"
    leads: dict[tuple[int, ...], str] = {
        (1,): f"pruned leads {where}",
        (-1,): f"scratch leads {where}",
        (0,): f"neither side leads {'at any budget' if budgets > 1 else where}",
    }
    sentence = leads.get(tuple(signs), words.tally(words.intervals(rows)))
    return f"{SETTINGS['equal']}, {sentence}; {_trend(rows, 'budget') or 'the ' + _gaps(rows)}"


def _gaps(rows: pd.DataFrame) -> str:
    """How large some gaps are."""
    return f"gap{'' if len(rows) == 1 else 's'} {'is' if len(rows) == 1 else 'are'} {words.span(rows['gap'])} nats"


def _trend(rows: pd.DataFrame, along: str) -> str:
    """How the mean gap goes from the first to the last value of a column, of the methods that have both; else ''."""
    first, last = rows[along].min(), rows[along].max()
    both = rows.groupby(SERIES)[along].transform("nunique") > 1
    ends = [rows[(rows[along] == end) & both] for end in (first, last)]
    series = [set(end[SERIES].itertuples(index=False, name=None)) for end in ends]
    shared = series[0] & series[1]
    if not shared:
        return ""
    in_both = [end[[key in shared for key in end[SERIES].itertuples(index=False, name=None)]] for end in ends]
    what = "the gap" if len(shared) == 1 else "the mean gap"
    return f"{what} {words.change(*map(words.mean, in_both))} nats"


def token_budget(drawn: pd.DataFrame) -> str:
    """How near both sides come to the parent at the largest budget."""
    if drawn.empty:
        return ""
    rows = drawn[drawn["budget"] == drawn["budget"].max()]
    pruned, scratch = _from_parent(rows)
    average = "on average " if len(rows) > 1 else ""
    return (
        f"After {token_label(rows['budget'].iloc[0])} tokens, pruned models are {average}{_beside(pruned)} the parent, "
        f"scratch is {_beside(scratch)} it"
    )


def _from_parent(rows: pd.DataFrame) -> tuple[float, float]:
    """Mean distances of pruned models, and of scratch, from their parents."""
    pruned, scratch = (float((rows[loss] - rows["loss_parent"]).mean()) for loss in ("loss_retrained", "loss_scratch"))
    return pruned, scratch


def _beside(distance: float) -> str:
    """'0.17 nats above'."""
    if words.number(distance) == "0":
        return "level with"
    return f"{words.number(abs(distance))} nats {'above' if distance > 0 else 'below'}"


def full_budget(drawn: pd.DataFrame) -> str:
    """How near scratch on the whole pipeline's tokens comes to the parent, and how near pruned models come."""
    if drawn.empty:
        return ""
    pruned, scratch = _from_parent(drawn)
    average = "on average " if len(drawn) > 1 else ""
    models = "pruned models are" if len(drawn) > 1 else "the pruned model is"
    return (
        f"{words.capital(SETTINGS['full'])}, scratch is {average}{_beside(scratch)} the parent; "
        f"{models} {_beside(pruned)} it"
    )


def ratio(drawn: pd.DataFrame) -> str:
    """How the mean gap goes from the least to the largest ratio."""
    if drawn.empty:
        return ""
    least, most = drawn["ratio"].min(), drawn["ratio"].max()
    if trend := _trend(drawn, "ratio"):
        return words.capital(f"{trend} as the ratio goes from {least:g} to {most:g}")
    at = f"ratio {least:g}" if least == most else f"ratios {least:g} to {most:g}"
    return f"At {at}, the {_gaps(drawn)}"


def transfer(drawn: pd.DataFrame) -> str:
    """What pruned starts are worth at the largest budget at which it is stated of any."""
    rows = drawn[(drawn["source"] == "study") & drawn["value"].notna()]
    if rows.empty:
        return "What a pruned start is worth cannot be stated from these budgets" if len(drawn) else ""
    rows = rows[rows["budget"] == rows["budget"].max()]
    known = rows["tokens_parent"].notna().all()
    worth = f"{words.span(rows['value'])} times the parent's tokens" if known else _tokens(rows["value"])
    count = ((drawn["source"] == "study") & (drawn["budget"] == rows["budget"].iloc[0])).sum()
    where = f" (stated for {len(rows)} of {count} methods)" if len(rows) < count else ""
    return f"With {token_label(rows['budget'].iloc[0])} tokens of retraining, a pruned start is worth {worth}{where}"


def _tokens(values: "pd.Series[float]") -> str:
    ends = dict.fromkeys(
        ("-" if end < 0 else "") + token_label(round(abs(end))) for end in (values.min(), values.max())
    )
    return f"{' to '.join(ends)} tokens from scratch"


def crossover(drawn: pd.DataFrame) -> str:
    """For how many of the fitted methods scratch overtakes, and at which budgets."""
    methods = drawn.drop_duplicates([*SERIES, "ratio"])
    fitted = methods[methods["status"] != "not determined"]
    if fitted.empty:
        return "These budgets do not say when scratch overtakes" if len(methods) else ""
    of = f"of {words.plural(len(fitted), 'fitted method')}"
    overtaken = fitted[fitted["status"] != "not within reach"]
    if overtaken.empty:
        return f"Scratch overtakes none {of} within reach of these budgets"
    at = overtaken["crossover_tokens"].dropna()
    ends = dict.fromkeys(token_label(round(end)) for end in (at.min(), at.max())) if len(at) else {}
    return f"Scratch overtakes {len(overtaken)} {of}{', at ' + ' to '.join(ends) + ' tokens' if ends else ''}"


def tasks(drawn: pd.DataFrame) -> str:
    """Who leads in the mean of the zero-shot tasks, or over all tasks if there is none."""
    means = drawn[drawn["dataset"] == TASK_MEAN]
    what, rows = ("Zero-shot mean", means) if len(means) else ("Single tasks", drawn)
    present = [setting for setting in SETTINGS if setting in set(rows["setting"])]
    parts = [
        f"{SETTINGS[setting]}, {words.tally(words.intervals(rows[rows['setting'] == setting], 'difference'))}"
        for setting in present
    ]
    return f"{what}: {'; '.join(parts)}" if parts else ""


def training_curves(drawn: pd.DataFrame) -> str:
    """Where pruned models begin and end, and where scratch on the same tokens ends."""
    ends = {role: _ends(drawn[drawn["role"] == role]) for role in ("retrained", "scratch")}
    if not all(ends.values()):
        return ""
    (start, pruned), (_, scratch) = ends["retrained"], ends["scratch"]
    return (
        f"Pruned models begin at {words.number(start)} and end at {words.number(pruned)} nats; "
        f"scratch on the same tokens ends at {words.number(scratch)}"
    )


def _ends(rows: pd.DataFrame) -> tuple[float, ...]:
    """Mean over runs of the first and the last loss, of validation where there is one; () without rows."""
    if rows.empty:
        return ()
    by_run = rows.sort_values(["tokens", "kind"]).groupby(["panel", "runs"])["loss"]
    return float(by_run.first().mean()), float(by_run.last().mean())


def importance(drawn: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Which blocks all depth methods remove at the least ratio, in every seed; or which block scores highest."""
    removed = drawn[(drawn["removed"] > 0) & (drawn["removed"] == drawn["seeds"])]
    if removed.empty:
        return _highest(drawn)
    ratio = removed["ratio"].min()
    rows = removed[removed["ratio"] == ratio]
    blocks = {str(method): set(of["block"]) for method, of in rows.groupby("method", sort=False)}
    common = set.intersection(*blocks.values())
    who = words.named([labels[method] for method in blocks], f"{len(blocks)} methods")
    if not common:
        return f"At ratio {ratio:g}, no block is removed by {who} alike"
    verb = {1: "removes", 2: "both remove"}.get(len(blocks), "all remove")
    return f"At ratio {ratio:g}, {who} {verb} block{'' if len(common) == 1 else 's'} {words.runs_of(common)}"


def _highest(drawn: pd.DataFrame) -> str:
    scored = drawn.dropna(subset="value")
    if scored.empty:
        return ""
    highest = scored.loc[scored.groupby(["method", "measure"])["value"].idxmax(), "block"]
    block = highest.mode().iloc[0]
    return f"Block {block} scores highest in {(highest == block).sum()} of {words.plural(len(highest), 'ranking')}"


def shape_search(drawn: pd.DataFrame) -> str:
    """Which hidden size won at each ratio, and by how much candidates differ."""
    if drawn.empty:
        return ""
    best = drawn.loc[drawn.groupby("ratio")["validation_loss"].idxmin()]
    sizes = [f"{size} at ratio {at:g}" for size, at in zip(best["hidden_size"], best["ratio"], strict=True)]
    spread = drawn.groupby("ratio")["validation_loss"].agg(lambda losses: losses.max() - losses.min())
    differ = words.number(spread.max())
    return f"The best hidden size is {words.listed(sizes)}; shapes differ by up to {differ} nats"


def pareto(drawn: pd.DataFrame, fronts: Mapping[str, str]) -> str:
    """How many models on each front are pruned; ``fronts`` gives the word for each column."""
    parts = []
    for column, cost in fronts.items():
        on_front = drawn[drawn[column].astype(bool)]
        if len(on_front):
            parts.append(f"{(on_front['role'] == 'retrained').sum()} of {len(on_front)} by {cost}")
    return f"Pruned models on the front: {', '.join(parts)}" if parts else ""


def reported(drawn: pd.DataFrame) -> str:
    """How the gap goes with the budget in the paper and here, in the first panel that has both."""
    gaps = drawn[drawn["setting"] == "gap"].dropna(subset="value")
    if gaps.empty:
        return ""
    sources = gaps.groupby("panel", sort=False)["source"].nunique()
    panel = sources.index[sources == sources.max()][0]
    parts = []
    for source, where in {"paper": "in the paper", "study": "in this study"}.items():
        rows = gaps[(gaps["source"] == source) & (gaps["panel"] == panel)].sort_values("budget")
        if len(rows):
            parts.append(f"{where} the {panel} gap {_way(list(rows['value']))} nats")
    return words.capital("; ".join(parts))


SHARED = ["granularity", "pattern", "method", "ratio", "share", "corpus"]
"""What the points of two studies have in common that are compared."""


def scales(points: pd.DataFrame, sizes: Mapping[str, int]) -> str:
    """How gap and worth change from the smallest parent to the largest that has points in common with it.

    ``sizes`` gives the parameters of each study's parent; points are in common at the same share of its tokens, to two
    digits. Gaps are compared on one corpus alone.
    """
    found = points[points["study"].isin(sizes) & points["value"].notna()]
    found = found.assign(
        share=[float(f"{share:.2g}") for share in found["share_retrained"]],
        corpus=found["dataset"].where(found["measure"] == "gap", "any"),
    )
    for smallest, largest in _apart(found, sizes):
        pair = [found[found["study"] == study] for study in (smallest, largest)]
        told = [
            f"the mean {what} {words.change(*ends)}{unit}"
            for measure, (what, unit) in SCALE_MEASURES.items()
            if (ends := _of_both(*(rows[rows["measure"] == measure] for rows in pair)))
        ]
        if told:
            sizes_told = " to ".join(token_label(sizes[study]) for study in (smallest, largest))
            return f"From {sizes_told} parameters, {' and '.join(told)}"
    return f"{words.capital(words.plural(len(sizes), 'study'))}: too little in common to say what size does"


SCALE_MEASURES = {"gap": ("gap", " nats"), "share": ("worth of a pruned start", " times the parent's tokens")}


def _apart(found: pd.DataFrame, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of studies of different sizes, those that are farthest apart first."""
    studies = [study for study in sizes if study in set(found["study"])]
    pairs = [(small, large) for small in studies for large in studies if sizes[small] < sizes[large]]
    return sorted(pairs, key=lambda pair: sizes[pair[0]] / sizes[pair[1]])


def _of_both(one: pd.DataFrame, other: pd.DataFrame) -> list[words.Interval]:
    """The mean of each study over the points that both have; an open end has no bound. Without any, []."""
    both = one.merge(other, on=SHARED, suffixes=("_one", "_other"))
    if both.empty:
        return []
    bounds = {"value": nan, "low": -inf, "high": inf}
    return [
        words.Interval(*(float(both[f"{end}_{side}"].fillna(bound).mean()) for end, bound in bounds.items()))
        for side in ("one", "other")
    ]


def plan(drawn: pd.DataFrame, unit: str, name: str, device: str) -> str:
    """Which stage takes most of a study's hours, and how long its longest chain of jobs lasts.

    ``unit`` is the column of hours, ``name`` what they are called.
    """
    total = drawn[unit].sum()
    most = drawn.sort_values(unit).iloc[-1]
    chain = f"the longest chain of jobs lasts {hours(drawn['chain_hours'].sum())} hours"
    share = f"{most[unit] / total:.0%} of " if total else ""
    return f"Stage {most['stage']} takes {share}{hours(total)} {name} on {device}; {chain}"


def _way(values: Sequence[float]) -> str:
    """From the first to the last of some values without intervals."""
    if len(values) == 1:
        return f"is {words.number(values[0])}"
    return words.change(*(words.Interval(float(values[end]), nan, nan) for end in (0, -1)))


def objectives(drawn: pd.DataFrame) -> str:
    """What distillation of both sides does to the mean gap, and in how many comparisons a side still leads."""
    if drawn.empty:
        return ""
    usual, distilled = drawn[drawn["match"] == "usual"], drawn[drawn["match"] != "usual"]
    first = distilled[distilled["match"] == distilled["match"].iloc[0]]
    what = "gap" if len(first) == 1 else "mean gap"
    return (
        f"With both sides distilled, {words.tally(words.intervals(distilled))}; the {what} "
        f"{words.change(words.mean(usual), words.mean(first))} nats"
    )


def schedules(drawn: pd.DataFrame) -> str:
    """In how many comparisons several steps, and one schedule for all, have the lower loss."""
    parts = []
    for arm, what in (("gradual", "pruning in several steps"), ("joint", "one schedule for all")):
        rows = drawn[drawn["arm"] == arm]
        if len(rows):
            parts.append(f"{what} is {_better(words.intervals(rows))}")
    return words.capital("; ".join(parts))


def _better(found: Sequence[words.Interval]) -> str:
    signs, of = [interval.sign for interval in found], words.plural(len(found), "comparison")
    if len(set(signs)) > 1:
        return f"better in {signs.count(1) or 'none'} of {of}, worse in {signs.count(-1) or 'none'}"
    same = {1: "better", -1: "worse", 0: "neither better nor worse"}[signs[0]]
    return same if len(signs) == 1 else f"{same} in {'any of' if signs[0] == 0 else 'all'} {of}"


def moments(drawn: pd.DataFrame) -> str:
    """How the mean loss goes from the earliest to the latest moment of pruning."""
    pruned = drawn[drawn["share"] > 0]
    if pruned.empty:
        return ""
    first, last = pruned["share"].min(), pruned["share"].max()
    ends = [words.mean(pruned[pruned["share"] == share], "loss").value for share in (first, last)]
    difference = words.number(abs(ends[1] - ends[0]))
    if difference == "0":
        return f"Models pruned at {first:.0%} and at {last:.0%} of the parent's tokens end alike on average"
    lower = "lower" if ends[1] < ends[0] else "higher"
    return (
        f"Models pruned at {last:.0%} of the parent's tokens end {difference} nats {lower} on average than those at "
        f"{first:.0%}"
    )


def lottery(drawn: pd.DataFrame) -> str:
    """What trained weights, and the parent's initial ones, are worth on average beyond other random weights."""
    if drawn.empty:
        return ""
    losses = drawn.pivot_table(index="row", columns="start", values="loss")
    known = losses.dropna()
    trained, initial = (float((known["scratch"] - known[start]).mean()) for start in ("pruned", "rewound"))
    return (
        f"Beyond random weights in the same structure, trained weights are worth {words.number(trained)} nats, the "
        f"parent's initial weights {words.number(initial)}"
    )
