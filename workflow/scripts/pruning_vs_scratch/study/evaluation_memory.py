"""Memory that the evaluation of a model takes on its device. Arithmetic only: no torch."""

from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.study.training_memory import FULL, HALF

TOKENS_AT_ONCE = 4096
"""Tokens whose logits are held at once: 2 GB at a vocabulary of 128k."""


def evaluation_memory(shape: ModelShape, *, windows: int, length: int, in_bf16: bool) -> int:
    """Bytes of a model and of what it computes for windows that it reads together.

    At the worst moment these are the logits of some tokens, twice in fp32, or in a block three factors of the gated
    product and five tensors of the residual stream's size, or the scores of attention where they are capped: they, in
    fp32 too, and their softmax.
    """
    width, tokens = HALF if in_bf16 else FULL, windows * length
    logits = min(tokens, TOKENS_AT_ONCE) * shape.vocab_size * (2 * FULL + (HALF if in_bf16 else 0))
    stream = width * tokens * shape.hidden_size
    block = 5 * stream + 3 * width * tokens * shape.ffn_size
    attention = 5 * stream + shape.held_scores(windows, length) * (width + 2 * FULL)
    return width * shape.params_total + max(logits + stream, block, attention)
