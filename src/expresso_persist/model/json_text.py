"""JSON as a browser writes and reads it: text to value, value to text, nothing lost.

``loads`` is stricter than :func:`json.loads` (no ``NaN``, bounded nesting, optionally no
duplicate members) and exact: integers keep every digit, ``5.0`` becomes ``5`` as it does
in JavaScript, ``-0`` becomes ``0``. ``dumps`` writes what ``JSON.stringify`` writes for
everything but numbers below 1e-4 and of 1e21 and beyond, whose exponent it writes in its
own way; a text that it would not give back to the letter is kept beside the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from expresso_persist.errors import InvalidInput, MalformedJson, Problem

__all__ = [
    "Json",
    "MAX_DEPTH",
    "canonical_number",
    "check_json",
    "check_number",
    "check_storable",
    "check_whole",
    "dumps",
    "find_unstorable",
    "loads",
    "peek",
    "place",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH = 64
"""Nesting accepted by default; the deepest document of the real front end has 7 levels."""

_PLACE = 256  # characters; of a longer one the end is shown
_NOT_STORED = "a NUL character or half of a surrogate pair"
_INTEGRAL_BELOW = 1e21  # from here on JavaScript writes numbers with an exponent
_encoder = msgspec.json.Encoder()


class _Duplicate(ValueError):
    pass


class _NotANumber(ValueError):
    pass


def canonical_number(value: float) -> int | float:
    """Write a finite double the way JavaScript does: ``5.0`` is ``5``, ``-0.0`` is ``0``."""
    if isinstance(value, int):
        return value
    if value.is_integer() and abs(value) < _INTEGRAL_BELOW:
        # Not int(value): JavaScript pads the shortest digits with zeros, 2**69 is
        # 590295810358705700000 there.
        mantissa, _, exponent = repr(value).partition("e")
        if not exponent:
            return int(value)
        digits, _, fraction = mantissa.partition(".")
        return int((digits + fraction).ljust(len(digits) + int(exponent), "0"))
    return value


def _parse_float(text: str) -> int | float:
    value = float(text)
    if value - value != 0.0:
        raise _NotANumber("a number is too large for a double")
    return canonical_number(value)


def _parse_constant(text: str) -> float:
    raise _NotANumber(f"{text} is not JSON")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Duplicate(name)
            seen.add(name)
    return members


_lenient = json.JSONDecoder(parse_float=_parse_float, parse_constant=_parse_constant)
_strict = json.JSONDecoder(
    parse_float=_parse_float,
    parse_constant=_parse_constant,
    object_pairs_hook=_unique_members,
)


def loads(
    text: str | bytes,
    *,
    max_depth: int = MAX_DEPTH,
    reject_duplicates: bool = False,
    reject_unstorable: bool = False,
) -> Json:
    """Parse JSON text.

    Args:
        text: The text; bytes are UTF-8.
        max_depth: Levels of nesting accepted.
        reject_duplicates: Refuse an object that names a member twice, instead of keeping
            the last one as ``JSON.parse`` does.
        reject_unstorable: Refuse NUL and lone surrogates in strings.

    Raises:
        MalformedJson: The text is not JSON; the message has the offset.
        InvalidInput: It is JSON, but one of the rules above refuses it.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise MalformedJson(
                f"The text is not UTF-8: byte {error.start} cannot be decoded."
            ) from None
    try:
        value: Json = (_strict if reject_duplicates else _lenient).decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJson(
            f"The text is not valid JSON at offset {error.pos}: {error.msg}."
        ) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except _Duplicate as error:
        name = str(error).encode("utf-8", "backslashreplace").decode()
        raise InvalidInput(
            f"The member {name[:256]!r} is there twice in one object; name it once.",
            problems=[Problem(name[:256], "duplicate member")],
        ) from None
    except _NotANumber as error:
        raise MalformedJson(f"The text is not valid JSON: {error}.") from None
    except ValueError:  # Python refuses to convert integers beyond a few thousand digits
        raise MalformedJson("The text has a number with too many digits.") from None
    # Counting brackets is much cheaper than walking, and mostly settles the matter.
    if text.count("[") + text.count("{") > max_depth and _deeper_than(value, max_depth):
        raise _too_deep(max_depth)
    if reject_unstorable:
        path = find_unstorable(value, text)
        if path is not None:
            raise InvalidInput(
                "A string holds a NUL character or half of a surrogate pair, which no "
                "database can store; remove it.",
                problems=[Problem(path, "NUL or lone surrogate")],
            )
    return value


def dumps(value: Json) -> str:
    """Write a JSON value without spaces, members in their order."""
    return _encoder.encode(value).decode()


