"""Errors that are meant for the person who runs the study."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known word closest to a mistyped one, or list all of them, as the end of an error message."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(options)
