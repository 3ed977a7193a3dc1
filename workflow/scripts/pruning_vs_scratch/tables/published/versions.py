"""The table of versions: Python and the packages that the numbers depend on."""

from pruning_vs_scratch.tables.provenance import COLUMNS
from pruning_vs_scratch.tables.published.stored import Published, Stored


def make(stored: Stored) -> Published:
    """One row per package and version, with the phases that used it."""
    wide = stored.provenance
    packages = [name for name in wide if name not in COLUMNS]
    long = wide.melt(id_vars="phase", value_vars=packages, var_name="package", value_name="version").dropna()
    phases = long.groupby(["package", "version"], sort=False)["phase"].agg(lambda names: list(dict.fromkeys(names)))
    everywhere = list(wide["phase"].unique())
    table = phases.map(lambda names: "all" if names == everywhere else ", ".join(names)).rename("phases").reset_index()
    return Published("Versions of Python and of the packages that the numbers depend on", table, table)
