"""One scoring step, from its inputs to a file of scores and a manifest."""

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file
from pruning_vs_scratch.manifest import ManifestWriter
from pruning_vs_scratch.pruning import catalogue
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.goal import named_shape
from pruning_vs_scratch.pruning.method import options_of
from pruning_vs_scratch.pruning.request import ScoringRequest
from pruning_vs_scratch.pruning.scores import TextRead, score, write_scores
from pruning_vs_scratch.pruning.session import calibration_stream, open_model
from pruning_vs_scratch.study import ModelShape


def score_and_record(request: ScoringRequest) -> None:
    """Score a checkpoint, and write scores and manifest.

    Raises:
        UserError: the scores depend on a shape and none is given, or the text or options do not allow it.
    """
    manifest = ManifestWriter("score", request.options_recorded, catalogue.packages_of(request.method))
    model_sha256 = manifest.add_input("model", request.model)
    for name, path in request.texts.items():
        manifest.add_input(name, path)
    options = options_of(request.method, request.options)
    model = open_model(request)
    shapes = _shapes(request, model.shape)
    stream = calibration_stream(request, model, request.out.parent, model_sha256)
    scores = score(stream, request.method, shapes, options)
    text = TextRead.by(stream)
    with atomic_file(request.out) as temporary:
        write_scores(scores, request.method, options, text, temporary, model_sha256)
    manifest.write(request.manifest, {"scores": request.out}, {"tokens": text.tokens, "flops": text.flops})
    request.losses.unlink(missing_ok=True)


def _shapes(request: ScoringRequest, parent: ModelShape) -> list[ModelShape]:
    """All shapes that will be needed."""
    shapes = [ModelShape.from_dict(shape) for shape in request.shapes]
    if request.shape is not None:
        shapes.append(named_shape(request.shape, parent))
    if not shapes and facts_of(request.method).needs_goals:
        raise UserError(f"the scores of {request.method} depend on what will be asked for: give --shape")
    return shapes
