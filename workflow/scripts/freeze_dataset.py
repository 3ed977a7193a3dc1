"""Fetch a data set of the Hugging Face hub, so that later steps read it without a network.

HF_HOME, HF_ENDPOINT and HF_TOKEN are respected.
"""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.data.hub import freeze
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dataset",
        type=cli.json_argument,
        required=True,
        help='JSON: {"dataset": OWNER/NAME, "config": NAME, "revision": COMMIT}',
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()
    dataset = HubDataset.from_option("--dataset", args.dataset)
    manifest = ManifestWriter("freeze_dataset", {"dataset": dataset.model_dump()})
    facts = freeze(dataset, args.out)
    manifest.write(args.manifest, {"dataset": args.out}, facts)


if __name__ == "__main__":
    cli.run(main)
