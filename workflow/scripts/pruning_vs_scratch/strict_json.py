"""JSON without duplicate keys: Python's own reader silently takes the last of several."""

import json
from typing import Any


def read_strictly(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: it is not JSON, or an object lists a key twice.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_once_each)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in values if keys.count(key) > 1)
        raise ValueError(f"the key {twice} is listed twice; keep one of them")
    return values
