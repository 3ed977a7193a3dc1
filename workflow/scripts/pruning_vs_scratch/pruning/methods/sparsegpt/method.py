"""SparseGPT (Frantar & Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
2301.00774).

For a linear layer with weight W (rows, columns) and inputs x (columns,): H = 2 E[x x^T], and U is the upper triangular
Cholesky factor of (H + damping * mean(diag H) I)^-1 = U^T U, so that U_jj^2 = [(H_F)^-1]_00 for F = columns j to the
end: one sequence of inverses that all rows share (the paper's Hessian synchronization). From left to right:

- mask: the entries with the lowest saliency W_ij^2 / U_jj^2 (equation 3, OBS) go, chosen for a block of columns at a
  time, with the weights as updated so far (the paper's adaptive mask selection), or for each group of M for N:M;
- update: a pruned entry leaves the error e_ij = W_ij / U_jj, and W_i,F -= e_ij * U_j,F (algorithm 1); kept entries of
columns to the left no longer change.

Deviations: one exact cut over a block instead of a threshold, so that ties cannot change the sparsity; H is the mean
over tokens instead of over samples, which only rescales it; if H cannot be factorised, the damping is raised; an
identity is never used in its place.
"""

import logging
from collections.abc import Callable
from functools import partial

import torch

from pruning_vs_scratch.models.tensors import Tensors
from pruning_vs_scratch.pruning.masks import keep_largest, keep_n_of_m, parse_pattern
from pruning_vs_scratch.pruning.method import PrunedLayer, PruningSpec, SparseMethod

log = logging.getLogger(__name__)

PAPER_DAMPING = 0.01
"""Share of the mean diagonal that the paper adds; a damping of zero is raised to this."""
LARGEST_DAMPING = 1.0
"""Where raising the damping ends."""

Select = Callable[[torch.Tensor], torch.Tensor]
"""Scores (rows, some columns) -> mask of the same shape; True is kept."""


class InputHessian:
    """Accumulates H = (2/n) * sum of x x^T over the n tokens that a linear layer reads."""

    def __init__(self) -> None:
        self._mean: torch.Tensor | None = None
        self._tokens = 0

    def see(self, activation: torch.Tensor) -> None:
        """Add a batch of shape (windows, length, channels)."""
        tokens = activation.detach().float().flatten(0, 1)
        if self._mean is None:
            self._mean = tokens.new_zeros(tokens.shape[1], tokens.shape[1])
        before, self._tokens = self._tokens, self._tokens + len(tokens)
        # A running mean, because scaling a sum on reading would need a second matrix of this size.
        self._mean.addmm_(tokens.mT, tokens, beta=before / self._tokens, alpha=2 / self._tokens)

    @property
    def value(self) -> torch.Tensor:
        """H, shape (channels, channels), fp32: the accumulator itself, which a later ``see`` changes."""
        assert self._mean is not None, "no activation was seen"
        return self._mean


def dead_columns(hessian: torch.Tensor) -> torch.Tensor:
    """Columns whose input was always zero, boolean, shape (columns,)."""
    return hessian.diagonal() == 0


def inverse_factor(hessian: torch.Tensor, damping: float) -> tuple[torch.Tensor, float]:
    """U, upper triangular, of the inverse U^T U of the damped Hessian (columns, columns), and the damping used.

    A dead column gets H_jj = 1. If a factorisation fails the damping grows tenfold, to 1 at most. ``hessian`` is not
    changed; at most two more matrices of its size are held at a time.

    Raises:
        ValueError: the Hessian is not finite, or cannot be factorised even with the largest damping.
    """
    if not _is_finite(hessian):
        raise ValueError("the Hessian of a layer's inputs holds NaN or inf")
    while (factor := _factorised(hessian, damping)) is None:
        if damping >= LARGEST_DAMPING:
            raise ValueError(f"the Hessian of a layer's inputs cannot be factorised, even with damping {damping:g}")
        raised = min(10 * damping or PAPER_DAMPING, LARGEST_DAMPING)
        log.warning("the Hessian of a layer's inputs cannot be factorised with damping %g; trying %g", damping, raised)
        damping = raised
    return factor, damping


