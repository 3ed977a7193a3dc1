"""The rungs: parents of named sizes, and the rules by which their vocabulary, length, batch and rate follow.

Between two given sizes, values are interpolated linearly in log-log scale.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.ladder.proportions import Proportions, shape_of
from pruning_vs_scratch.ladder.shapes import nearest_multiple, step_of
from pruning_vs_scratch.study.shape import ModelShape

SMALLEST_BATCH_TOKENS = 1024
"""Tokens of a step on the smallest rung; on the largest, the paper's 4,194,304."""
LEAST_STEPS = 200
"""Fewest steps of the smallest budget: fewer would not suffice for a schedule with a warmup."""
LEAST_VOCABULARY, MOST_VOCABULARY = 2**10, 2**16
"""Limits for a tokenizer that a study trains; a token of the largest takes two bytes."""
REACH = 2.0
"""The ladder covers sizes from half its smallest rung to twice its largest."""
UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "": 1.0}
SIZE = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\d+)?)([kKMB]?)")


@dataclass(frozen=True)
class Rung:
    """A parent's shape, except what follows by rule. Depths are powers of two, so that the paper's halves are whole."""

    name: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int


RUNGS = (
    Rung("0.2M", 8, 40, 4, 2),
    Rung("1M", 16, 64, 8, 2),
    Rung("9M", 16, 192, 8, 2),
    Rung("37M", 16, 384, 8, 2),
    Rung("150M", 16, 768, 12, 3),
    Rung("460M", 16, 1408, 16, 4),
    Rung("1B", 16, 2048, 32, 8),
    Rung("3B", 32, 2560, 32, 8),
    Rung("8B", 32, 4096, 32, 8),
)
"""From the smallest, on which an hour of two CPU cores is enough, to the paper's parent."""


@dataclass(frozen=True)
class Parent:
    """The parent of a rung, with everything that follows from its size."""

    rung: Rung
    proportions: Proportions

    @cached_property
    def shape(self) -> ModelShape:
        """The vocabulary is the power of two for which the share of the embeddings is closest to the paper's. They are
        untied like the paper's; at the smallest vocabulary they are tied if that is closer. A rung with the paper's
        decoder also has its vocabulary.
        """
        paper = self.proportions.parent
        own = self._with(paper.vocab_size, tied=paper.tie_embeddings)
        if own == paper:
            return own
        powers = range(LEAST_VOCABULARY.bit_length() - 1, MOST_VOCABULARY.bit_length())
        options = [self._with(LEAST_VOCABULARY, tied=True), *(self._with(2**n, tied=False) for n in powers)]
        return min(options, key=lambda shape: abs(math.log(_embedded(shape) / _embedded(paper))))

    def _with(self, vocabulary: int, *, tied: bool) -> ModelShape:
        paper, rung = self.proportions.parent, self.rung
        ffn = paper.ffn_size / paper.hidden_size * rung.hidden_size
        return ModelShape(
            vocab_size=vocabulary,
            layers=rung.layers,
            hidden_size=rung.hidden_size,
            ffn_size=nearest_multiple(ffn, step_of(round(ffn))),
            heads=rung.heads,
            kv_heads=rung.kv_heads,
            head_dim=rung.hidden_size // rung.heads,
            tie_embeddings=tied,
            rope_theta=paper.rope_theta,
            norm_eps=paper.norm_eps,
            family=paper.family,
        )

    @property
    def params(self) -> int:
        """All parameters."""
        return self.shape.params_total

    @property
    def is_papers(self) -> bool:
        """Whether it is the paper's own parent."""
        return self.shape == self.proportions.parent

    @property
    def sequence_length(self) -> int:
        """A power of two, from the demo's to the paper's."""
        ends = self.proportions.demo.training.sequence_length, self.proportions.paper.training.sequence_length
        return power_of_two(self._between(*ends))

    @cached_property
    def batch_tokens(self) -> int:
        """Tokens per step: a power of two with which the smallest budget still has enough steps.

        The batch grows with the tokens to the power of 0.79, faster than critical batch sizes are found to grow (about
        the power of a half: Zhang et al., 2410.21676), since it falls from the paper's to a value that leaves the
        smallest rung enough steps.
        """
        training = self.proportions.paper.training
        papers = training.global_batch_size * training.sequence_length
        tokens = power_of_two(self._between(SMALLEST_BATCH_TOKENS, papers))
        goal = self.params * self.proportions.tokens_per_parameter * self.proportions.smallest_share
        while goal / tokens < LEAST_STEPS and tokens > self.sequence_length:
            tokens //= 2
        return tokens

    @cached_property
    def tokens(self) -> int:
        """As many tokens per parameter as the paper's, with every budget a whole number of steps."""
        unit = self.batch_tokens * self.proportions.unit
        return nearest_multiple(self.params * self.proportions.tokens_per_parameter, unit)

    def budget(self, papers: int) -> int:
        """The same share of the parent's tokens as a budget of the paper."""
        exact = self.proportions.share(papers) * self.tokens
        assert exact.denominator == 1, "the parent's steps are a multiple of what makes every budget whole"
        return int(exact)

    @property
    def peak_learning_rate(self) -> float:
        """From the demo's, up to the demo's size, to the paper's; to two digits."""
        demo, paper = self.proportions.demo, self.proportions.paper
        rates = demo.training.peak_learning_rate, paper.training.peak_learning_rate
        return two_digits(self._between(*rates, smallest=shape_of(demo).params_total))

    def _between(self, least: float, most: float, smallest: int | None = None) -> float:
        """The value at this size, between that of the smallest rung (or another size) and the paper's."""
        first = smallest or Parent(RUNGS[0], self.proportions).params
        place = math.log(self.params / first) / math.log(self.proportions.parent.params_total / first)
        return math.exp(math.log(least) + min(max(place, 0.0), 1.0) * math.log(most / least))


def parents(proportions: Proportions) -> list[Parent]:
    """The parents of all rungs, the smallest first."""
    return [Parent(rung, proportions) for rung in RUNGS]


def nearest_parent(proportions: Proportions, params: float) -> Parent:
    """The rung nearest to a number of parameters, by their ratio.

    Raises:
        UserError: the number is far outside the ladder.
    """
    known = parents(proportions)
    if not known[0].params / REACH <= params <= known[-1].params * REACH:
        raise UserError(
            f"{params:,.0f} parameters are outside of the ladder; its rungs: {', '.join(rung.name for rung in RUNGS)}"
        )
    return min(known, key=lambda parent: abs(math.log(parent.params / params)))


def parse_params(text: str) -> float:
    """A number of parameters such as 45M, 1.1B or 200000.

    Raises:
        UserError: the text is something else.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is not a number of parameters; write it as 45M, 1.1B or 200000")
    return float(found[1]) * UNITS[found[2]]


def power_of_two(value: float) -> int:
    """The nearest one, by its logarithm."""
    return int(2 ** round(math.log2(value)))


def two_digits(value: float) -> float:
    """A number to two significant digits."""
    return float(f"{value:.2g}")


def _embedded(shape: ModelShape) -> float:
    return shape.embedding_params / shape.params_total
