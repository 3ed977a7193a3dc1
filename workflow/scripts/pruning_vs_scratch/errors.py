"""Errors that are meant for the person who runs the study."""

import difflib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what to do."""


class Unfinished(UserError):
    """A file that a finished study has is missing. ``names`` are those by which a command named the study."""

    def __init__(self, study: str, missing: Path, names: Sequence[str] = ()) -> None:
        command = shlex.join(["pvs", "run", *(names or [study])])
        super().__init__(f"study {study} is not finished: {missing} is missing; run '{command}' first")


class Diverged(UserError):
    """A loss or gradient that is not finite."""


class Interrupted(Exception):
    """A run stopped because it was asked to; its state is saved, and the same command continues it."""

    EXIT_CODE = 75
    """EX_TEMPFAIL of sysexits.h: nothing is wrong, try again."""


class PeerLost(Exception):
    """Another process of this run ended, so this one had to; what that one says is the reason."""

    EXIT_CODE = 74
    """EX_IOERR of sysexits.h."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known word closest to a mistyped one, or list all of them, as the end of an error message."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(options)


def no_such_path(option: str, path: Path) -> UserError:
    """An option names a file or folder that does not exist; a model of the hub is not one."""
    like_a_hub_name = len(path.parts) == 2 and not Path(path.parts[0]).exists()
    hint = "; a local folder is needed: docs/parents.md says how to get a model from the hub" if like_a_hub_name else ""
    return UserError(f"{option} {path} does not exist{hint}")


def nearest_of_all(word: str, known: Iterable[str]) -> str:
    """The same with all known words in any case, in their order."""
    listed = list(known)
    close = nearest(word, listed)
    return f"{close} There are: {', '.join(listed)}" if close.endswith("?") else f"there are: {', '.join(listed)}"
