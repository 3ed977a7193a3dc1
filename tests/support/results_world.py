"""The results folder of a synthetic study, as far as printed tables and the report read it."""

import shutil
from pathlib import Path

import pandas as pd
import yaml

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.evaluation import ClaimsConfig
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.files import write_json
from pruning_vs_scratch.tables.arm_claims import arm_claims
from pruning_vs_scratch.tables.arms import arm_groups, arm_table
from pruning_vs_scratch.tables.claims import state_claims
from pruning_vs_scratch.tables.gaps import gap_groups, gap_table
from pruning_vs_scratch.tables.items import chance_rows, task_mean_rows, task_rows
from pruning_vs_scratch.tables.published.stored import Stored
from pruning_vs_scratch.tables.reported_claims import with_reported
from pruning_vs_scratch.tables.task_gaps import task_gap_table
from pruning_vs_scratch.tables.transfer import transfer_table
from synthetic_arms import write_arms
from synthetic_tables import BUDGETS, SEARCH, write_tables

SETTINGS = ClaimsConfig(resamples=300)


def write_results(results: Path) -> Stored:
    """Write the tables of a study with four methods, one seed, two tasks and arms."""
    write_tables(results / "tables", items=True, search=SEARCH)
    tables = write_arms(results / "tables")
    groups, arms = gap_groups(tables, "test"), arm_groups(tables, "test")
    arm_table(arms, tables.arm_pairs, SETTINGS).to_csv(results / "tables/arms.csv", index=False)
    gap_table(groups, SETTINGS).to_csv(results / "tables/gaps.csv", index=False)
    task_gap_table(groups, tables.items, SETTINGS).to_csv(results / "tables/task_gaps.csv", index=False)
    transfer_table(groups, tables.runs, SETTINGS).to_csv(results / "tables/transfer.csv", index=False)
    runs, items = tables.runs, tables.items
    scores = pd.concat([task_rows(items), task_mean_rows(items)], ignore_index=True)
    guesses = chance_rows(items).assign(run="chance", role="chance", tokens_train=0, seed=0)
    table = pd.concat([runs.merge(scores, on="run"), guesses], ignore_index=True)
    table.astype({"tokens_train": int, "seed": int}).to_csv(results / "results.csv", index=False)
    spent = {
        "phase": "retrain",
        "steps": 5,
        "flops": 7 * 10**9,
        "peak_lr": 0.003,
        "schedule": "cosine",
        "precision": "fp32",
    }
    ledger = runs[["run"]].assign(tokens_seen=runs["tokens_train"], tokens_trunk=0, flops_trunk=0, **spent)
    ledger.to_csv(results / "ledger.csv", index=False)
    sizes = [
        {"metric": "params_total", "value": 2e6},
        {"metric": "prefill_seconds", "value": 0.0125, "hardware": "A CPU"},
    ]
    pd.DataFrame(
        [
            {**row, "low": None, "high": None, "n": None, "hardware": None, **size}
            for row in runs.to_dict("records")
            for size in sizes
        ]
    ).replace({"role": {"retrained": "pruned"}}).to_csv(results / "efficiency.csv", index=False)
    shutil.copy(REPOSITORY / "config/reported.csv", results / "tables/reported.csv")
    stated = state_claims("demo", groups, SETTINGS, further=arm_claims(arms, groups, SETTINGS))
    claims = with_reported(stated, tables.reported)
    write_json(results / "claims.json", claims)
    phases = pd.DataFrame({"phase": ["text", "retrain"], "jobs": [2, 3], "seconds": [7.5, 3700.0]})
    phases = phases.assign(longest_seconds=5.0, peak_memory_bytes=3 * 10**9, source_hash=["0a" * 32, "1b" * 32])
    phases = phases.assign(machine="x86_64", processor="A CPU", cores=2, cpu_capability=[None, "AVX2"])
    phases = phases.assign(gpus=[None, "2 x A GPU"], python="3.11.7", torch=["2.12.0", "2.13.0"])
    phases.to_csv(results / "provenance.csv", index=False)
    config = load_config([REPOSITORY / "config/config.yaml"]).model_dump(mode="json")
    config["matrix"] = [{"methods": ["wanda", "sparsegpt"], "ratios": [0.5], "retrain": list(BUDGETS)}]
    config["matrix"][0] |= {
        "joint": [BUDGETS[-1]],
        "distilled": {"tokens": [BUDGETS[-1]], "flops": [BUDGETS[-1]]},
        "gradual": [{"ratios": [0.25, 0.5], "retrain": [BUDGETS[-1]]}],
        "early": [{"shares": [0.5], "retrain": [BUDGETS[-1]]}],
    }
    config["training"] |= {"global_batch_size": 8, "micro_batch_size": 8}
    config["sweep"] = {"peak_learning_rates": [0.001, 0.003], "on": ["wanda@0.5"], "tokens": 4096}
    (results / "config.yaml").write_text(yaml.safe_dump(config))
    return Stored(results)
