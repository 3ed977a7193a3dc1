"""What every entry point shares: clear errors, an exit code, and paths without their machine."""

import argparse
import errno
import gc
import logging
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pruning_vs_scratch.errors import Interrupted, PeerLost, UserError
from pruning_vs_scratch.strict_json import read_strictly
from pruning_vs_scratch.units import TOKEN_UNITS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
REPOSITORY = Path(__file__).resolve().parents[3]
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write that meets the end of the disk, of a quota, or of a limit on the size of a file."""
TOKEN_COUNT = re.compile(
    r"(?P<number>(?:\d{1,15}|\d{1,3}(?:,\d{3}){1,4})(?:\.\d{1,9})?(?:[eE]\+?\d{1,2})?) ?(?P<unit>[kmbt]?)",
    re.IGNORECASE,
)


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and leave Python.

    A UserError or a full disk becomes one readable message and exit code 1. A run that was stopped and can be
    continued, and one that lost another of its processes, end with codes of their own.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "httpx2"):  # they log every address, which may hold a token
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except (Interrupted, PeerLost) as stop:
        sys.stderr.write(f"{stop}\n")
        sys.exit(stop.EXIT_CODE)
    except RuntimeError as error:
        # By its name, because this module does not import torch.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.exit(f"error: the GPU is out of memory: lower the batch size or micro batch size ({error})")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        sys.exit(f"error: {error.strerror}: free some space, then run again")
    finally:
        # The interpreter's last garbage collection walks all of torch and transformers: 1.7 s a job, for nothing.
        gc.freeze()


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps progress away."""
    parser.add_argument("--quiet", action="store_true", help="print errors, warnings and the result only, no progress")


def be_quiet() -> None:
    """Show no progress: no messages of level INFO, nor bars of libraries that are imported after this."""
    logging.getLogger().setLevel(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"


def require_project_folder() -> None:
    """Refuse another working folder than the project's, under which a workflow looks for its files.

    Raises:
        UserError: names both folders.
    """
    if not _in_project_folder():
        raise UserError(
            f"the working folder is {Path.cwd()}, under which there is no config/config.yaml or workflow/scripts of "
            f"this project: run Snakemake in the project's folder, {REPOSITORY}"
        )


def refuse_elsewhere(missing: Path) -> None:
    """Refuse a relative path that is missing because the command was called in another folder than the project's.

    Raises:
        UserError: names both folders.
    """
    if not missing.is_absolute() and not _in_project_folder():
        raise UserError(
            f"{missing} is not under the working folder, {Path.cwd()}: run the command in the project's folder, "
            f"{REPOSITORY}"
        )


def _in_project_folder() -> bool:
    scripts = Path("workflow/scripts")
    return Path("config/config.yaml").exists() and scripts.exists() and scripts.samefile(REPOSITORY / scripts)


def request_of(kind: type[R], args: argparse.Namespace, **given: Any) -> R:
    """A frozen request of parsed options, by their names and what is given besides; lists become tuples."""
    values = {field.name: getattr(args, field.name) for field in fields(kind) if field.name not in given}
    return kind(**given, **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def json_argument(text: str) -> Any:
    """An option's value that is JSON text, or the path of a JSON file (argparse ``type``)."""
    try:
        return read_strictly(text if text.lstrip().startswith(("{", "[")) else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"neither JSON nor a readable JSON file: {error}") from error


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """Add the option that gives a study's corpora."""
    parser.add_argument(
        "--corpus", type=json_argument, required=True, help="the corpus section of a configuration: JSON text or a file"
    )


def add_part(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a part of the training text is."""
    parser.add_argument("--part", type=Path, required=True, help="folder of the part, next to its manifest")
    parser.add_argument("--files", nargs="+", required=True, help="its files, in order")
    parser.add_argument("--text-key", default="text", help="key or column of the text (default: text)")
    parser.add_argument(
        "--broken-lines", type=number, default=0, help="share of a file's lines that may hold no document (default: 0)"
    )


def add_fetched(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where sources were downloaded to."""
    parser.add_argument(
        "--fetched", type=named_path, action="append", default=[], metavar="NAME=PATH",
        help="downloaded file of a package source, or frozen folder of a hub source; repeat it for each",
    )  # fmt: skip


def positive_integer(text: str) -> int:
    """An option's value that is a whole number above 0 (argparse ``type``)."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def token_count(text: str) -> int:
    """An option's value that is a number of tokens, in one of the forms that people write (argparse ``type``)."""
    found = TOKEN_COUNT.fullmatch(text.strip())
    tokens = Decimal(0)
    if found:
        unit = {suffix.lower(): size for size, suffix in TOKEN_UNITS}.get(found["unit"].lower(), 1)
        tokens = Decimal(found["number"].replace(",", "")) * unit
    if tokens != int(tokens) or tokens <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number of tokens above 0: write it as 131072, 131,072, 1e9 or 50B "
            f"(units: {', '.join(suffix for _, suffix in reversed(TOKEN_UNITS))})"
        )
    return int(tokens)


def share(text: str) -> float:
    """An option's value between 0 and 1, both excluded (argparse ``type``)."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.5")
    return value


def number(text: str) -> float:
    """An option's value that is any number (argparse ``type``)."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error


def positive_number(text: str) -> float:
    """An option's value that is a number above 0 (argparse ``type``)."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _number(text: str) -> float:
    """The number that a text says, else NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def named_path(text: str) -> tuple[str, Path]:
    """An option's value of the form NAME=PATH (argparse ``type``)."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=PATH")
    return name, Path(path)


def relative_name(path: Path) -> str:
    """A path as it may appear in an output: relative to the repository or to the working folder, else its name.

    A linked folder within them keeps its place: where it leads to is the machine's own.
    """
    absolute, resolved = Path(path).absolute(), Path(path).resolve()
    for place in (resolved if ".." in absolute.parts else absolute, resolved):
        for base in (Path.cwd().resolve(), REPOSITORY):
            if place.is_relative_to(base):
                return str(place.relative_to(base))
    return resolved.name
