"""What the columns of printed tables are called where there is room for plain words."""

PAIR = {"method": "pruning method", "ratio": "pruning ratio"}
FULL_NAMES: dict[str, dict[str, str]] = {
    "main": PAIR
    | {
        "tokens": "tokens read by retraining",
        "pruned": "loss of the pruned and retrained model",
        "scratch": "loss from scratch, equal tokens",
        "gap": "gap at equal tokens, with interval",
        "scratch, full budget": "loss from scratch, full budget",
        "gap, full budget": "gap at the full budget, with interval",
        "accuracy": "mean accuracy of the pruned and retrained model",
        "of scratch": "mean accuracy from scratch, equal tokens",
        "of scratch, full budget": "mean accuracy from scratch, full budget",
    },
    "transfer": PAIR
    | {
        "source": "whose numbers",
        "retrained on": "tokens read by retraining",
        "from scratch": "tokens from scratch to the same loss, with interval",
        "share of the parent's": "tokens transferred, as a share of the parent's, with interval",
        "where": "place of the loss among those from scratch",
        "grade": "grade of the numbers",
    },
    "tasks": PAIR | {"model": "model", "tokens": "training tokens", "seed": "seed", "mean": "mean accuracy (%)"},
    "reported": {
        "model": "model",
        "paper, tokens": "training tokens in the paper",
        "paper, WikiText-2": "perplexity on WikiText-2 in the paper",
        "paper, grade": "grade of the paper's number",
        "study, tokens": "training tokens in this study",
    },
    "reported_numbers": PAIR
    | {
        "quantity": "quantity",
        "model": "model",
        "tokens": "training tokens",
        "value": "value",
        "grade": "grade of the number",
        "source": "place in the paper",
    },
    "overview": {"fact": "fact", "value": "value"},
    "accounting": PAIR
    | {
        "setting": "comparison",
        "seed": "seed",
        "parent": "tokens read by the parent",
        "pruning": "tokens read by pruning",
        "retraining": "tokens read by retraining",
        "pipeline": "tokens read by the whole pipeline",
        "scratch": "tokens read from scratch",
        "beyond the pipeline": "tokens from scratch beyond the pipeline's",
        "steps": "training steps from scratch",
        "FLOP of retraining": "FLOPs of retraining",
        "FLOP of scratch": "FLOPs from scratch",
        "learning rate of retraining": "peak learning rate of retraining",
        "learning rate of scratch": "peak learning rate from scratch",
    },
    "arms": {
        "arm": "arm",
        "method": "pruning method",
        "ratio": "pruning ratio",
        "compared with": "compared with",
        "tokens": "training tokens",
        "tokens compared with": "training tokens of what it is compared with",
        "FLOP": "FLOPs",
        "FLOP compared with": "FLOPs of what it is compared with",
        "loss": "loss",
        "loss compared with": "loss of what it is compared with",
        "difference": "difference of the losses, with interval",
    },
    "hyperparameters": {"hyperparameter": "hyperparameter", "value": "value", "searched": "values searched"},
    "provenance": {
        "phase": "phase",
        "jobs": "number of jobs",
        "all jobs": "time of all jobs together",
        "longest job": "time of the longest job",
        "memory": "most memory of one process",
        "hardware": "hardware",
        "code": "beginning of the code's hash",
    },
    "versions": {"package": "package", "version": "version", "phases": "phases that ran with it"},
}
"""By table and heading."""
OTHERS = {"tasks": "accuracy on {} (%)", "reported": "perplexity on {} in this study, with interval"}
"""By table, what the remaining columns are called, each of which is about one task or corpus."""
WORDS = {
    "setting": {"equal": "equal tokens", "full": "full budget"},
    "source": {"study": "this study", "paper": "the paper"},
    "grade": {"read_off": "read off a plot"},
    "paper, grade": {"read_off": "read off a plot"},
}
"""By heading, cells that are said in other words."""
OPERATIONS = ("FLOP of retraining", "FLOP of scratch", "FLOP", "FLOP compared with")
"""Headings above numbers of operations."""


def full_name(table: str, heading: str) -> str:
    """What a column of a printed table is called in full."""
    if (name := FULL_NAMES[table].get(heading)) is not None:
        return name
    return OTHERS[table].format(heading.removeprefix("study, "))
