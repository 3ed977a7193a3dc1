"""ro-crate-metadata.json: the archive described as a Workflow Run RO-Crate."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from pruning_vs_scratch.archive.listing import Listing
from pruning_vs_scratch.artifacts import read_manifest
from pruning_vs_scratch.manifest import versions
from pruning_vs_scratch.study import Study

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.6": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.6": "Workflow Run Crate",
}
"""In addition to that of Workflow RO-Crate, which the library adds."""
PAPER = {
    "@id": "https://arxiv.org/abs/2606.14150",
    "@type": "ScholarlyArticle",
    "name": "Small LLMs: Pruning vs. Training from Scratch",
}
FORMATS = {
    ".csv": "text/csv", ".json": "application/json", ".md": "text/markdown", ".pdf": "application/pdf",
    ".png": "image/png", ".html": "text/html", ".yaml": "application/yaml", ".tex": "application/x-tex",
    ".parquet": "application/vnd.apache.parquet", ".py": "text/x-python", ".jsonl": "application/jsonl",
}  # fmt: skip


def crate_metadata(study: Study, listing: Listing) -> dict[str, Any]:
    """The metadata as JSON-LD: the workflow, its run, every file, and the run's inputs and outputs."""
    crate = ROCrate()
    crate.name = f"Study {study.name}: pruning against training from scratch"
    crate.description = (
        "Tables, scores of every item, ledger, manifests, configuration, figures and claims of one run of the "
        "reproducibility pipeline for 'Small LLMs: Pruning vs. Training from Scratch' (arXiv 2606.14150)."
    )
    crate.license = "https://spdx.org/licenses/MIT"
    finished = _finished(study)
    crate.datePublished = finished[-1]
    workflow = crate.add_workflow(
        "Snakefile", "Snakefile", main=True, lang="snakemake", lang_version=versions()["snakemake"],
        properties=_properties(listing, "Snakefile") | {"name": "Pruning vs. training from scratch"},
    )  # fmt: skip
    files = {
        name: crate.add_file(name, name, properties=_properties(listing, name))
        for name in listing.files
        if name != "Snakefile"
    }
    for address, name in PROFILES.items():
        profile = ContextEntity(crate, address, {"@type": ["CreativeWork", "Profile"], "name": name, "version": "0.6"})
        crate.root_dataset.append_to("conformsTo", crate.add(profile))
    crate.root_dataset["isBasedOn"] = crate.add_jsonld(dict(PAPER))
    config = study.paths.results / "config.yaml"
    made = [*_below(files, study.paths.results), *_below(files, study.paths.figures)]
    action = crate.add_action(
        workflow, f"#run-{study.name}", object=[files[config.as_posix()]], result=made,
        properties={
            "name": f"Run of study {study.name}", "startTime": finished[0], "endTime": finished[-1],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )  # fmt: skip
    crate.root_dataset["mentions"] = [action]
    metadata: dict[str, Any] = crate.metadata.generate()
    return metadata


def _properties(listing: Listing, name: str) -> dict[str, Any]:
    listed, suffix = listing.files[name], Path(name).suffix
    known = {"encodingFormat": FORMATS[suffix]} if suffix in FORMATS else {}
    return {"name": Path(name).name, "contentSize": str(listed.bytes), "sha256": listed.sha256, **known}


def _below(files: dict[str, Any], folder: Path) -> Iterable[Any]:
    return [
        file for name, file in files.items() if Path(name).is_relative_to(folder) and Path(name).name != "config.yaml"
    ]


def _finished(study: Study) -> list[str]:
    """When the runs finished, in order."""
    return sorted(read_manifest(study.paths.manifest(run))["finished"] for run in study.recorded_runs)
