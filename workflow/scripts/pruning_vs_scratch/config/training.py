"""The training recipe, shared by parent, retraining and scratch baselines."""

from itertools import count
from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Field

from pruning_vs_scratch.config.base import PositiveInt, Section
from pruning_vs_scratch.config.learning_rates import LearningRateRule, PeakRate, TrainedRun, rule_for
from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.config.processes import ProcessRule

Fraction = Annotated[float, Field(ge=0, le=1)]
ReporterName = Literal["tensorboard", "wandb"]
Recomputing = Literal["auto", True, False] | Annotated[int, Field(ge=2, strict=True)]
"""Which decoder blocks are recomputed in the backward pass: all, none, every n-th, or as many as memory requires."""
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Section):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101)."""

    beta1: Beta = 0.9
    beta2: Beta = 0.95
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    decay: Literal["matrices", "all"] = "matrices"
    """Which parameters decay: matrices only, or norms and biases too (the authors)."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest global gradient norm."""


class CosineSchedule(Section):
    """Linear warmup, then a cosine from the peak to a floor at the last step."""

    kind: Literal["cosine"] = "cosine"
    warmup_fraction: Fraction = 0.05
    """Share of the steps spent warming up."""
    floor_ratio: Fraction = 0.1
    """Final learning rate as a share of the peak."""

    @property
    def label(self) -> str:
        """The schedule's name and numbers, for the ledger."""
        return f"{self.kind}(warmup={self.warmup_fraction:g}, floor={self.floor_ratio:g})"


class FmsSchedule(Section):
    """The smaller of a quadratic warmup and a cosine that begins at the first step: the authors' recipe.

    This is the schedule of IBM's fms-fsdp. The warmup begins at rate 0, and the peak itself is never reached.
    """

    kind: Literal["fms"]
    warmup_fraction: Fraction = 0.05
    """Share of the steps spent warming up, rounded down; a run without a whole step of warmup follows the cosine."""
    most_warmup_steps: PositiveInt = 2000
    """Maximum length of the warmup."""
    floor_ratio: Fraction = 0.1
    """Value of the cosine one step after the last, as a share of the peak."""

    @property
    def label(self) -> str:
        """The schedule's name and numbers, for the ledger."""
        warmup = f"{self.warmup_fraction:g}, at most {self.most_warmup_steps} steps"
        return f"{self.kind}(warmup={warmup}, floor={self.floor_ratio:g})"


class ConstantSchedule(Section):
    """Linear warmup, then the peak."""

    kind: Literal["constant"]
    warmup_steps: PositiveInt
    """Steps of warmup, the same for every budget; the last of them is at the peak."""

    @property
    def label(self) -> str:
        """The schedule's name and numbers, for the ledger."""
        return f"{self.kind}(warmup={self.warmup_steps} steps)"

    @property
    def least_steps(self) -> int:
        """Steps of the shortest run whose warmup is whole."""
        return self.warmup_steps


class WsdSchedule(Section):
    """Warmup-stable-decay: linear warmup, then the peak, then a linear decay over the last share of the steps.

    Sources: Hu et al., "MiniCPM", 2404.06395, section 4; the linear decay is one of Hägele et al., 2405.18392.
    """

    kind: Literal["wsd"]
    warmup_steps: PositiveInt
    """Steps of warmup, the same for every budget; the last of them is at the peak."""
    decay_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the steps that decay."""
    floor_ratio: Fraction = 0.1
    """Final learning rate as a share of the peak."""

    @property
    def label(self) -> str:
        """The schedule's name and numbers, for the ledger."""
        numbers = f"warmup={self.warmup_steps} steps, decay={self.decay_fraction:g}, floor={self.floor_ratio:g}"
        return f"{self.kind}({numbers})"

    def decay_start(self, steps: int) -> int:
        """The first step (0-based) of a run of ``steps`` that decays; ``steps`` where it is too short to decay."""
        return steps - round(steps * self.decay_fraction)

    @property
    def least_steps(self) -> int:
        """Steps of the shortest run whose warmup ends before its decay; all longer runs are valid too."""
        return next(steps for steps in count(self.warmup_steps) if self.decay_start(steps) >= self.warmup_steps)

    @property
    def trunk(self) -> ConstantSchedule:
        """The schedule of the steps before the decay, whatever the budget."""
        return ConstantSchedule(kind="constant", warmup_steps=self.warmup_steps)


def _cosine_by_default(value: Any) -> Any:
    return {"kind": "cosine"} | value if isinstance(value, dict) else value


ScheduleConfig = Annotated[
    CosineSchedule | FmsSchedule | WsdSchedule | ConstantSchedule,
    Field(discriminator="kind"),
    BeforeValidator(_cosine_by_default),
]
"""A learning-rate schedule; cosine where no kind is given."""
RelativeSchedule = Annotated[
    CosineSchedule | FmsSchedule, Field(discriminator="kind"), BeforeValidator(_cosine_by_default)
]
"""A schedule whose warmup is a share of the steps, so that it fits every budget; cosine where no kind is given."""


class PartSchedule(Section):
    """Some steps of a schedule that several runs follow one after the other. Studies do not set it."""

    kind: Literal["part"] = "part"
    whole: ScheduleConfig
    start: int
    """The step of the whole schedule that is the first of this run (0-based)."""
    steps: int
    """Steps of the whole schedule."""

    @property
    def label(self) -> str:
        """The schedule's name and numbers, for the ledger."""
        return f"{self.whole.label}, from step {self.start} of {self.steps}"


