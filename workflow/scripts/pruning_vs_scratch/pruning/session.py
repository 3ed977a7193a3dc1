"""Setting up a pruning step: device and threads, the checkpoint, the stream of calibration text."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from pruning_vs_scratch.files import sha256_of_value
from pruning_vs_scratch.manifest import source_hash
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.device import best_device
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.calibration_text import are_given_windows, calibration_windows, sequences_of
from pruning_vs_scratch.pruning.catalogue import facts_of
from pruning_vs_scratch.pruning.finished_losses import FinishedLosses
from pruning_vs_scratch.pruning.request import CalibratedRequest

GIB = 1 << 30


def open_model(request: CalibratedRequest) -> BlockwiseModel:
    """The checkpoint of a request on the best device, with its number of CPU threads."""
    if request.threads:
        torch.set_num_threads(request.threads)
    # A model whose masks are learned is also loaded for training; only its shape is used here.
    low_memory = request.low_memory or facts_of(request.method).learns_masks
    return BlockwiseModel.open(request.model, best_device(), low_memory=low_memory, precision=request.precision)


def calibration_stream(
    request: CalibratedRequest, model: BlockwiseModel, folder: Path, model_sha256: str
) -> CalibrationStream:
    """The stream of a request's text; hidden states that do not fit wait in a file in ``folder``.

    ``model_sha256`` is the checkpoint's hash, which identifies finished losses of candidates.
    """
    windows = calibration_windows(request, model.shape, model.config.max_position_embeddings)
    tokens = torch.from_numpy(windows.read(np.arange(sequences_of(request, windows))))
    whole, compared = are_given_windows(request.calibration), facts_of(request.method).candidates is not None
    finished = None
    if compared:
        read = {"model": model_sha256, "tokens": _hash(tokens), "whole": whole, "batch_size": request.batch_size}
        computed = [str(model.skeleton.dtype), model.device.type, torch.get_num_threads(), source_hash()]
        finished = FinishedLosses(request.losses, sha256_of_value([read, computed]))
    return CalibrationStream(
        model,
        tokens,
        request.batch_size,
        round(request.host_buffer_gib * GIB),
        folder,
        device_buffer_bytes=round(request.device_buffer_gib * GIB),
        whole=whole,
        compared=compared,
        finished=finished,
    )


def _hash(tokens: torch.Tensor) -> str:
    return hashlib.sha256(tokens.contiguous().numpy().tobytes()).hexdigest()
