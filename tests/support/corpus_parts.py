"""Sources and splits of a corpus."""

from pathlib import Path

from pruning_vs_scratch.config.corpus import PathSource, SplitRule, Splits
from pruning_vs_scratch.data.splits import HELD_OUT


def folder_source(folder: Path) -> PathSource:
    return PathSource(kind="path", path=str(folder))


def glob_splits(**patterns: str) -> Splits:
    return Splits(**{name: SplitRule(include=[patterns.get(name, f"{name}*")]) for name in HELD_OUT})
