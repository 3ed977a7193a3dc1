"""Distillation: a model learns from another model's distribution over the next token, and from the text.

Hinton et al., "Distilling the knowledge in a neural network", 1503.02531, equation 4 and section 2; as retraining of
pruned models: Muralidharan et al., 2407.14679.
"""

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pruning_vs_scratch.config.precision import Precision
from pruning_vs_scratch.config.training import DistillationConfig
from pruning_vs_scratch.models.decoder import CausalLM
from pruning_vs_scratch.models.output import capped_, logit_cap
from pruning_vs_scratch.training.loss import LossAndGradient, cross_entropy, last_hidden_states, summed_in_chunks
from pruning_vs_scratch.training.precision import as_multiplied
from pruning_vs_scratch.training.sharding import distributed_model, let_go
from pruning_vs_scratch.training.world import World


class TeacherStates(NamedTuple):
    """What a teacher's logits are made of."""

    hidden: torch.Tensor
    """What enters its output projection, shape (tokens, hidden)."""
    weight: torch.Tensor
    """Of its output projection, shape (vocabulary, hidden)."""
    cap: float | None = None
    """Bound of its logits (models/output.py)."""


class Teacher:
    """A model from which another one learns: frozen, and sharded like the student."""

    def __init__(self, model: Any, world: World, precision: Precision) -> None:
        self.config = model.config
        self._whole = distributed_model(model.eval().requires_grad_(False), world, precision)

    @torch.no_grad()
    def states(self, inputs: torch.Tensor, separator: int | None = None) -> TeacherStates:
        """The parts of its logits for tokens of shape (sequences, length); the weight is available until ``let_go``."""
        hidden, weight = self._whole(_states, inputs, separator)
        return TeacherStates(hidden.flatten(0, 1), weight, logit_cap(self.config))

    def let_go(self) -> None:
        """Release the gathered weights."""
        let_go(self._whole)


def distilled_loss_sums(
    model: CausalLM,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    teacher: TeacherStates,
    config: DistillationConfig,
    chunk: int | None = None,
    separator: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over the tokens of the distillation loss and of the cross-entropy, which has no gradient here.

    ``inputs`` and ``targets`` have shape (sequences, length). For both models, the logits of at most ``chunk`` tokens
    are held at once.
    """
    hidden = last_hidden_states(model, inputs, separator).flatten(0, 1)
    wanted = targets.flatten()

    def loss(logits: torch.Tensor, part: slice) -> LossAndGradient:
        teachers = capped_(functional.linear(teacher.hidden[part], teacher.weight).float(), teacher.cap)
        return distillation(logits, teachers, wanted[part], config)

    total, plain = summed_in_chunks(hidden, model.lm_head.weight, chunk or len(hidden), loss, logit_cap(model.config))
    return total, plain


def distillation(
    logits: torch.Tensor, teacher: torch.Tensor, targets: torch.Tensor, config: DistillationConfig
) -> LossAndGradient:
    """(1 - w) CE + w T^2 KL(teacher_T || student_T) and CE, summed over tokens, and the first one's gradient.

    ``logits`` and ``teacher`` have shape (tokens, vocabulary). The gradient by the student's logits is
    (1 - w) (p - onehot) + w T (p_T - q_T), with the student's p, the teacher's q, and both at temperature T.
    """
    temperature, weight = config.temperature, config.weight
    (plain,), gradient = cross_entropy(logits, targets)
    student_log = functional.log_softmax(logits / temperature, dim=-1)
    teacher_log = functional.log_softmax(teacher / temperature, dim=-1)
    divergence = functional.kl_div(student_log, teacher_log, reduction="sum", log_target=True)
    total = (1 - weight) * plain + weight * temperature**2 * divergence
    softened = student_log.exp_() - teacher_log.exp_()
    return (total, plain), (1 - weight) * gradient + weight * temperature * softened


def _states(model: CausalLM, inputs: torch.Tensor, separator: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    return as_multiplied(last_hidden_states(model, inputs, separator)), as_multiplied(model.lm_head.weight.detach())
