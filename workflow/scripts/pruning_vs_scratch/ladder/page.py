"""The ladder and a rung's overlay as people read them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import yaml

from pruning_vs_scratch.ladder.price import Ladder, Price
from pruning_vs_scratch.ladder.shapes import STEPS, achieved
from pruning_vs_scratch.planning.text import hours
from pruning_vs_scratch.study.names import token_label

WIDTH = 120
"""Of a line of YAML."""


def table(prices: Sequence[Price], within: float | None) -> str:
    """A row a rung; with a number of hours, which of them fit."""
    machine = prices[0].machine
    rows = [
        {
            "rung": price.parent.rung.name,
            "matrix": price.matrix,
            "blocks x hidden": f"{price.parent.shape.layers} x {price.parent.shape.hidden_size}",
            "vocabulary": f"{price.parent.shape.vocab_size:,}",
            "length": f"{price.parent.sequence_length:,}",
            "tokens a step": f"{price.parent.batch_tokens:,}",
            "peak rate": f"{price.parent.peak_learning_rate:g}",
            "parent's tokens": token_label(price.parent.tokens),
            "models": f"{price.models}",
            "FLOP": f"{price.flops:.3g}",
            f"{machine.device}-hours": hours(price.device_hours),
            f"hours on {machine.count}": hours(price.hours),
            "longest chain": hours(price.chain_hours),
            "state, GB": f"{price.state_gigabytes:.2g}",
            "rates": price.rates,
        }
        | ({f"within {within:g} h": "yes" if price.hours <= within else ""} if within is not None else {})
        for price in prices
    ]
    text: str = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    return text


def ladder(known: Ladder, within: float | None) -> str:
    """The table, and why some rungs are not in it."""
    missing = "".join(f"\nNo price for {label}: {reason}" for label, reason in known.unpriced.items())
    return f"{table(known.prices, within)}\n{missing}"


def targets(price: Price) -> Iterator[str]:
    """A line for each target: the share of the decoder's parameters that it keeps, and the paper's."""
    proportions, shape = price.parent.proportions, price.parent.shape
    reached = set()
    for each in achieved(proportions, shape):
        reached.add((each.label, each.ratio))
        yield f"{each.label} {each.ratio:g}: {each.kept:.3f} ({each.paper:.3f})"
    for target in proportions.paper.targets.depth:
        if ("depth", target.ratio) not in reached:
            yield f"depth {target.ratio:g}: none, {shape.layers} blocks are too few; depth methods leave that ratio out"


def description(price: Price) -> list[str]:
    """What a rung is, and how it was rounded."""
    parent, machine = price.parent, price.machine
    tokens, params = parent.tokens, parent.params
    papers = parent.proportions.tokens_per_parameter
    smallest = min(budget for block in price.study.config.matrix for budget in block.retrain)
    corpus = price.study.config.corpus
    plays = f"the plays of the demo, in {corpus.passes} passes"
    text = "as much of the paper's corpus as it needs" if corpus.numbered_source else plays
    return [
        f"The paper's study at {params:,} parameters, {price.matrix} matrix: {price.models} models.",
        f"Its parent reads {tokens:,} tokens, {tokens / params:.1f} a parameter (the paper's: {papers:.1f}).",
        f"Budgets are the paper's shares of that; the smallest has {smallest // parent.batch_tokens:,} steps.",
        f"Text: {text}.",
        f"By the plan {hours(price.hours)} hours on {machine.count} x {machine.device}, {price.flops:.3g} FLOP; rates: "
        f"{price.rates}.",
        "Sizes come in multiples of "
        + ", ".join(f"{step} from {least} on" if least else f"{step} below" for least, step in STEPS)
        + ", hidden sizes in those of the heads too;",
        "neurons make up for what that rounds.",
        "Share of the decoder's parameters that each target keeps (the paper's):",
        *(f"  {line}" for line in targets(price)),
    ]


def overlay_text(price: Price, values: dict[str, object], file: Path, command: str) -> str:
    """The file of a rung: comments, then YAML."""
    head = [
        *description(price),
        f"Written by: {command}",
        f"  .venv/bin/pvs run {file}",
    ]
    body = yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=WIDTH, allow_unicode=True)
    return "".join(f"# {line}\n" for line in head) + body


class _Dumper(yaml.SafeDumper):
    """Writes every value where it stands, and line breaks as signs."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _text)