def prune_weight(
    weight: torch.Tensor, factor: torch.Tensor, dead: torch.Tensor, ratio: float, pattern: str, block_size: int = 128
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask (True is kept) and updated weight (fp32, pruned entries exactly zero), both (rows, columns).

    ``factor`` (columns, columns) is that of ``inverse_factor``, ``dead`` (columns,) that of ``dead_columns``. The
    pattern 'unstructured' drops floor(ratio * entries) of each block; N:M ignores ``ratio``.

    Raises:
        UserError: the columns do not divide into groups of M.
        ValueError: a block does not divide into groups of M.
    """
    select, step = _selection(weight, ratio, pattern, block_size)
    # Columns as rows: everything that the loops read and write is contiguous.
    columns = weight.detach().t().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    columns[dead] = 0
    kept = torch.empty_like(columns, dtype=torch.bool)
    for start in range(0, len(columns), block_size):
        end = min(start + block_size, len(columns))
        inside = factor[start:end, start:end].contiguous()
        errors = _prune_block(columns[start:end], kept[start:end], inside, select, step)
        columns[end:].addmm_(factor[start:end, end:].mT, errors, alpha=-1)
    return kept.t().contiguous(), columns.t().contiguous()


def _is_finite(matrix: torch.Tensor) -> bool:
    # The extremes are NaN if any entry is; isfinite would take copies of the matrix.
    return bool(torch.stack(torch.aminmax(matrix)).isfinite().all())


def _factorised(hessian: torch.Tensor, damping: float) -> torch.Tensor | None:
    """The factor with one damping; None if it does not exist."""
    # One name for all, so that each matrix is freed once the next exists.
    matrix, failed = torch.linalg.cholesky_ex(_damped(hessian, damping))
    if failed:
        return None
    matrix = torch.cholesky_inverse(matrix)
    matrix, failed = torch.linalg.cholesky_ex(matrix, upper=True)
    return None if failed or not _is_finite(matrix) else matrix


def _damped(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """A copy whose diagonal is damped, and not zero at dead columns."""
    damped = hessian.clone()
    diagonal = damped.diagonal()
    diagonal[dead_columns(hessian)] = 1
    diagonal += damping * diagonal.mean()
    return damped


def _selection(weight: torch.Tensor, ratio: float, pattern: str, block_size: int) -> tuple[Select, int]:
    """How to choose what is kept, and for how many columns at a time."""
    if pattern == "unstructured":
        return partial(keep_largest, ratio=ratio), block_size
    kept, group = parse_pattern(pattern)
    if block_size % group:
        raise ValueError(f"a block of {block_size} columns does not divide into groups of {group} for {pattern}")
    # One row of full width: refused here, before any work, with the matrix's number of columns.
    keep_n_of_m(weight[:1], kept, group)
    return partial(keep_n_of_m, kept=kept, group=group), group


def _prune_block(
    columns: torch.Tensor, kept: torch.Tensor, factor: torch.Tensor, select: Select, step: int
) -> torch.Tensor:
    """Prune a block of columns in place, write its mask to ``kept``, and return its errors; all (block, rows)."""
    errors = torch.empty_like(columns)
    scale = factor.diagonal()[:, None]
    for j in range(len(columns)):
        if j % step == 0:
            chosen = slice(j, j + step)
            kept[chosen] = select((columns[chosen] / scale[chosen]).square().t()).t()
        errors[j] = columns[j].masked_fill(kept[j], 0) / scale[j]
        columns[j + 1 :].addr_(factor[j, j + 1 :], errors[j], alpha=-1)
    columns.masked_fill_(~kept, 0)
    return errors


def prune(weights: Tensors, statistic: torch.Tensor | None, spec: PruningSpec) -> dict[str, PrunedLayer]:
    """Prune the layers that read one input, whose Hessian and its factor they share."""
    assert statistic is not None
    target, options = spec.target, spec.options
    dead = dead_columns(statistic)
    factor, damping = inverse_factor(statistic, options.damping)
    facts = {} if damping == options.damping else {"damping": damping}
    pruned = {}
    for name, weight in weights.items():
        mask, updated = prune_weight(weight, factor, dead, target.ratio, target.pattern, options.block_size)
        pruned[name] = PrunedLayer(mask, updated, facts)
    return pruned


METHOD = SparseMethod(prune, statistic=InputHessian)
