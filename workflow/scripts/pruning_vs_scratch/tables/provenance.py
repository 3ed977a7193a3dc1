"""Origin of a study's numbers: code, hardware, versions, time and memory of each phase."""

import pandas as pd

from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.tables.times import COLUMNS as TIMES
from pruning_vs_scratch.tables.times import Manifest, phase_manifests, times_row

HARDWARE = ("machine", "processor", "cores", "cpu_capability", "gpus")
"""Hardware facts that are kept; the number of threads is a setting of the study."""
COLUMNS = (*TIMES, "source_hash", *HARDWARE)
"""The columns before the version columns (one per package)."""


def provenance_table(study: Study) -> pd.DataFrame:
    """One row per phase and environment (COLUMNS, and one version per package), in the order of the pipeline.

    An environment is the code, the hardware and the versions: a phase whose jobs ran in several has several rows.
    """
    rows = [
        times_row(phase, alike) | _environment(alike[0])
        for phase, manifests in phase_manifests(study).items()
        for alike in _by_environment(manifests)
    ]
    packages = sorted({name for row in rows for name in row} - set(COLUMNS), key=lambda name: (name != "python", name))
    return pd.DataFrame(rows, columns=[*COLUMNS, *packages])


def mixed_sources(provenance: pd.DataFrame) -> str | None:
    """A warning when a study's models were made or scored by different versions of this code; of its provenance_table.

    Text does not count: the ledger has its hashes.
    """
    made = provenance[~provenance["phase"].isin(("download", "text"))]
    counts = made.groupby("source_hash", sort=False)["jobs"].sum()
    if len(counts) <= 1:
        return None
    listed = ", ".join(f"{count} jobs by {str(source)[:12]}" for source, count in counts.items())
    return f"warning: the study mixes results of different code ({listed}); delete the older ones to make it uniform"


def _by_environment(manifests: list[Manifest]) -> list[list[Manifest]]:
    found: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        found.setdefault(canonical_json(_environment(manifest)), []).append(manifest)
    return list(found.values())


def _environment(manifest: Manifest) -> dict[str, str | int | None]:
    hardware = manifest["hardware"] | {"gpus": _counted(manifest["hardware"].get("gpus", []))}
    kept = {name: hardware.get(name) for name in HARDWARE}
    return {"source_hash": manifest["source_hash"], **kept, **manifest["versions"]}


def _counted(gpus: list[str]) -> str | None:
    """'2 x NVIDIA H100', or nothing."""
    return ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)) or None
