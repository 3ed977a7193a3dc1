"""The table of hyperparameters: what every run used, and what was searched."""

from typing import Any

import pandas as pd

from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.config.training import OptimizerConfig
from pruning_vs_scratch.study.plan import TRIAL_PHASES
from pruning_vs_scratch.tables.published.stored import Published, Stored, rates_apart

FIXED = "not searched"
TRAINING = {
    "sequence length (tokens)": "sequence_length",
    "global batch (sequences)": "global_batch_size",
    "attention": "attention",
    "objective of retraining": "objective",
    "gradients of pruned weights": "mask_gradients",
}
OPTIMIZER = {
    "AdamW beta1": "beta1", "AdamW beta2": "beta2", "AdamW epsilon": "epsilon", "weight decay": "weight_decay",
    "gradient clip": "gradient_clip",
}  # fmt: skip


def make(stored: Stored) -> Published:
    """Name, value and search range of every setting of training and pruning."""
    config, used = stored.config, stored.ledger.dropna(subset=["peak_lr"])
    trained = used[~used["phase"].isin(TRIAL_PHASES)]
    rows = [
        ("peak learning rate", _values(trained["peak_lr"]), _searched(config)),
        *((f"peak learning rate ({rule.label})", rule.peak, FIXED) for rule in config.training.learning_rates),
        ("schedule", _values(trained["schedule"]), FIXED),
        ("precision", _values(trained["precision"]), FIXED),
        *((name, getattr(config.training, key), FIXED) for name, key in TRAINING.items()),
        *((name, _optimizer_value(config.training.optimizer, key), FIXED) for name, key in OPTIMIZER.items()),
        *_shapes(stored.tables.shape_search),
        ("seeds", ", ".join(map(str, config.seeds)), FIXED),
        *((name, value, FIXED) for name, value in _pruning(config)),
    ]
    table = pd.DataFrame(rows, columns=["hyperparameter", "value", "searched"]).astype(str)
    apart = len(rates_apart(stored))
    but = f", but for the peak learning rate of {apart} pairs out of {len(stored.tables.pairs)}" if apart else ""
    return Published(f"Hyperparameters, the same on both sides of every pair{but}", table, table)


def _optimizer_value(optimizer: OptimizerConfig, key: str) -> str:
    value = str(getattr(optimizer, key))
    return f"{value}, norms and biases too" if key == "weight_decay" and optimizer.decay == "all" else value


def _values(column: pd.Series) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(column))


def _searched(config: StudyConfig) -> str:
    if config.sweep is None:
        return FIXED
    return ", ".join(f"{rate:g}" for rate in config.sweep.peak_learning_rates)


def _shapes(search: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The shapes that a search chose, and all the shapes it tried."""
    words = search.apply(lambda row: f"{row['hidden_size']}/{row['ffn_size']}/{row['heads']}", axis=1)
    return [
        (f"hidden size/neurons/heads of {name}", words[rows.index[rows["chosen"]]].item(), ", ".join(words[rows.index]))
        for name, rows in search.groupby("target", sort=False)
    ]


def _pruning(config: StudyConfig) -> list[tuple[str, Any]]:
    """Settings of the study's methods, calibration text first."""
    calibration = config.pruning.calibration
    methods = sorted({method for block in config.matrix for method in block.methods})
    text = f"{calibration.sequences} x {calibration.sequence_length} tokens"
    return [
        ("calibration text", text),
        *(
            (f"{method}: {key}", value)
            for method in methods
            for key, value in config.pruning.options(method).model_dump(exclude_none=True).items()
        ),
    ]