def check_json(
    value: object, path: str = "", *, max_depth: int = MAX_DEPTH, storable: bool = True
) -> None:
    """See whether a Python value is one that JSON has, so that it is stored as what it is.

    Tuples are none: they would come back as lists.

    Args:
        value: The value.
        path: What it is called.
        max_depth: Levels of nesting accepted.
        storable: Refuse NUL and lone surrogates in texts as well.

    Raises:
        InvalidInput: It is not, or a part of it; the message says which.
    """
    level: list[tuple[str, object]] = [(path, value)]
    for _ in range(max_depth + 1):
        inner: list[tuple[str, object]] = []
        for where, item in level:
            if isinstance(item, dict):
                inner.extend(_members(where, item, storable=storable))
            elif isinstance(item, list):
                inner.extend((place(where, index), member) for index, member in enumerate(item))
            elif isinstance(item, str):
                if storable and not _storable(item):
                    raise _no_json(where, f"holds {_NOT_STORED}")
            elif isinstance(item, float) and item - item != 0.0:
                raise _no_json(where, f"is {item}, which JSON does not have")
            elif item is not None and not isinstance(item, (int, float)):
                raise _no_json(
                    where,
                    f"is a {type(item).__name__}, which JSON does not have; give a dict, a list, "
                    "a text, a number, True, False or None",
                )
        if not inner:
            return
        level = inner
    raise _too_deep(max_depth)


def _members(
    path: str, value: dict[object, object], *, storable: bool
) -> Iterator[tuple[str, object]]:
    for name, member in value.items():
        if not isinstance(name, str):
            raise _no_json(path, f"has the member {name!r:.50}, whose name is no text")
        if storable and not _storable(name):
            raise _no_json(path, f"has a member whose name holds {_NOT_STORED}")
        yield place(path, name), member


def _no_json(path: str, what: str) -> InvalidInput:
    name = path.encode("utf-8", "backslashreplace").decode()[:256]
    return InvalidInput(f"{name or 'The value'} {what}.", problems=[Problem(name, what)])


def _storable(text: str) -> bool:
    return "\0" not in text and _encodable(text)


def check_whole(**numbers: object) -> None:
    """See whether these are whole numbers that a database's columns hold, not below zero.

    Raises:
        InvalidInput: One is not; it is named.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
            raise InvalidInput(
                f"{name} is a whole number, 0 or more.", problems=[Problem(name, "0 or more")]
            )


def check_number(**numbers: object) -> None:
    """See whether these are finite numbers; None is one that was left out.

    Raises:
        InvalidInput: One is not; it is named.
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value - value != 0:
            raise InvalidInput(f"{name} is not a number.", problems=[Problem(name, "a number")])


def peek(text: str) -> Any:
    """Parse text that :func:`dumps` wrote, fast; long integers may lose digits."""
    return msgspec.json.decode(text)


def _too_deep(max_depth: int) -> InvalidInput:
    return InvalidInput(f"The JSON is nested deeper than {max_depth} levels.")


def _deeper_than(value: Json, max_depth: int) -> bool:
    level: list[Json] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(max_depth):
        inner: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(m for m in item.values() if isinstance(m, (dict, list)))
            elif isinstance(item, list):
                inner.extend(m for m in item if isinstance(m, (dict, list)))
        if not inner:
            return False
        level = inner
    return bool(level)


def find_unstorable(value: Json, text: str | None = None) -> str | None:
    """Path of the first string (or member name) with a NUL or a lone surrogate.

    Args:
        value: The JSON value.
        text: Its JSON text, if at hand: most texts are cleared by a look at it.
    """
    if text is not None and not (
        "\\u0000" in text or "\\ud" in text or "\\uD" in text or not _encodable(text)
    ):
        return None
    stack: list[tuple[str, Json]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, str):
            if "\0" in item or not _encodable(item):
                return path or "value"
        elif isinstance(item, dict):
            for name, member in item.items():
                if "\0" in name or not _encodable(name):
                    return place(path, "<name>")
                stack.append((place(path, name), member))
        elif isinstance(item, list):
            stack.extend((place(path, index), member) for index, member in enumerate(item))
    return None


def place(path: str, member: str | int) -> str:
    """Where a member or an item stands: ``users[0].name``.

    Never longer than a line, or the places of many members below one long name would take
    their product to write.
    """
    if isinstance(member, int):
        inner = f"{path}[{member}]"
    else:
        inner = f"{path}.{member[:_PLACE]}" if path else member[:_PLACE]
    return inner if len(inner) <= _PLACE else f"…{inner[-_PLACE:]}"


def check_storable(**texts: object) -> None:
    """See whether every database can hold these texts.

    Args:
        texts: What they are called, and what they are.

    Raises:
        InvalidInput: One has a NUL or a lone surrogate, or is no text; it is named.
    """
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise InvalidInput(
                f"{name} is a text, not a {type(text).__name__}.",
                problems=[Problem(name, "a text")],
            )
        fault = find_unstorable({name: text})
        if fault is not None:
            raise InvalidInput(
                f"The text of {fault} has {_NOT_STORED}, which no database stores.",
                problems=[Problem(fault, f"must not have {_NOT_STORED}")],
            )


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
