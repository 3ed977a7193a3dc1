"""A checkpoint of the Hugging Face hub: one commit, file by file, each going on where it was cut.

HF_ENDPOINT names a mirror, and HF_TOKEN a token that is sent and never written. The library's own download begins a
file anew after a kill; this one keeps what came.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from pruning_vs_scratch.config.checkpoint import HubCheckpoint
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import INDEX_FILE, sha256_of_file
from pruning_vs_scratch.parents.files import refuse_difference, require_space, shards_of, small_files, weight_entry
from pruning_vs_scratch.study.checkpoints import Content

log = logging.getLogger(__name__)

FAILURES = (httpx2.HTTPError, OSError, ValueError)
"""What the library raises where it cannot get a file."""


def download(source: HubCheckpoint, content: Content, folder: Path) -> list[str]:
    """Complete a folder with the files of a checkpoint, and return their names.

    Files that are there and right are kept, those that are there in part are gone on with.

    Raises:
        UserError: the repository, the revision or a file cannot be had, a hash differs, or the disk is too small.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs addresses, which may be signed
    disable_progress_bars()
    files = _listed(source)
    names = small_files(files, content, source.label)
    if content == "model":
        entry = weight_entry(files, source.label)
        if entry == INDEX_FILE:
            _fetch_all(source, files, [entry], folder)
            names += [entry, *shards_of(folder / entry, files, source.label)]
        else:
            names.append(entry)
    _fetch_all(source, files, names, folder)
    return names


def _listed(source: HubCheckpoint) -> dict[str, Any]:
    """The files of a commit by name, with sizes and hashes."""
    try:
        info = HfApi().model_info(source.repository, revision=source.revision, files_metadata=True)
    except FAILURES as error:
        raise UserError(_unavailable(source, error)) from error
    if info.sha != source.revision:
        raise UserError(f"cannot get {source.label}: the hub answered with revision {info.sha}")
    return {file.rfilename: file for file in info.siblings or []}


def _fetch_all(source: HubCheckpoint, files: dict[str, Any], names: list[str], folder: Path) -> None:
    missing = [name for name in names if not (folder / name).exists()]
    partials = [_partial(folder / name) for name in missing]
    there = sum(partial.stat().st_size for partial in partials if partial.exists())
    require_space(folder, sum(files[name].size or 0 for name in missing) - there, source.label)
    for name in missing:
        _fetch(source, files[name], folder / name)


def _fetch(source: HubCheckpoint, file: Any, out: Path) -> None:
    """Append what is missing of a file, check its hash, and give it its name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, url = _partial(out), hf_hub_url(source.repository, file.rfilename, revision=source.revision)
    with partial.open("ab") as stream:
        if stream.tell() > (file.size or 0):  # of another file, or a mirror says no sizes
            stream.truncate(0)
            stream.seek(0)
        log.info("downloading %s from byte %d of %s", file.rfilename, stream.tell(), file.size or "unknown")
        try:
            http_get(url, stream, resume_size=stream.tell(), headers=build_hf_headers(), expected_size=file.size)
        except FAILURES as error:
            raise UserError(_unavailable(source, error)) from error
    expected, found = _hashes(partial, file, source)
    refuse_difference(partial, out.name, expected, found, source.label)
    os.replace(partial, out)


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _hashes(path: Path, file: Any, source: HubCheckpoint) -> tuple[str, str]:
    """The hash that the hub has of a file, and that of what came: SHA-256 of a large one, git's own of a small one.

    Raises:
        UserError: the hub, or the mirror, has neither, and the configuration none either.
    """
    if file.lfs is not None:
        return file.lfs.sha256, sha256_of_file(path)
    if file.blob_id is not None:
        content = path.read_bytes()
        return file.blob_id, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if file.rfilename in source.sha256:
        return source.sha256[file.rfilename], sha256_of_file(path)
    raise UserError(f"the hub says no hash of {file.rfilename} of {source.label}: give it under parent.sha256")


def _unavailable(source: HubCheckpoint, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"{source.repository} is gated: accept its terms on its page on the hub with your account, wait until "
            "access is granted, and export HF_TOKEN with a token of that account that may read it"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{source.repository} has no revision {source.revision}: copy the commit from its page on the hub"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the hub knows no repository {source.repository}, or does not show it to you: check the name; a private "
            "or gated one needs HF_TOKEN (export it) of an account that may read it"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    offline = "HF_HUB_OFFLINE is set: unset it where there is a network. " if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"cannot get {source.label}: {said}. {offline}Check the network and HF_ENDPOINT (a mirror), then run again: "
        "what came so far is kept"
    )
