"""Say whether a study can run on this cluster with `snakemake --profile slurm`, and if not, what to do."""

import argparse
import sys
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.preflight import require_ready
from pruning_vs_scratch.cluster.site import read_site
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.study import Study


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, action="append", default=[], help="overlay of config/config.yaml")
    args = parser.parse_args()
    study = Study(load_config([Path("config/config.yaml"), *args.configfile]).model_dump(mode="json"))
    allocation = Allocation(study, read_site())
    unseen = require_ready(allocation)
    sys.stdout.writelines(f"{request}\n" for request in allocation.requests)
    sys.stdout.writelines(f"no node for {kind} jobs was free: not looked at from there\n" for kind in unseen)
    sys.stdout.write(f"the cluster is ready for study {study.name}\n")


if __name__ == "__main__":
    cli.run(main)
