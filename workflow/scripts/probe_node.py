"""Look at the project from a compute node, for `pvs check --cluster`: a line per problem, none if all is well."""

import argparse
import fcntl
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from pruning_vs_scratch import cli

MODULES = ("torch", "transformers", "snakemake_executor_plugin_slurm_jobstep")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("held", type=Path, help="a file that the login node has locked")
    parser.add_argument("--gpu", action="store_true", help="look for a GPU, too")
    args = parser.parse_args()
    sys.stdout.writelines(f"{problem}\n" for problem in _problems(args.held, args.gpu))


def _problems(held: Path, gpu: bool) -> Iterator[str]:
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield f"Python cannot import {name} ({error}): pip install -c requirements.lock -e '.[slurm]'"
            return
    if not _is_locked(held):
        yield "locks do not hold between machines: never let two jobs of a run be in the queue, see docs/hpc.md"
    import torch

    if gpu and not torch.cuda.is_available():
        yield "torch sees no GPU: install its CUDA build, or look at the driver with nvidia-smi"


def _is_locked(path: Path) -> bool:
    with path.open("r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


if __name__ == "__main__":
    cli.run(main)
