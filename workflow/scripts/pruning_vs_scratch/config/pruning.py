"""Pruning methods, their options, and the comparisons of the study."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section
from pruning_vs_scratch.config.training import CosineSchedule, Fraction, RelativeSchedule

Method = Literal[
    "shortgpt", "minitron_depth", "minitron_width", "sheared_llama", "wanda", "sparsegpt", "magnitude", "random",
]  # fmt: skip
Granularity = Literal["depth", "width", "sparse", "hybrid"]
Pattern = Literal["unstructured", "2:4", "4:8"]

N_OF_M_RATIO = 0.5
"""The ratio of the N:M patterns that are supported (2:4, 4:8)."""
CHAIN_PATTERN = r"^[a-z_]+@[0-9.:]+$"


class NoOptions(Section):
    """A method that leaves nothing to choose."""


class MinitronDepthOptions(Section):
    """Minitron-depth."""

    criterion: Literal["best", "closest"] = "best"
    """Which run of blocks goes: that without which the loss is lowest (the paper), or nearest to the whole model's."""


class MinitronWidthOptions(Section):
    """Minitron-width."""

    importance: Literal["nvidia", "authors"] = "nvidia"
    """Of a channel in one window: mean |a| (the Minitron paper), or sum of a^2 (this study's authors, no heads)."""
    aggregate: Literal["l2", "mean"] = "l2"
    """Over windows: L2 norm (the Minitron paper's choice), or mean."""


class WandaOptions(Section):
    """Wanda."""

    order: Literal["sequential", "dense"] = "sequential"
    """Input norms behind the pruned blocks before (the paper), or in the dense model: scored once for all ratios."""


class SparseGPTOptions(Section):
    """SparseGPT."""

    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Added to the diagonal of the Hessian, as a share of its mean."""
    block_size: PositiveInt = 128
    """Columns whose mask is chosen at once."""


class MagnitudeOptions(Section):
    """Magnitude."""

    cut: Literal["matrix", "row"] = "matrix"
    """What one unstructured cut spans."""


class ShearedLlamaOptions(Section):
    """Sheared-LLaMA: the masks are learned on tokens of their own, which count in the pipeline's budget."""

    tokens: PositiveInt | None = None
    """Mask-learning budget; a multiple of its global batch. Required when the method is used."""
    global_batch_size: PositiveInt = 32
    """Sequences a step."""
    micro_batch_size: PositiveInt = 32
    """Sequences run through the model together; divides the global batch."""
    mask_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    """Of the masks and of the Lagrange multipliers."""
    weight_learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Of the weights, meanwhile."""
    target_warmup_fraction: Fraction = 0.1
    """Share of the steps in which the target shrinks from the parent's shape to the target's (320 of 3,200)."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Of the weights, meanwhile; the training's unless given (the original: 0)."""
    schedule: RelativeSchedule = CosineSchedule()
    """Of both learning rates."""
    checkpoint_every_steps: PositiveInt = 100
    """Save resume state each this many steps."""
    domain_update_steps: PositiveInt = 50
    """With several domains: steps between updates of their proportions (dynamic batch loading)."""
    domain_sequences: PositiveInt = 32
    """With several domains: validation windows of each, by whose loss the proportions change."""


METHOD_OPTIONS: dict[str, type[Section]] = {
    "shortgpt": NoOptions,
    "minitron_depth": MinitronDepthOptions,
    "minitron_width": MinitronWidthOptions,
    "sheared_llama": ShearedLlamaOptions,
    "wanda": WandaOptions,
    "sparsegpt": SparseGPTOptions,
    "magnitude": MagnitudeOptions,
    "random": NoOptions,
}
GRANULARITY: dict[str, Granularity] = {
    "shortgpt": "depth",
    "minitron_depth": "depth",
    "minitron_width": "width",
    "sheared_llama": "width",
    "wanda": "sparse",
    "sparsegpt": "sparse",
    "magnitude": "sparse",
    "random": "sparse",
}
METHODS: tuple[str, ...] = tuple(METHOD_OPTIONS)
CALIBRATION_FREE = frozenset({"magnitude", "random"})
"""Methods that read no text."""
LEARNED = frozenset({"sheared_llama"})
"""Methods that train on training text, not on the calibration split."""


def scored_once(method: str, options: Section) -> bool:
    """Whether one calibration gives scores that serve every ratio, and so are kept as a file."""
    if isinstance(options, WandaOptions):
        return options.order == "dense"
    return GRANULARITY[method] != "sparse" and method not in LEARNED


class CalibrationConfig(Section):
    """Text that pruning methods may look at: windows of the calibration split."""

    sequences: PositiveInt
    """Number of windows."""
    sequence_length: PositiveInt
    """Tokens a window."""
    batch_size: PositiveInt = 16
    """Windows run through the model together; it changes rounding only."""


class PruningConfig(Section):
    """Settings of the pruning methods."""

    calibration: CalibrationConfig
    low_memory: bool = False
    """Read each block from disk when its turn comes, rather than the whole model at once."""
    host_buffer_gib: Annotated[float, Field(gt=0)] = 16.0
    """Hidden states of calibration text wait in memory up to this size, beyond it in a file."""
    processes: PositiveInt = 1
    """Processes that learn the masks of a run together, on one machine: one for each GPU where there are any."""
    minitron_depth: MinitronDepthOptions = MinitronDepthOptions()
    minitron_width: MinitronWidthOptions = MinitronWidthOptions()
    sheared_llama: ShearedLlamaOptions = ShearedLlamaOptions()
    wanda: WandaOptions = WandaOptions()
    sparsegpt: SparseGPTOptions = SparseGPTOptions()
    magnitude: MagnitudeOptions = MagnitudeOptions()

    def options(self, method: str) -> Section:
        """The options of a method."""
        return getattr(self, method, NoOptions())


class BaselinesConfig(Section):
    """What a baseline from scratch takes over from the pruned model that it is compared with, beyond its shape."""

    mask: Literal["inherited", "random"] = "inherited"
    """Mask of a sparse baseline: the pruned model's, or a random one of the same counts, shared by all methods."""
    redraw: Literal["all", "linear", "authors"] = "all"
    """Weights of a sparse baseline that are drawn anew: all; those of the blocks' linear layers only, which keeps the
    parent's trained embeddings and norms; or, as the authors' released code does, those and the output projection.
    """


class Comparison(Section):
    """A block of the study's matrix: every method at every ratio and pattern, on every budget."""

    methods: list[Method] = []
    ratios: list[Ratio] = []
    """Nominal pruning ratios of the methods; depth and width ratios need an entry under targets."""
    patterns: list[Pattern] = ["unstructured"]
    """Sparsity patterns; only for sparse methods."""
    chains: list[Annotated[list[Annotated[str, Field(pattern=CHAIN_PATTERN)]], Field(min_length=2)]] = []
    """Methods in sequence, such as [minitron_depth@0.5, wanda@0.5] or [shortgpt@0.5, sparsegpt@2:4]."""
    retrain: list[PositiveInt] = Field(min_length=1)
    """Retraining budgets in tokens; each gets a scratch baseline S_R on the same tokens."""
    full: list[PositiveInt] = []
    """Those of the budgets that also get a scratch baseline on the full pipeline's tokens."""
    rewind: list[PositiveInt] = []
    """Those of the budgets that also get the pruned structure or mask with the parent's own initial weights."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if not self.methods and not self.chains:
            raise ValueError("give methods (with ratios), or chains")
        if bool(self.methods) != bool(self.ratios):
            raise ValueError("methods and ratios go together: give both or neither")
        return self
