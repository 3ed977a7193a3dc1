"""Peak memory of a process, measured so that it repeats."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

STEADY_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Freed tensors go back to the system at once: with glibc's own threshold the peak varies by tens of megabytes."""


def printed_by(*arguments: str | Path) -> Any:
    """What Python, started with arguments and a steady allocator, prints as JSON."""
    command = [sys.executable, *arguments]
    return json.loads(
        subprocess.run(command, env=os.environ | STEADY_ALLOCATOR, check=True, capture_output=True).stdout
    )
