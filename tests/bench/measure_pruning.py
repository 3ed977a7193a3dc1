"""Seconds and peak memory of one method, ours or the reference, in a separate process; prints JSON."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import references
import torch

from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
from pruning_vs_scratch.pruning.method import PruningSpec, SparseMethod
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import structured_blocks
from pruning_vs_scratch.study import ModelShape, Target

BATCH = 8
BUFFER_BYTES = 1 << 26


def goal_of(parent: ModelShape, method: str, ratio: float) -> ModelShape:
    """The same target as the reference's."""
    if method == "minitron_depth":
        return replace(parent, layers=parent.layers - round(parent.layers * ratio))
    if method == "minitron_width":
        hidden, ffn = (references.kept_channels(size, ratio) for size in (parent.hidden_size, parent.ffn_size))
        return replace(parent, hidden_size=hidden, ffn_size=ffn)
    return parent


def ours(folder: Path, windows: torch.Tensor, method: str, ratio: float) -> None:
    """Score and prune block by block, as prune.py --low-memory does, without writing."""
    model = BlockwiseModel.open(folder, torch.device("cpu"), low_memory=True)
    goal, options = goal_of(model.shape, method, ratio), facts_of(method).options()
    implementation = implementation_of(method)
    target = Target(method, facts_of(method).granularity, ratio, "unstructured", goal, method)
    spec = PruningSpec(target, options, seed=0)
    stream = CalibrationStream(model, windows, BATCH, BUFFER_BYTES, folder)
    if isinstance(implementation, SparseMethod):
        blocks = sparse_blocks(model, implementation, spec, stream)
    else:
        scores = implementation.score(stream, [goal], options)
        blocks = structured_blocks(model, implementation.keep(scores, model.shape, spec))
    for _ in blocks:
        pass


def main() -> None:
    """Entry point: SIDE METHOD CHECKPOINT WINDOWS RATIO THREADS."""
    side, method, folder, windows_file, ratio, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    windows = torch.from_numpy(np.load(windows_file))
    torch.linalg.cholesky(torch.eye(4) @ torch.eye(4))  # loads the libraries that all need
    before, start = peak_bytes(), time.perf_counter()
    if side == "ours":
        ours(Path(folder), windows, method, float(ratio))
    else:
        with torch.no_grad():
            getattr(references, method)(references.load(folder), windows, float(ratio))
    seconds = time.perf_counter() - start
    sys.stdout.write(json.dumps({"seconds": seconds, "megabytes": (peak_bytes() - before) / 1e6}))


def peak_bytes() -> int:
    """Peak resident memory of this program; getrusage would count what its parent process held before."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    main()
