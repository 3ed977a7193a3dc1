"""The ladder and a rung's overlay as text for people."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from pruning_vs_scratch.ladder.price import Ladder, Price
from pruning_vs_scratch.ladder.shapes import STEPS, achieved
from pruning_vs_scratch.planning.text import hours
from pruning_vs_scratch.study.names import token_label

WIDTH = 120
"""Width of a line of YAML."""
LINE = 100
"""Width of a line in a terminal."""


def ladder(known: Ladder, within: float | None) -> str:
    """The rungs and their costs, and why some have none; with a number of hours, which of them fit."""
    machine = known.prices[0].machine
    lines = [
        f"Hours on {machine.count} x {machine.device}, from the first job to the last.",
        "The longest chain of jobs takes as long on any number of devices.",
        "",
        *_columns([_cost(price) | _fits(price, within) for price in known.prices]),
        "",
        "Parents, with the tokens that each is trained on:",
        "",
        *_columns([_size(price) for price in _first_of_each_rung(known.prices)]),
    ]
    for label, reason in known.unpriced.items():
        lines += ["", *textwrap.wrap(f"No price for {label}: {reason}", LINE)]
    return "\n".join(lines)


def recommendation(price: Price, within: float) -> str:
    """What to run within a number of hours."""
    machine = f"{price.machine.count} x {price.machine.device}"
    return f"Recommended: {price.label}, {hours(price.hours)} of your {within:g} hours on {machine}."


def _first_of_each_rung(prices: Sequence[Price]) -> list[Price]:
    return list({price.parent.rung.name: price for price in reversed(prices)}.values())[::-1]


def _size(price: Price) -> dict[str, str]:
    """Facts shared by the matrices of a rung."""
    parent = price.parent
    return {
        "rung": parent.rung.name,
        "blocks x hidden": f"{parent.shape.layers} x {parent.shape.hidden_size}",
        "vocabulary": f"{parent.shape.vocab_size:,}",
        "length": f"{parent.sequence_length:,}",
        "tokens per step": f"{parent.batch_tokens:,}",
        "peak rate": f"{parent.peak_learning_rate:g}",
        "tokens": token_label(parent.tokens),
        "state, GB": f"{price.state_gigabytes:.2g}",
    }


def _cost(price: Price) -> dict[str, str]:
    return {
        "rung": price.parent.rung.name,
        "matrix": price.matrix,
        "models": f"{price.models}",
        "FLOP": f"{price.flops:.3g}",
        "device-hours": hours(price.device_hours),
        "hours": hours(price.hours),
        "longest chain": hours(price.chain_hours),
        "rates": price.rates,
    }


def _fits(price: Price, within: float | None) -> dict[str, str]:
    return {} if within is None else {"fits": "yes" if price.hours <= within else ""}


def _columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """Rows as lines of text under their headings."""
    headings = list(rows[0])
    cells = [headings, *([row[heading] for heading in headings] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


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
    """The description of a rung, and how it was rounded."""
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
        + "; hidden sizes",
        "in multiples of the heads too. Neurons make up for what that rounds.",
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
    """Writes every value in full, without aliases, and line breaks as escapes."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _text)
