"""A plan as Markdown, for the terminal and for people."""

from collections.abc import Iterator

import pandas as pd

from pruning_vs_scratch.planning.plan import Plan
from pruning_vs_scratch.planning.throughput import PROCESSOR
from pruning_vs_scratch.study.names import token_label
from pruning_vs_scratch.tables.load import records

LEAST_HOURS = 0.01
"""Half a minute; shorter times are not shown."""
BYTE_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def markdown(plan: Plan) -> str:
    """The whole plan: totals first, then a section for each table."""
    sections = [
        ("Stages", _stages(plan)),
        ("Budgets", _budgets(plan)),
        ("Processes", _processes(plan)),
        ("Longest chain", _chain(plan)),
        ("What is shared", _shared(plan)),
        ("Storage", _storage(plan)),
        ("Jobs", _jobs(plan)),
        ("Throughput", _rates(plan)),
    ]
    body = "".join(f"\n## {title}\n\n{_table(table)}\n" for title, table in sections if not table.empty)
    head = f"# Plan of study {plan.study.name} on {plan.device}, {plan.precision}\n\n"
    return head + "".join(f"- {line}\n" for line in _totals(plan)) + body


def _totals(plan: Plan) -> Iterator[str]:
    stages = plan.stages
    runs = len(plan.study.runs)
    yield f"{stages['jobs'].sum():,} jobs, {runs} models, {plan.study.comparisons}"
    alone = 1 + plan.shared["flops_saved"].sum() / stages["flops"].sum()
    yield f"{stages['flops'].sum():.4g} FLOP; with nothing shared it would be {alone:.3g} times as many"
    kinds = ", ".join(dict.fromkeys(plan.rates["kind"]))
    if plan.device != PROCESSOR:
        one_by_one = sum(load.seconds for load in plan.loads.values() if load.gpus) / 3600
        yield f"{hours(stages['gpu_hours'].sum())} GPU-hours on {plan.device}: {hours(one_by_one)} hours job by job"
    yield f"jobs without a GPU: {span(stages['core_hours'].sum())} of one core"
    if plan.hours is not None:
        unit = "core" if plan.device == PROCESSOR else "device"
        there_are = f"{plan.devices} {unit}{'s' if plan.devices != 1 else ''}"
        yield f"from the first job to the last on {there_are}: {span(plan.hours)}"
    yield f"rates: {kinds} (section Throughput names the source of each)"
    longest = plan.chain.groupby("stage", sort=False)["hours"].sum()
    parts = ", ".join(f"{stage} {span(spent)}" for stage, spent in longest.items() if spent > longest.sum() / 1000)
    yield f"longest chain: {span(longest.sum())} ({parts}), however many devices there are"
    yield f"storage: {size(plan.storage['bytes'].sum())}"


def hours(value: float) -> str:
    """'279,000', '12.3', '0.02', '<0.01', '0'."""
    if 0 < value < LEAST_HOURS:
        return f"<{LEAST_HOURS:g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def span(value: float) -> str:
    """Hours in a suitable unit: '1,182 h', '2.83 h', '34 min', '12 s', '<1 s', '0'."""
    if value >= 1:
        return f"{hours(value)} h"
    if value >= 1 / 60:
        return f"{value * 60:.2g} min"
    return f"{value * 3600:.0f} s" if value >= 1 / 3600 else "<1 s" * (value > 0) or "0"


def _spent(value: float) -> str:
    """Device hours of a cell; empty below the shown minimum."""
    return hours(value) if value >= LEAST_HOURS else ""


def size(count: float) -> str:
    """Bytes with three digits and a unit: '5.88 TB'."""
    for unit, name in BYTE_UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def _tokens(value: int) -> str:
    return token_label(int(value)) if value else ""


def _flops(value: int) -> str:
    return f"{value:.4g}" if value else ""


def _share(value: float) -> str:
    """'180%', '<0.1%', or nothing."""
    return f"{value:.1%}" if value >= 0.001 else "<0.1%" * (value > 0)


