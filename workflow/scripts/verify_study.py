"""Check every artifact of a finished study against the manifest that its step wrote, and each step against the last.

Weights, text and scores are read and hashed whole.
"""

import argparse
import sys
import time
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.verification import Verification, refuse


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, action="append", default=[], help="overlay of config/config.yaml")
    args = parser.parse_args()
    study = Study(load_config([Path("config/config.yaml"), *args.configfile]).model_dump(mode="json"))
    if not (results := study.paths.results / "results.csv").exists():
        raise UserError(f"{results} is missing: run study {study.name} to its end first")
    start = time.monotonic()
    verification = Verification(study)
    refuse([*verification.missing(), *verification.altered(), *verification.broken_links()])
    outputs = [output for found in verification.manifests.values() for output in found.get("outputs", {}).values()]
    compared = [output["files"] for output in outputs if "files" in output]
    size = sum(fact["bytes"] for files in compared for fact in files.values())
    sys.stdout.write(
        f"study {study.name}: {len(compared)} artifacts of {len(verification.manifests)} steps are what was written, "
        f"each from what the step before it wrote ({size / 2**20:,.0f} MiB in {time.monotonic() - start:.1f} s)\n"
    )
    if len(compared) < len(outputs):
        sys.stdout.write(
            f"{len(outputs) - len(compared)} artifacts could not be compared: an earlier version wrote them, whose "
            "manifests list no files\n"
        )


if __name__ == "__main__":
    cli.run(main)
