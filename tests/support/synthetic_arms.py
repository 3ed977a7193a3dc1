"""Arms of stored tables, with known true leads, for the tests of claims and figures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_vs_scratch.study import ArmPair
from pruning_vs_scratch.tables.load import Tables, records
from synthetic_tables import PARENT_PARAMS, PARENT_TOKENS

SHARES = (0.25, 0.5, 0.75)
ARMS = ("distilled", "gradual", "joint", "early")
DISTILLED_SCRATCH = 0.1
"""How much higher the loss of a distilled random start is than that of the pruned model without distillation."""

Lead = Callable[[str, str, float], float]
"""How much lower the true loss of a run is than its baseline's, by arm, match and share."""


def all_hold(arm: str, match: str, share: float) -> float:
    """Leads for which D1 to D4 hold."""
    return {"distilled": 0.4 if match == "tokens" else 0.3, "early": 0.2 * (share - 1)}.get(arm, 0.1)


def write_arms(
    folder: Path, lead: Lead = all_hold, *, noise: float = 0.002, arms: Sequence[str] = ARMS, rng_seed: int = 2
) -> Tables:
    """Add the arms of every comparison at equal tokens and the largest budget, and the losses of their runs."""
    tables, rng = Tables(folder), np.random.default_rng(rng_seed)
    equal = tables.pairs[tables.pairs["setting"] == "equal"]
    equal = equal[equal["budget"] == equal["budget"].max()]
    pairs = [pair for row in records(equal) for pair in _pairs(row) if pair.arm in arms]
    by_run = {str(run): rows for run, rows in tables.losses.groupby("run")}
    for pair in pairs:
        usual = by_run[pair.usual]
        if pair.arm == "distilled":
            by_run[pair.baseline] = usual.assign(run=pair.baseline, loss=usual["loss"] + DISTILLED_SCRATCH)
        drawn = rng.normal(0, noise, len(usual))
        loss = by_run[pair.baseline]["loss"] - lead(pair.arm, pair.match, pair.share) + drawn
        by_run[pair.run] = usual.assign(run=pair.run, loss=loss)
    pd.concat(by_run.values()).to_parquet(folder / "losses.parquet")
    pd.DataFrame([asdict(pair) | _costs(pair) for pair in pairs]).to_csv(folder / "arm_pairs.csv", index=False)
    return Tables(folder)


def _pairs(row: dict[str, Any]) -> Iterator[ArmPair]:
    target = {key: row[key] for key in ("method", "granularity", "pattern", "ratio", "budget", "seed")}
    usual, scratch = row["retrained"], row["scratch"]
    for match in ("tokens", "flops"):
        run, baseline = (f"{name}-kd-{match}" for name in (usual, scratch))
        yield ArmPair("distilled", match, run, baseline, usual, **target)
    yield ArmPair("gradual", "tokens", f"{usual}-gradual", usual, usual, **target, steps="0.25+0.5")
    yield ArmPair("joint", "tokens", f"{usual}-joint", usual, usual, **target)
    for share in SHARES:
        yield ArmPair("early", "tokens", f"{usual}-at-{share:g}", usual, usual, **target, share=share)


def _costs(pair: ArmPair) -> dict[str, float]:
    kept = 1 - pair.ratio
    tokens = pair.budget if pair.match == "tokens" else pair.budget // 2
    spent = tokens if pair.arm == "distilled" else PARENT_TOKENS + pair.budget
    parents = [kept if pair.arm == "distilled" else (share + kept * (1 - share)) for share in (pair.share, 1.0)]
    return {
        "tokens_run": spent, "tokens_baseline": spent, "tokens_usual": pair.budget, "tokens_prune_run": 0,
        "tokens_prune_baseline": 0, "flops_run": 6 * spent, "flops_baseline": 6 * spent, "flops_usual": 6 * pair.budget,
        "params_mean_run": PARENT_PARAMS * parents[0], "params_mean_baseline": PARENT_PARAMS * parents[1],
    }  # fmt: skip
