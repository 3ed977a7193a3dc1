"""Facts of random masks."""

from pruning_vs_scratch.pruning.facts import MethodFacts, NoOptions, always, largest_layer, no_text, nothing_stored

FACTS = MethodFacts(
    label="Random",
    granularity="sparse",
    reads="nothing",
    options=NoOptions,
    shrinks=always(),
    scored_once=lambda _options: False,
    needs_goals=False,
    score_numbers=nothing_stored,
    calibration_flops=no_text,
    workspace=largest_layer,
    importance=(),
)
