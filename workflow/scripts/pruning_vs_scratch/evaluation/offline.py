"""Evaluation reads frozen data only: no network, and no files other than the study's."""

import os
import sys
from pathlib import Path
from typing import Any

HOSTS_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
EVENTS = ("socket.connect", "socket.getaddrinfo")


def work_offline(home: Path) -> None:
    """Let the libraries of Hugging Face read ``home`` alone. Call it before they are imported."""
    os.environ |= {
        "HF_HOME": str(home),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        # It tells where the cache is, and no output is to hold a path of this machine.
        "DATASETS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "LMEVAL_LOG_LEVEL": "WARNING",
    }


def refuse_network() -> list[str]:
    """From now on, no Python code of this process reaches another machine; returns the list of what was refused.

    Refusing alone would not show that nothing was tried: libraries swallow such errors.
    """
    refused: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS:
            return
        host = _host(event, arguments)
        if host is not None and host not in HOSTS_OF_THIS_MACHINE:
            refused.append(host)
            raise ConnectionRefusedError(f"evaluation reads frozen data only, and something asked for {host}")

    sys.addaudithook(watch)
    return refused


def _host(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The machine that is asked for; None for this one, or for a socket that is a file."""
    address = arguments[:1] if event == "socket.getaddrinfo" else arguments[1]
    return str(address[0]) if isinstance(address, tuple) and address[0] else None