PlannedSchedule = Annotated[
    CosineSchedule | FmsSchedule | WsdSchedule | ConstantSchedule | PartSchedule,
    Field(discriminator="kind"),
    BeforeValidator(_cosine_by_default),
]
"""The schedule of a planned run; cosine where no kind is given."""


class DistillationConfig(Section):
    """How a retrained model learns from its parent: (1 - weight) CE + weight T^2 KL(parent_T || model_T)."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature T that divides both models' logits."""
    weight: Fraction = 1.0
    """Weight of the parent's distribution in the loss; the rest is the cross-entropy on the text."""

    @property
    def label(self) -> str:
        """The objective's name and numbers, for the ledger."""
        return f"kd(T={self.temperature:g}, weight={self.weight:g})"


class ValidationConfig(Section):
    """Loss on the validation split."""

    sequences: PositiveInt
    """Number of windows; the same windows each time."""
    every_steps: PositiveInt | None = None
    """Validate every this many steps, and always at the end."""


class TrainingConfig(Section):
    """One recipe for every run: a matched pair differs only in its initial weights, unless learning_rates is set."""

    sequence_length: PositiveInt
    """Tokens per sequence."""
    global_batch_size: PositiveInt
    """Sequences per step."""
    micro_batch_size: PositiveInt
    """Sequences run through the model together; divides the global batch."""
    attention: Literal["window", "document"] = "window"
    """How far back tokens attend in training: to the start of the window, or to that of their document."""
    peak_learning_rate: PeakRate
    """Peak learning rate of parent, retraining and scratch, except for runs that a rule matches."""
    learning_rates: list[LearningRateRule] = []
    """Peak learning rates of some of the runs; the first matching rule applies."""
    precision: WantedPrecision = "auto"
    """Arithmetic of the forward pass; auto selects bf16 where the hardware multiplies it natively."""
    loss_chunk_tokens: PositiveInt | None = None
    """Tokens whose logits are held at once; saves memory with a large vocabulary. Default: 256 on a CPU, all on a GPU.
    """
    fused_loss: bool = False
    """Use torch.nn.functional.linear_cross_entropy, which never holds all logits."""
    activation_checkpointing: Recomputing = False
    """Keep only the input of a block and recompute the block in the backward pass: less memory, more work.

    true: all blocks; a number n: every n-th block; auto: as few as a GPU's memory allows.
    """
    compile: Literal["auto", True, False] = "auto"
    """Compile the decoder blocks, which takes up to a minute; auto compiles for long runs on a GPU or in bf16."""
    float8: bool = False
    """Multiply in float8, scaled tensor by tensor, in the blocks' linear layers (needs bf16 and the extra float8)."""
    sharding: Literal["all", "node"] = "all"
    """Processes that a model is sharded over: all, or those of a node, with a copy on each node (HSDP)."""
    mask_gradients: Literal["before_clip", "after_clip"] = "before_clip"
    """Sparse models: whether the gradients of pruned weights count in the norm that is clipped (after: the authors)."""
    threads: PositiveInt = 1
    """CPU threads per process; results are reproducible for a given number."""
    processes: PositiveInt | Literal["auto"] = 1
    """Processes that train a run together, each with a shard of the model; one per GPU.

    auto: for each run, the number that finishes the study soonest on cluster.devices.
    """
    process_rules: list[ProcessRule] = []
    """Processes of some of the runs, by size; the first matching rule applies."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = CosineSchedule()
    share_trunks: bool = True
    """With the wsd schedule: runs that differ only in their budget share the steps before the decay."""
    objective: Literal["ce", "kd"] = "ce"
    """Loss of retraining: the cross-entropy, or distillation from the parent. All other training uses the former."""
    distillation: DistillationConfig = DistillationConfig()
    """Settings of distillation, used if the objective is kd."""
    validation: ValidationConfig
    checkpoint_every_steps: PositiveInt = 100
    """Save resume state every this many steps."""
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] | None = None
    """Also save resume state whenever this much time has passed."""
    keep_checkpoints: PositiveInt = 1
    """Number of latest states kept while the run continues."""
    async_saves: Literal["auto", True, False] = "auto"
    """Write states in the background, from a copy in host memory; auto does so on GPUs."""
    report_to: list[ReporterName] = []
    """Where the metrics of a step are shown besides metrics.jsonl; each needs the extra of the same name."""

    def peak_of(self, run: TrainedRun) -> float:
        """The peak learning rate of a run."""
        rule = rule_for(self.learning_rates, run)
        return self.peak_learning_rate if rule is None else rule.peak

    def processes_of(self, parameters: int) -> int | Literal["auto"]:
        """The processes that train a model with this many parameters."""
        fitting = (rule.processes for rule in self.process_rules if parameters < rule.below_parameters)
        return next(fitting, self.processes)


class Batches(Protocol):
    """The batch sizes of a step."""

    global_batch_size: int
    micro_batch_size: int


def sharing_problem(batches: Batches, processes: int) -> str | None:
    """Why a number of processes cannot share each global batch evenly, with the valid numbers; None if it can.

    A micro-batch that does not divide the global batch is reported elsewhere.
    """
    micro_batches, rest = divmod(batches.global_batch_size, batches.micro_batch_size)
    if rest or micro_batches % processes == 0:
        return None
    valid = [str(number) for number in range(1, micro_batches + 1) if micro_batches % number == 0]
    return (
        f"{processes} processes cannot share a global batch of {batches.global_batch_size} sequences in micro-batches "
        f"of {batches.micro_batch_size}; valid: {', '.join(valid)}; or lower micro_batch_size"
    )