def _stages(plan: Plan) -> pd.DataFrame:
    stages = plan.stages
    table = pd.DataFrame(
        {
            "stage": stages["stage"],
            "jobs": stages["jobs"],
            "tokens": stages["tokens"].map(_tokens),
            "FLOP": stages["flops"].map(_flops),
            "GPU-hours": stages["gpu_hours"].map(_spent),
            "core-hours": stages["core_hours"].map(_spent),
            "longest job": stages["longest_hours"].map(span),
        }
    )
    return table.drop(columns="GPU-hours") if plan.device == PROCESSOR else table


def _budgets(plan: Plan) -> pd.DataFrame:
    budgets = plan.budgets
    return pd.DataFrame(
        {
            "tokens": budgets["tokens"].map("{:,}".format),
            "steps": budgets["steps"].map("{:,}".format),
            "in names": budgets["tokens"].map(_tokens),
            "as the paper counts (2^20 are 1M)": budgets["tokens_by_the_paper"].map(_tokens),
            "runs": budgets["runs"],
            "phases": budgets["phases"],
        }
    )


def _processes(plan: Plan) -> pd.DataFrame:
    """Rows of runs of one size with the same number of processes; none if all runs of a study have the same."""
    runs = plan.runs
    if runs.empty or runs["processes"].nunique() == 1:
        return pd.DataFrame()
    # Shapes of nearly the same size, from different methods, are one row.
    grouped = runs.assign(parameters=runs["parameters"].map(_tokens)).groupby(["parameters", "processes"], sort=False)
    found = grouped.agg(
        nodes=("nodes", "first"), runs=("run", "size"), longest=("hours", "max"), device_hours=("device_hours", "sum"),
        size=("run", "first"),
    ).reset_index()  # fmt: skip
    sizes = runs.set_index("run")["parameters"]
    found = found.sort_values(["processes", "size"], key=lambda c: c.map(sizes) if c.name == "size" else c)[::-1]
    return pd.DataFrame(
        {
            "parameters": found["parameters"],
            "processes": found["processes"],
            "nodes": found["nodes"],
            "runs": found["runs"],
            "longest run": found["longest"].map(span),
            "device-hours": found["device_hours"].map(_spent),
        }
    )


def _chain(plan: Plan) -> pd.DataFrame:
    chain = plan.chain
    return pd.DataFrame(
        {
            "begins": chain["begins_hours"].map(span),
            "takes": chain["hours"].map(span),
            "job": chain["job"],
        }
    )


def _shared(plan: Plan) -> pd.DataFrame:
    shared = plan.shared
    return pd.DataFrame(
        {
            "what": shared["what"],
            "unshared": shared["uses"],
            "made": shared["made"],
            "FLOP saved": shared["flops_saved"].map(_flops),
            "of the study's": [_share(row["flops_saved"] / plan.stages["flops"].sum()) for row in records(shared)],
        }
    )


def _storage(plan: Plan) -> pd.DataFrame:
    stored = plan.storage
    return pd.DataFrame(
        {"kind": stored["kind"], "files": stored["files"], "size": stored["bytes"].map(size), "note": stored["note"]}
    )


def _jobs(plan: Plan) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rule": plan.jobs["rule"],
            "jobs": plan.jobs["jobs"],
            "longest": plan.jobs["longest_hours"].map(span),
        }
    )


def _rates(plan: Plan) -> pd.DataFrame:
    rates = plan.rates
    return pd.DataFrame(
        {
            "device": rates["device"],
            "work": rates["work"],
            "parameters": [_span(row["params_from"], row["params_below"]) for row in records(rates)],
            "rate": [f"{row['rate']:,g} {row['unit']}" for row in records(rates)],
            "kind": rates["kind"],
            "source": rates["source"],
        }
    )


def _span(first: int, below: float) -> str:
    if not first and pd.isna(below):
        return ""
    return f"{token_label(first)} to {'any' if pd.isna(below) else token_label(int(below))}"


def _table(table: pd.DataFrame) -> str:
    text: str = table.astype(str).to_markdown(index=False, disable_numparse=True)
    return text
