"""Files of a repository on the Hugging Face hub: one commit, file by file, each going on where it was cut.

HF_ENDPOINT names a mirror, and HF_TOKEN a token that is sent and never written. The library's own download begins a
file anew after a kill; this one keeps what came.
"""

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import refuse_difference, require_space, sha256_of_file

log = logging.getLogger(__name__)

FAILURES = (httpx2.HTTPError, OSError, ValueError)
"""What the library raises where it cannot get a file."""


@dataclass(frozen=True)
class Repository:
    """A model or a data set at one commit."""

    kind: Literal["model", "dataset"]
    name: str
    revision: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Pinned hashes by file, for mirrors that say none."""

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name} at revision {self.revision}"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it."""

    name: str
    size: int | None
    sha256: str | None
    """Of a large file."""
    git_sha1: str | None
    """Of a small one: the hash that git has of it."""


def listed(repository: Repository) -> dict[str, RemoteFile]:
    """All files of a model, by name.

    Raises:
        UserError: the repository or the revision cannot be had.
    """
    try:
        info = _api().model_info(repository.name, revision=repository.revision, files_metadata=True)
    except FAILURES as error:
        raise UserError(_unavailable(repository, error)) from error
    if info.sha != repository.revision:
        raise UserError(f"cannot get {repository.label}: the hub answered with revision {info.sha}")
    return {file.rfilename: _remote(file.rfilename, file) for file in info.siblings or []}


def described(repository: Repository, names: Collection[str]) -> dict[str, RemoteFile]:
    """Files of a repository that are known by name.

    Raises:
        UserError: the repository, the revision or one of the files is not there.
    """
    try:
        entries = _api().get_paths_info(
            repository.name, list(names), revision=repository.revision, repo_type=repository.kind
        )
    except FAILURES as error:
        raise UserError(_unavailable(repository, error)) from error
    found = {entry.path: _remote(entry.path, entry) for entry in entries if isinstance(entry, RepoFile)}
    if missing := sorted(set(names) - set(found)):
        raise UserError(f"{repository.label} has no file {missing[0]}: correct its name")
    return found


def fetch_all(repository: Repository, files: Iterable[RemoteFile], folder: Path) -> None:
    """Complete a folder: files that are there are kept, those that are there in part are gone on with.

    Raises:
        UserError: a file cannot be had, a hash differs, or the disk is too small.
    """
    missing = [file for file in files if not (folder / file.name).exists()]
    partials = [_partial(folder / file.name) for file in missing]
    there = sum(partial.stat().st_size for partial in partials if partial.exists())
    require_space(folder, sum(file.size or 0 for file in missing) - there, repository.label)
    for file in missing:
        _fetch(repository, file, folder / file.name)


def _api() -> HfApi:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs addresses, which may be signed
    disable_progress_bars()
    return HfApi()


def _remote(name: str, entry: Any) -> RemoteFile:
    return RemoteFile(name, entry.size, entry.lfs.sha256 if entry.lfs is not None else None, entry.blob_id)


def _fetch(repository: Repository, file: RemoteFile, out: Path) -> None:
    """Append what is missing of a file, check its hash, and give it its name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(repository.name, file.name, revision=repository.revision, repo_type=repository.kind)
    partial = _partial(out)
    with partial.open("ab") as stream:
        if stream.tell() > (file.size or 0):  # of another file, or a mirror says no sizes
            stream.truncate(0)
            stream.seek(0)
        log.info("downloading %s from byte %d of %s", file.name, stream.tell(), file.size or "unknown")
        try:
            http_get(url, stream, resume_size=stream.tell(), headers=build_hf_headers(), expected_size=file.size)
        except FAILURES as error:
            raise UserError(_unavailable(repository, error)) from error
    expected, found = _hashes(partial, file, repository)
    refuse_difference(partial, file.name, expected, found, repository.label)
    os.replace(partial, out)


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _hashes(path: Path, file: RemoteFile, repository: Repository) -> tuple[str, str]:
    """The hash that the hub has of a file, and that of what came: SHA-256 of a large one, git's own of a small one.

    Raises:
        UserError: the hub, or the mirror, has neither, and the configuration none either.
    """
    if file.sha256 is not None:
        return file.sha256, sha256_of_file(path)
    if file.git_sha1 is not None:
        content = path.read_bytes()
        return file.git_sha1, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if file.name in repository.sha256:
        return repository.sha256[file.name], sha256_of_file(path)
    is_model = repository.kind == "model"
    remedy = "give it under parent.sha256" if is_model else "take the hub itself, or a mirror that says them"
    raise UserError(f"the hub says no hash of {file.name} of {repository.label}: {remedy}")


def _unavailable(repository: Repository, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"{repository.name} is gated: accept its terms on its page on the hub with your account, wait until "
            "access is granted, and export HF_TOKEN with a token of that account that may read it"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repository.name} has no revision {repository.revision}: copy the commit from its page on the hub"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the hub knows no repository {repository.name}, or does not show it to you: check the name; a private "
            "or gated one needs HF_TOKEN (export it) of an account that may read it"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    offline = "HF_HUB_OFFLINE is set: unset it where there is a network. " if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"cannot get {repository.label}: {said}. {offline}Check the network and HF_ENDPOINT (a mirror), then run "
        "again: what came so far is kept"
    )
