"""Settings of the pruning methods, and the comparisons of the study."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, create_model, model_validator

from pruning_vs_scratch.config.arms import DistilledArm, EarlyArm, GradualArm
from pruning_vs_scratch.config.base import PositiveInt, Ratio, Section
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.pruning import catalogue

Pattern = Literal["unstructured", "2:4", "4:8"]

N_OF_M_RATIO = 0.5
"""The ratio of the N:M patterns that are supported (2:4, 4:8)."""
USUAL_DEVICE_BUFFER_GIB = 16.0
USUAL_PRECISION: Literal["auto"] = "auto"
CHAIN_PATTERN = r"^[a-z_]+@[0-9.:]+$"


def _known(method: str) -> str:
    if method not in catalogue.methods():
        raise ValueError(catalogue.unknown(method))
    return method


Method = Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": list(catalogue.methods()), "type": "string"})]
"""Name of a method of the catalogue."""


class CalibrationConfig(Section):
    """Text that pruning methods may read: windows of the calibration split."""

    sequences: PositiveInt
    """Number of windows."""
    sequence_length: PositiveInt
    """Tokens per window."""
    batch_size: PositiveInt = 16
    """Windows run through the model together; affects rounding only."""


class PruningSettings(Section):
    """Settings of the pruning methods."""

    calibration: CalibrationConfig
    low_memory: bool = False
    """Read each block from disk when it is needed, instead of the whole model at once."""
    host_buffer_gib: Annotated[float, Field(gt=0)] = 16.0
    """Hidden states of calibration text are kept in memory up to this size, and in a file beyond it."""
    device_buffer_gib: Annotated[float, Field(ge=0)] = USUAL_DEVICE_BUFFER_GIB
    """On a GPU, hidden states of calibration text stay there up to this size. If the weights fit too, they also stay
    for methods that read them repeatedly.
    """
    precision: WantedPrecision = USUAL_PRECISION
    """Arithmetic of passes over calibration text; statistics, losses and scores are fp32 or better, and weights are
    written in their stored precision. auto: bf16 on a GPU; on a CPU fp32, or bf16 if weights are stored so and it is
    fast.
    """
    processes: PositiveInt = 1
    """Processes that learn the masks of a run together on one machine; one per GPU if there are any."""

    def options(self, method: str) -> Any:
        """The options of a method: a section of the class that its facts name."""
        options = catalogue.facts_of(method).options
        return getattr(self, method) if options.model_fields else options()


def _with_options() -> type[PruningSettings]:
    """The settings, with a section for each method that has options."""
    sections: dict[str, Any] = {
        name: (facts.options, facts.options())
        for name, facts in catalogue.methods().items()
        if facts.options.model_fields
    }
    return create_model("PruningConfig", __base__=PruningSettings, __doc__=PruningSettings.__doc__, **sections)


if TYPE_CHECKING:
    PruningConfig = PruningSettings
else:
    PruningConfig = _with_options()


class BaselinesConfig(Section):
    """What a baseline from scratch inherits, besides its shape, from the pruned model it is compared with."""

    mask: Literal["inherited", "random", "random_at_full"] = "inherited"
    """Mask of a sparse baseline: the pruned model's; a random one of the same counts, shared by all methods; or the
    pruned model's at equal budgets and a random one at the full budget only, where baselines cost most.
    """
    redraw: Literal["all", "linear", "authors"] = "all"
    """Weights of a sparse baseline that are redrawn: all; those of the blocks' linear layers only, which keeps the
    parent's trained embeddings and norms; or, as in the authors' released code, those and the output projection.
    """
    full_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.002
    """Share of extra tokens that a full-budget baseline may read beyond parent and retraining. Methods with the same
    shape or mask share the baseline if their pruning reads no more than that. With 0, it reads what its own pipeline
    read.
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
    """Retraining budgets that also get a scratch baseline on the full pipeline's tokens."""
    rewind: list[PositiveInt] = []
    """Retraining budgets that also train the pruned structure or mask from the parent's own initial weights."""
    distilled: DistilledArm = DistilledArm()
    """Retraining budgets at which both sides also learn from the parent."""
    gradual: list[GradualArm] = []
    """Schedules of ratios with retraining between the steps."""
    joint: list[PositiveInt] = []
    """Retraining budgets that also follow one learning-rate schedule from the parent's first step to the last."""
    early: list[EarlyArm] = []
    """Parents that are pruned before their last token."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if not self.methods and not self.chains:
            raise ValueError("give methods (with ratios), or chains")
        if bool(self.methods) != bool(self.ratios):
            raise ValueError("methods and ratios go together: give both or neither")
        return self
