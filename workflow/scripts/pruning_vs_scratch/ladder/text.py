"""Which text a rung reads: the plays of the demo in several passes, or as much of the paper's corpus as it needs."""

import math

from pruning_vs_scratch.ladder.proportions import Values
from pruning_vs_scratch.ladder.rungs import Parent

PLAYS_TOKENS = 1_893_418
"""Of the demo's training text by its tokenizer (measured); a rung that reads the plays has the same tokenizer."""
MOST_PASSES = 16
"""Each further pass over a text is worth less, and beyond about 16 hardly anything (Muennighoff et al., 2305.16264,
who find four passes nearly as good as new text)."""


def passes_over_plays(parent: Parent, tokens: int) -> int | None:
    """The fewest passes in which the plays are enough for so many tokens, of which the parent reads the first.

    In windows, of which the plays have W: the parent reads P/K of them K times, and what comes behind reads the rest
    up to K times. So ceil(P/K) <= W, and what is behind is at most K (W - ceil(P/K)).

    None if they would be too many, or if the rung's vocabulary is not the demo's.
    """
    if parent.shape.vocab_size != parent.proportions.demo.tokenizer.vocab_size:
        return None
    length = parent.sequence_length
    windows, first = PLAYS_TOKENS // (length + 1), parent.tokens // length
    behind = tokens // length - first
    passes = range(1, MOST_PASSES + 1)
    return next((k for k in passes if behind <= k * (windows - math.ceil(first / k))), None)


def papers_corpus(values: Values, parent: Parent, tokens: int) -> Values:
    """The paper's corpus section for so many tokens: of a smaller first part, evaluation needs a larger share."""
    source = values["sources"][values["train"][0]["source"]]
    files = max(1, round(source["files_per_part"] * tokens / parent.proportions.tokens_read))
    length = parent.sequence_length / parent.proportions.paper.training.sequence_length
    for rule in values["splits"].values():
        rule["fraction"] = float(f"{rule['fraction'] * length * source['files_per_part'] / files:.1g}")
    source["files_per_part"] = source["held_out_files"] = files
    return values
