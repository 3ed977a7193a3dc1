"""Names of targets and runs, in the paper's notation.

A parent that the study pretrains is named after its tokens (P200B), a published one as set in the study (the paper's
Meta), whether its tokens are known or not. Names of models made from it begin in the same way.
"""

from collections.abc import Iterable, Sequence

from pruning_vs_scratch.config.model import ParentConfig, PretrainedParent
from pruning_vs_scratch.config.steps import Step
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.units import TOKEN_UNITS

LABEL_DIGITS = 3


def token_label(tokens: int, digits: int = LABEL_DIGITS) -> str:
    """A token count in some significant digits: 131072 -> '131k', 200e9 -> '200B'."""
    for unit, suffix in TOKEN_UNITS:
        if tokens >= unit:
            return f"{float(f'{tokens / unit:.{digits}g}'):.{digits}g}{suffix}"
    return str(tokens)


def token_labels(counts: Iterable[int]) -> dict[int, str]:
    """Token counts with as few digits as distinguish each from all smaller ones, at least three."""
    labels: dict[int, str] = {}
    for tokens in sorted(set(counts)):
        candidates = [token_label(tokens, digits) for digits in range(LABEL_DIGITS, len(str(tokens)))]
        labels[tokens] = next(label for label in (*candidates, str(tokens)) if label not in labels.values())
    return labels


def target_name(family: str, ratio: float, pattern: str = "unstructured") -> str:
    """'depth-0.5', 'wanda-0.5', 'wanda-0.5-2of4'. The family is a granularity, or a sparse method."""
    suffix = "-" + pattern.replace(":", "of") if ":" in pattern else ""
    return f"{family}-{ratio:g}{suffix}"


def pruning_label(steps: Sequence[Step]) -> str:
    """A method or chain: 'wanda-0.5-2of4', 'minitron_depth-0.5+wanda-0.5'."""
    return "+".join(target_name(step.method, step.ratio, step.pattern) for step in steps)


def parent_label(parent: ParentConfig) -> str:
    """The name of a parent: 'P200B' after the tokens on which the study pretrains it, else its own name: 'Meta'."""
    return pretrained_label(parent.tokens) if isinstance(parent, PretrainedParent) else parent.name


def pretrained_label(tokens: int) -> str:
    """A parent that the study pretrains: 'P200B'."""
    return f"P{token_label(tokens)}"


def part_label(tokens: int, total: int) -> str:
    """A parent on the first tokens of a learning-rate schedule that continues after pruning: 'P200Bof250B'."""
    return f"{pretrained_label(tokens)}of{token_label(total)}"


def continued_label(run: str, seed: int) -> str:
    """A run of which another is made: 'P200B', 'P200B-wanda-0.25-R25B'."""
    return run.removesuffix(f"-seed{seed}")


def parent_name(parent: str, seed: int) -> str:
    """The parent of a label: 'P200B-seed0', 'Meta-seed0'."""
    return f"{parent}-seed{seed}"


def pruned_name(parent: str, target: str, seed: int) -> str:
    """A pruned parent before retraining: 'P200B-wanda-0.5-seed0'."""
    return f"{parent}-{target}-seed{seed}"


def retrained_name(parent: str, target: str, tokens: int, seed: int) -> str:
    """A pruned and retrained model: 'P200B-wanda-0.5-R50B-seed0' or 'Meta-...' (the paper's P200-R50, Meta-R50)."""
    return f"{parent}-{target}-R{token_label(tokens)}-seed{seed}"


def scratch_name(target: str, tokens: int, seed: int) -> str:
    """A target trained from random weights on the retraining tokens: 'S50B-depth-0.5-seed0' (the paper's S50)."""
    return f"S{token_label(tokens)}-{target}-seed{seed}"


def full_scratch_name(target: str, tokens: str, seed: int) -> str:
    """A target trained from random weights on the whole pipeline's tokens: 'S250B-depth-0.5-full-seed0'.

    The paper calls it S250 too, but it reads other tokens than a baseline of an equal budget of 250B. Methods that
    share a target but read different amounts of text have baselines whose token labels show more digits.
    """
    return f"S{tokens}-{target}-full-seed{seed}"


def trunk_name(run: str, seed: int) -> str:
    """The steps before the decay of a run, shared with longer ones: 'P200B-wanda-0.5-R50B-trunk-seed0'."""
    return f"{continued_label(run, seed)}-trunk-seed{seed}"


def trial_name(run: str, rate: float, seed: int) -> str:
    """A run of a sweep at one learning rate: 'S50B-depth-0.5-lr0.001-seed0'."""
    return f"{continued_label(run, seed)}-lr{rate:g}-seed{seed}"


def candidate_target_name(name: str, shape: ModelShape) -> str:
    """A target, or what is pruned to it, at one shape that a search tries: 'width-0.5-h24f32a4'."""
    return f"{name}-h{shape.hidden_size}f{shape.ffn_size}a{shape.heads}"


def distilled_name(run: str, seed: int) -> str:
    """A retrained model or a baseline that learns from the parent: 'S50B-depth-0.5-kd-seed0'."""
    return f"{continued_label(run, seed)}-kd-seed{seed}"


def rewound_name(pruned: str, tokens: int, seed: int) -> str:
    """A pruned structure or mask with the parent's initial weights: 'S50B-wanda-0.5-rewind-seed0'."""
    return f"S{token_label(tokens)}-{pruned}-rewind-seed{seed}"
