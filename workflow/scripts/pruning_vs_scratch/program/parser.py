"""A parser of command lines that answers a mistyped word with the nearest one, and does not list all others first."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from pruning_vs_scratch.errors import nearest

VERB = "VERB"
"""How help calls the first word."""


class Parser(argparse.ArgumentParser):
    """argparse's, with messages of its own."""

    def error(self, message: str) -> NoReturn:
        """End with a message and the command that shows help."""
        self.exit(2, f"error: {message}\nhelp: {self.prog} --help\n")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parse a command line; the parser of a verb refuses what is unknown to it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return found, unknown

    def _refuse(self, word: str) -> NoReturn:
        option = word.partition("=")[0]
        if not word.startswith("-"):
            self.error(f"{word!r} is one word too many")
        self.error(f"unknown option {option}; {nearest(option, self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not among the choices of an option, or no verb."""
        if action.choices is None or value in action.choices:
            return
        hint = nearest(str(value), action.choices)
        if action.metavar == VERB:
            raise argparse.ArgumentError(None, f"unknown verb {value!r}; {hint}")
        raise argparse.ArgumentError(action, f"{value!r} is not valid; {hint}")
