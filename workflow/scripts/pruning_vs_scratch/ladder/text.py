"""Which text a rung reads: the plays of the demo in several passes, or as much of the paper's corpus as it needs."""

import math

from pruning_vs_scratch.ladder.proportions import Values
from pruning_vs_scratch.ladder.rungs import LEAST_VOCABULARY, Parent

PLAYS_TOKENS = 1_893_418
"""Tokens of the demo's training text with a tokenizer of the smallest vocabulary (measured)."""
MOST_PASSES = 16
"""Each further pass over a text gains less, and beyond about 16 hardly anything (Muennighoff et al., 2305.16264, who
find four passes nearly as good as new text)."""


def passes_over_plays(parent: Parent, tokens: int) -> int | None:
    """The fewest passes with which the plays suffice for this many tokens, of which the parent reads the first.

    In windows, of which the plays have W: the parent reads P/K of them K times, and later runs read the rest up to K
    times. So ceil(P/K) <= W, and later runs read at most K (W - ceil(P/K)). None if there would be too many passes, or
    if the rung's vocabulary is larger.
    """
    if parent.shape.vocab_size != LEAST_VOCABULARY:
        return None
    length = parent.sequence_length
    windows, first = PLAYS_TOKENS // (length + 1), parent.tokens // length
    behind = tokens // length - first
    passes = range(1, MOST_PASSES + 1)
    return next((k for k in passes if behind <= k * (windows - math.ceil(first / k))), None)


def papers_corpus(values: Values, parent: Parent, tokens: int) -> Values:
    """The paper's corpus section for this many tokens: evaluation needs a larger share of a smaller first part."""
    source = values["sources"][values["train"][0]["source"]]
    files = max(1, round(source["files_per_part"] * tokens / parent.proportions.tokens_read))
    length = parent.sequence_length / parent.proportions.paper.training.sequence_length
    for rule in values["splits"].values():
        rule["fraction"] = float(f"{rule['fraction'] * length * source['files_per_part'] / files:.1g}")
    source["files_per_part"] = source["held_out_files"] = files
    return values
