"""What every rung keeps of the paper's study, read from config/paper.yaml."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pruning_vs_scratch.config.load import merged_config, read_study_file, study_files
from pruning_vs_scratch.config.model import PretrainedParent
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.study import Study

Values = dict[str, Any]
MatrixName = Literal["core", "full", "arms"]
MATRICES: tuple[MatrixName, ...] = ("core", "full")
"""The paper's question at two sizes; "arms" asks what the paper leaves open."""
EARLY_SHARES = [0.25, 0.5, 0.75]
"""Shares of its tokens after which a parent is pruned early."""
PAPER = "paper"
CORE_METHODS = ("minitron_depth", "minitron_width", "sparsegpt")
"""One method of each granularity: what `core` keeps of the paper's."""


@dataclass(frozen=True)
class Proportions:
    """The paper's study as an overlay on the default one, and the default one."""

    base: Values
    overlay: Values

    @classmethod
    def read(cls, folder: Path = Path("config")) -> "Proportions":
        """From the configurations in a folder.

        Raises:
            UserError: one of them is missing or not valid.
        """
        base, overlay = study_files([PAPER], folder)
        values = read_study_file(overlay)
        # YAML 1.1 reads the bare key ``on`` as true.
        values["sweep"]["on"] = values["sweep"].pop(True)
        return cls(read_study_file(base), values)

    def config(self, overlay: Mapping[str, Any]) -> StudyConfig:
        """The configuration of an overlay on the default study.

        Raises:
            UserError: it is not valid.
        """
        return merged_config([self.base, overlay])

    def study(self, overlay: Mapping[str, Any]) -> Study:
        """That study.

        Raises:
            UserError: its configuration is not valid.
        """
        return Study(self.config(overlay).model_dump(mode="json"))

    @cached_property
    def paper(self) -> StudyConfig:
        """The paper's study."""
        return self.config(self.overlay)

    @cached_property
    def demo(self) -> StudyConfig:
        """The default study."""
        return self.config({})

    @property
    def parent(self) -> ModelShape:
        """The shape of the paper's parent."""
        return shape_of(self.paper)

    @property
    def parent_tokens(self) -> int:
        """Tokens that the paper's parent is pretrained on."""
        return tokens_of_parent(self.paper)

    @property
    def tokens_per_parameter(self) -> float:
        """Of the paper's parent; all its parameters count, including embeddings."""
        return self.parent_tokens / self.parent.params_total

    @cached_property
    def tokens_read(self) -> int:
        """Tokens of its training text that the paper's study reads."""
        return tokens_read(self.study(self.overlay))

    def share(self, tokens: int) -> Fraction:
        """Tokens as a share of those of the paper's parent."""
        return Fraction(tokens, self.parent_tokens)

    @cached_property
    def smallest_share(self) -> Fraction:
        """The share of the paper's smallest budget."""
        return min(self._shares)

    @cached_property
    def unit(self) -> int:
        """If the parent's steps are a multiple of this, every budget is a whole number of steps."""
        return math.lcm(*(share.denominator for share in self._shares))

    @property
    def _shares(self) -> list[Fraction]:
        budgets = [budget for block in self.paper.matrix for budget in block.retrain]
        budgets += [self.paper.sweep.tokens] if self.paper.sweep is not None else []
        return [self.share(budget) for budget in budgets]

    def matrix(self, which: MatrixName) -> list[Values]:
        """The blocks of the paper's matrix, of the smallest one that still decides all of its claims, or of the arms.

        C1 needs pairs of equal budgets, C2 two budgets, C3 two ratios, C4 structured and sparse models at the full
        pipeline's budget (tables/claims.py). ``core`` has a method of each granularity: at ratio 0.5 on the smallest
        budget and on the one with a full-budget baseline, and at the highest ratio on the latter. ``arms`` has these
        methods at ratio 0.5 on the latter, with every arm, and masks that know nothing.
        """
        blocks: list[Values] = deepcopy(self.overlay["matrix"])
        if which == "full":
            return blocks
        full = blocks[0]["full"][0]
        half, highest = (pick(r for b in blocks for r in b["ratios"]) for pick in (min, max))
        retrain = [min(blocks[0]["retrain"]), full]
        methods = list(CORE_METHODS)
        if which == "arms":
            return [
                {"methods": methods, "ratios": [half], "retrain": [full], "full": [full], **_arms(half, full)},
                {"methods": ["random"], "ratios": [half], "retrain": [full]},
            ]
        return [
            {"methods": methods, "ratios": [half], "retrain": retrain, "full": [full]},
            {"methods": list(methods), "ratios": [highest], "retrain": [full]},
        ]


def _arms(ratio: float, budget: int) -> Values:
    """Every arm of the comparisons at a ratio, on one budget."""
    return {
        "rewind": [budget],
        "distilled": {"tokens": [budget], "flops": [budget]},
        "gradual": [{"ratios": [ratio / 2, ratio], "retrain": [budget]}],
        "joint": [budget],
        "early": [{"shares": list(EARLY_SHARES), "retrain": [budget]}],
    }


def tokens_read(study: Study) -> int:
    """Tokens of its training text that a study reads in one pass."""
    ((windows, length),) = study.text.windows_needed("train")
    return windows * length


def shape_of(config: StudyConfig) -> ModelShape:
    """The shape of a study's parent."""
    return ModelShape.of(config.parent.shape, config.tokenizer.vocab_size)


def tokens_of_parent(config: StudyConfig) -> int:
    """Tokens on which a study pretrains its parent."""
    assert isinstance(config.parent, PretrainedParent), "the studies of the ladder pretrain their parents"
    return config.parent.tokens
