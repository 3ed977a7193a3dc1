"""Fetch some files of a data set of the Hugging Face hub, as they are; a download that was cut is gone on with.

HF_ENDPOINT and HF_TOKEN are respected.
"""

import argparse
import os
import shutil
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.files import atomic_directory
from pruning_vs_scratch.hub_files import Repository, described, fetch_all
from pruning_vs_scratch.locks import exclusive
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, metavar="OWNER/NAME", help="data set on the hub")
    parser.add_argument("--revision", required=True, help="its commit: 40 hexadecimal digits")
    parser.add_argument("--files", nargs="+", required=True, help="names of files in it")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    options = {"dataset": args.dataset, "revision": args.revision, "files": args.files}
    manifest = ManifestWriter("acquire_part", options)
    repository = Repository("dataset", args.dataset, args.revision)
    partial = args.out.with_name(f"{args.out.name}.partial")
    with exclusive(partial), atomic_directory(args.out) as temporary:  # studies share it
        fetch_all(repository, described(repository, args.files).values(), partial)
        for name in args.files:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial / name, temporary / name)
        shutil.rmtree(partial)
    manifest.write(args.manifest, {"part": args.out}, {})


if __name__ == "__main__":
    cli.run(main)
