"""JSON as a browser writes and reads it: text to value, value to text, nothing lost.

``loads`` is stricter than :func:`json.loads` (no ``NaN``, bounded nesting, optionally no
duplicate members) and exact: integers keep every digit, ``5.0`` becomes ``5`` as it does
in JavaScript, ``-0`` becomes ``0``. ``dumps`` writes what ``JSON.stringify`` writes for
everything but numbers below 1e-4 and of 1e21 and beyond, whose exponent it writes in its
own way; a text that it would not give back to the letter is kept beside the value.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec

from expresso_persist.errors import InvalidInput, MalformedJson, Problem

__all__ = [
    "Json",
    "MAX_DEPTH",
    "canonical_number",
    "check_storable",
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


def check_storable(**texts: str | None) -> None:
    """See whether every database can hold these texts.

    Args:
        texts: What they are called, and what they are.

    Raises:
        InvalidInput: One has a NUL or a lone surrogate; it is named.
    """
    name = find_unstorable({**texts})
    if name is not None:
        problem = "a NUL character or half of a surrogate pair"
        raise InvalidInput(
            f"The text of {name} has {problem}, which no database stores.",
            problems=[Problem(name, f"must not have {problem}")],
        )


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
