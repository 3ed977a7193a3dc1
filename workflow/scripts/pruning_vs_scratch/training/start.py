"""The start of a run: weights, the mask that it keeps, and the model from which it learns."""

from typing import Any

from pruning_vs_scratch.data.tokenizer import separator_of
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import read_json
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.models.decoder import CausalLM, random_like, random_model, shape_of, with_linears_of
from pruning_vs_scratch.models.portable import read_config
from pruning_vs_scratch.pruning.masks import PackedMask
from pruning_vs_scratch.pruning.record import cut_like, masks_of
from pruning_vs_scratch.study import Target
from pruning_vs_scratch.study.shape import ModelShape
from pruning_vs_scratch.training.request import TrainingRequest
from pruning_vs_scratch.training.sharding import same_model
from pruning_vs_scratch.training.sparsity import assert_masked, fitted_masks
from pruning_vs_scratch.training.world import World


def starting_shape(request: TrainingRequest) -> ModelShape:
    """The shape of the model that is trained, or of the random one that ``cut_like`` cuts."""
    if request.checkpoint is not None:
        return shape_of(read_config(request.checkpoint))
    return Target.from_dict(read_json(request.start)).shape


def starting_model(request: TrainingRequest, text: TokenStore) -> CausalLM:
    """The initial weights of a run.

    Raises:
        UserError: the text has tokens unknown to the model.
    """
    model = _starting_weights(request)
    text.check_vocabulary(model.config.vocab_size, request.start)
    return model


def starting_masks(request: TrainingRequest, model: CausalLM, world: World) -> dict[str, PackedMask]:
    """Masks of what stays zero, by name; each process unpacks its own rows when the model is sharded.

    Raises:
        UserError: the mask does not fit the model, or the initial checkpoint has different zeros.
    """
    if request.mask is None:
        return {}
    masks = masks_of(request.mask)
    # The other processes have no weights yet.
    for name, mask in masks.items() if request.model is not None and world.is_first else ():
        assert_masked(model, fitted_masks(model, {name: mask}))
    return masks


def teacher_of(request: TrainingRequest, student: Any, world: World) -> Any:
    """The model from which one with the configuration ``student`` learns; None without distillation.

    Raises:
        UserError: its vocabulary differs from the student's.
    """
    folder = request.teacher
    if folder is None:
        return None
    teacher = same_model(lambda: load_model(folder), world)
    if teacher.config.vocab_size != student.vocab_size:
        raise UserError(
            f"the teacher {folder} has a vocabulary of {teacher.config.vocab_size}, the student one of "
            f"{student.vocab_size}; a student learns from the model that it was pruned from"
        )
    return teacher


def _starting_weights(request: TrainingRequest) -> CausalLM:
    seed = request.plan.init_seed
    if request.model is not None:
        return load_model(request.model)
    if request.checkpoint is not None:
        trained, head = load_model(request.checkpoint), request.redraw_linears_and_head is not None
        drawn = random_like(trained.config, shape_of(trained.config), seed)
        return with_linears_of(trained, drawn, head=head)
    shape = starting_shape(request)
    if request.like is not None:
        return random_like(read_config(request.like), shape, seed)
    model = random_model(shape, request.plan.sequence_length, seed, separator_of(request.tokenizer) or 0)
    return model if request.cut_like is None else cut_like(model, request.cut_like)
