"""What pydantic finds wrong with given values, in terms of the file that a person wrote."""

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pruning_vs_scratch.errors import nearest

LONGEST_SHOWN = 200
"""Characters of an invalid value shown in a message."""
EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt:.12g}",
    "greater_than_equal": "at least {ge:.12g}",
    "less_than": "less than {lt:.12g}",
    "less_than_equal": "at most {le:.12g}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "{form}",
}
"""What is expected, by pydantic's kind of error."""
FORMS = {
    r"^[a-z][a-z0-9_]*$": "lower-case letters, digits and _, beginning with a letter",
    r"^[a-z][a-z0-9_-]*$": "lower-case letters, digits, - and _, beginning with a letter",
    r"^[a-z0-9][a-z0-9_-]*$": "lower-case letters, digits, - and _",
    r"^[0-9a-f]{64}$": "a SHA-256 hash of 64 digits",
    r"^[0-9a-f]{40}$": "a commit's hash of 40 digits",
    r"^[a-z_]+@[0-9.:]+$": "a step such as wanda@0.5 or wanda@2:4",
    r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$": "of the form OWNER/NAME",
}
"""Words for patterns that text must match."""


def explained(error: ValidationError, expected: Any) -> list[str]:
    """Each problem as 'place: what is wrong and what would be right'; ``expected`` is the type that was validated."""
    found: dict[tuple[str, bool], list[Any]] = {}
    for detail in error.errors():
        # The objections of all members of a union to a value are one problem; a problem of a key is not one of its
        # value.
        found.setdefault((_place(detail["loc"], expected), "[key]" in detail["loc"]), []).append(detail)
    return [_problem(place, details, expected) for (place, _), details in found.items()]


def _problem(place: str, details: Sequence[Any], expected: Any) -> str:
    first = details[0]
    location, kind, value = first["loc"], first["type"], first.get("input")
    if kind == "extra_forbidden":
        return f"{place}: unknown key; {nearest(str(location[-1]), _known_keys(location[:-1], expected))}"
    if kind == "missing":
        return f"{place}: this key is required"
    if kind == "union_tag_not_found":
        return _at(place, "kind") + ": this key is required"
    if kind == "union_tag_invalid":
        shown = value.get("kind") if isinstance(value, Mapping) else value
        return _at(place, "kind") + f": {_not_among(shown, first['ctx']['expected_tags'])}"
    problem = _not_among(value, first["ctx"]["expected"]) if kind == "literal_error" and len(details) == 1 else None
    problem = problem or _wrong(details, value)
    return f"{place}: {problem}" if place else problem


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _not_among(value: Any, listed: str) -> str:
    known = [word.strip(" '") for word in listed.replace(" or ", ",").split(",")]
    return f"{_shown(value)} is not valid; {nearest(str(value), known)}"


def _wrong(details: Sequence[Any], value: Any) -> str:
    """The words of each kind of error, or pydantic's where there are none."""
    if any(detail["type"] not in EXPECTED for detail in details):
        text = str(details[0]["msg"]).removeprefix("Value error, ")
        shown = _shown(value)
        return text if shown in text or text.endswith("?") else f"{text} (got {shown})"
    wanted = dict.fromkeys(_wanted(detail) for detail in details)
    return f"must be {' or '.join(wanted)}, not {_shown(value)}{_hint(details[0]['type'], value)}"


def _wanted(detail: Any) -> str:
    context = dict(detail.get("ctx", {}))
    if "pattern" in context:
        context["form"] = FORMS.get(context["pattern"], f"of the form {context['pattern']}")
    return EXPECTED[detail["type"]].format_map(context)


def _hint(kind: str, value: Any) -> str:
    """How to write what was probably meant."""
    is_single = isinstance(value, str | int | float)
    if kind == "list_type" and is_single:
        return f"; write [{value}]"
    if kind == "string_type" and is_single:
        return "; put it in quotes"
    if kind == "int_parsing" and (number := _whole(value)) is not None:
        return f"; write {number}"
    return ""


def _whole(value: Any) -> int | None:
    """The whole number meant by a text such as '1e6', which YAML reads as text; None if there is none."""
    try:
        number = float(value)
        return int(number) if number.is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: Any) -> str:
    """A value as shown in a message, truncated if long."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _place(location: Sequence[int | str], expected: Any) -> str:
    """A location as the user wrote it, without pydantic's markers for union members and keys."""
    parts: list[str] = []
    annotation = expected
    for part in location:
        following = _step(annotation, part)
        is_member = following in _members(annotation) if following is not None else _is_plain(annotation)
        if part != "[key]" and not is_member:
            parts.append(str(part))
        annotation = following
    return ".".join(parts)


def _is_plain(annotation: Any) -> bool:
    """Whether a type has no parts, so that a further step of a location can only name a member of a union."""
    return annotation is not None and not any(
        typing.get_origin(member) in (list, dict) or (isinstance(member, type) and issubclass(member, BaseModel))
        for member in _members(annotation)
    )


def _known_keys(location: Sequence[int | str], expected: Any) -> list[str]:
    """The keys that the model at a location accepts."""
    annotation = expected
    for part in location:
        annotation = _step(annotation, part)
    models = [a for a in _members(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    return sorted({name for model in models for name in model.model_fields})


def _step(annotation: Any, part: int | str) -> Any:
    for member in _members(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if origin is list:
            return arguments[0]
        if origin is dict:
            return arguments[1]
        if isinstance(member, type) and issubclass(member, BaseModel):
            if part in member.model_fields:
                return member.model_fields[str(part)].annotation
            kind = member.model_fields.get("kind")
            if kind is not None and typing.get_args(kind.annotation) == (part,):
                return member
    return None


def _members(annotation: Any) -> tuple[Any, ...]:
    """A type, or the members of a union or an Annotated type."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
