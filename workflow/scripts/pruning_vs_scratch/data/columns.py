"""Text in columns of Arrow tables, which may have any type and any bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

from pruning_vs_scratch.errors import UserError


def require_text_column(schema: Any, key: str, place: str) -> None:
    """Refuse a table without a column of text: strings or their bytes, plain or dictionary-encoded.

    Raises:
        UserError: names the place, and the existing columns, how many have the name, or the column's type.
    """
    from pyarrow import types

    if key not in schema.names:
        raise UserError(f"{place} has no column {key!r}; it has {', '.join(schema.names)}")
    if (found := schema.names.count(key)) > 1:
        raise UserError(f"{place} has {found} columns {key!r}: name another as text_key, or write the file again")
    kind = schema.field(key).type
    values = kind.value_type if types.is_dictionary(kind) else kind
    kinds = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary,
        types.is_binary_view, types.is_null,
    )  # fmt: skip
    if not any(is_kind(values) for is_kind in kinds):
        raise UserError(f"{place}: the column {key!r} holds {kind}, not text: name another column as text_key")


def rows_of(columns: Iterable[Any]) -> Iterator[bytes | None]:
    """The bytes of each row of text columns; None for a row without text."""
    import pyarrow as pa

    for column in columns:
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        # Not as strings: reading one that is not UTF-8 fails, and with it all rows of its batch.
        yield from plain.cast(pa.large_binary()).to_pylist()


def text_of_row(value: bytes, place: str) -> str:
    """The text of a row's bytes.

    Raises:
        UserError: they are not UTF-8.
    """
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text (byte {error.start}); mend or remove the row") from error
