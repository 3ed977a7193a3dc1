"""The user's own package-index settings, as pip reports them."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from unearth import PackageFinder

from pruning_vs_scratch.errors import UserError

SECTIONS = ("global", "install", "download", ":env:")
"""Sections of pip's settings that apply to a download; a later one overrides an earlier one."""
DEFAULT_TIMEOUT_SECONDS = 30.0
TRUE_WORDS = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class IndexSettings:
    """Where to look for packages, and how to connect."""

    index_urls: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    proxy: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS


def read_index_settings() -> IndexSettings:
    """Ask pip for its settings (files and environment) and keep those that say where packages come from.

    Raises:
        UserError: pip cannot be asked, or its settings leave no place to look in.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"`python -m pip config list` failed ({reason}): install pip, or mend its settings")
    return settings_from_listing(done.stdout)


def settings_from_listing(listing: str) -> IndexSettings:
    """Read the output of ``pip config list``: lines like ``global.index-url='...'``.

    Raises:
        UserError: the settings forbid every index and name no folder either.
    """
    options = _merged_options(listing)
    no_index = options.get("no-index", "").lower() in TRUE_WORDS
    settings = IndexSettings(
        index_urls=() if no_index else _index_urls(options),
        find_links=tuple(_existing_links(options.get("find-links", ""))),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        cert=options.get("cert") or None,
        proxy=options.get("proxy") or None,
        timeout_seconds=_timeout(options),
    )
    if not settings.index_urls and not settings.find_links:
        raise UserError(
            "pip's settings say no-index and name no find-links folder that exists: change them, "
            "or set PIP_FIND_LINKS to a folder that holds the file"
        )
    return settings


def redacted(location: str) -> str:
    """An index URL or folder without user name, password and query, fit for a message."""
    try:
        parts = urlsplit(location)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" if parts.scheme else location


def _merged_options(listing: str) -> dict[str, str]:
    sections: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        name, _, quoted = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in SECTIONS:
            sections.setdefault(section, {})[key] = str(ast.literal_eval(quoted))
    return {key: value for section in SECTIONS for key, value in sections.get(section, {}).items()}


def _index_urls(options: dict[str, str]) -> tuple[str, ...]:
    main = options.get("index-url") or PackageFinder().sources[0]["url"]  # pip's default too
    return (main, *options.get("extra-index-url", "").split())


def _existing_links(value: str) -> list[str]:
    # pip tolerates folders that do not exist: a shared configuration may list them for other machines.
    links = [link if "://" in link else str(Path(link).expanduser()) for link in value.split()]
    return [link for link in links if "://" in link or Path(link).exists()]


def _timeout(options: dict[str, str]) -> float:
    value = options.get("timeout") or options.get("default-timeout")
    return float(value) if value else DEFAULT_TIMEOUT_SECONDS
