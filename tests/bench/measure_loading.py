"""Host memory that loading a checkpoint takes beyond the mapped file: MODEL DEVICE DTYPE; prints JSON.

The device ``meta`` stands for a GPU: what is loaded onto it is not on the host, and has no values to look through.
"""

import json
import sys
import threading
from pathlib import Path
from unittest import mock

import torch

from pruning_vs_scratch.models.checkpoint import check_checkpoint, load_model

SECONDS_BETWEEN_LOOKS = 0.001


def main() -> None:
    """Entry point."""
    folder, device, dtype = Path(sys.argv[1]), torch.device(sys.argv[2]), getattr(torch, sys.argv[3])
    # What the libraries set up on first use is not the checkpoint's.
    check_checkpoint(folder)
    before, peaks, done = _own_bytes(), [0], threading.Event()

    def look() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            peaks[0] = max(peaks[0], _own_bytes())

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    with mock.patch.object(torch, "isfinite", _finite if device.type == "meta" else torch.isfinite):
        model = load_model(folder, device, dtype)
    held = _own_bytes()
    done.set()
    looker.join()
    dtypes = sorted({str(parameter.dtype) for parameter in model.parameters()})
    sys.stdout.write(json.dumps({"peak": max(peaks[0], held) - before, "held": held - before, "dtypes": dtypes}))


def _finite(_: torch.Tensor) -> torch.Tensor:
    return torch.tensor(True)


def _own_bytes() -> int:
    """Resident memory of this process alone: pages of a mapped file are the system's, which takes them back."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(kibibytes) * 1024


if __name__ == "__main__":
    main()
