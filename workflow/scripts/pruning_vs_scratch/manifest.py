"""The record that every step writes next to its outputs, last and atomically.

A manifest names the step's inputs and outputs with their hashes, its options, the tokens it read, the versions
and the hardware it ran on, its seconds and its peak memory. It holds no secret and no absolute path.
"""

import functools
import os
import platform
import resource
import sys
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pruning_vs_scratch.artifacts import SCHEMA, require_as_written, sealed
from pruning_vs_scratch.cli import relative_name
from pruning_vs_scratch.files import file_facts, sha256_of_facts, sha256_of_file, sha256_of_value, write_json

RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "lm-eval",
    "gguf",
    "datasets",
    "snakemake",
)


class ManifestWriter:
    """Collects what a step did; ``write`` puts it next to the outputs.

    ``packages`` are distributions that the step's results depend on beyond those that all steps share.
    """

    def __init__(self, step: str, options: dict[str, Any], packages: Collection[str] = ()) -> None:
        self.step = step
        self.options = options
        self._packages = packages
        self.inputs: dict[str, str] = {}
        self._input_paths: dict[str, str] = {}
        self._start = time.monotonic()

    def add_input(self, name: str, path: Path) -> str:
        """Record an input's hash under a name and return it.

        Raises:
            UserError: it is missing, or is not what its own manifest says.
        """
        facts = file_facts(path)
        require_as_written(path, facts)
        self._input_paths[name] = relative_name(path)
        self.inputs[name] = sha256_of_facts(facts)
        return self.inputs[name]

    def add_files(self, name: str, folder: Path, files: Iterable[str]) -> None:
        """Record the hash of some files of a folder, and of their names, under a name."""
        self.inputs[name] = sha256_of_value({file: sha256_of_file(folder / file) for file in files})

    def write(self, path: Path, outputs: dict[str, Path], facts: dict[str, Any]) -> None:
        """Write the manifest; ``facts`` are the step's own results (token counts, shapes, ...)."""
        manifest = {
            "schema": SCHEMA,
            "step": self.step,
            "options": self.options,
            "inputs": self.inputs,
            "input_paths": self._input_paths,
            "outputs": {name: _output(path) for name, path in outputs.items()},
            "facts": facts,
            "source_hash": source_hash(),
            "versions": versions(self._packages),
            "hardware": hardware(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._start, 3),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(path, sealed(manifest))


@functools.cache
def source_hash() -> str:
    """Hash of this package and the entry points: two results with one source hash came from the same code."""
    scripts = Path(__file__).parents[1]
    return sha256_of_value({str(f.relative_to(scripts)): sha256_of_file(f) for f in scripts.rglob("*.py")})


def versions(further: Collection[str] = ()) -> dict[str, str]:
    """Versions of Python, of the packages that results depend on, and of further ones that a step used."""
    found = {"python": platform.python_version()}
    for package in (*RECORDED_PACKAGES, *further):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores and accelerators, without the machine's name."""
    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "processor": _processor(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        facts["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def peak_memory_bytes() -> int:
    """Peak resident memory of this process (Linux counts it in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _output(path: Path) -> dict[str, Any]:
    facts = file_facts(path)
    return {"path": relative_name(path), "sha256": sha256_of_facts(facts), "files": facts}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
