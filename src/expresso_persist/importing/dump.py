"""The forms in which a dump of localStorage arrives.

Pure. localStorage holds strings only; a dump may hold those raw strings, or the values
that were already parsed from them (the seed's form).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from expresso_persist.errors import ExpressoPersistError, InvalidInput, MalformedJson, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json

__all__ = ["Dump", "Item", "read_dump"]

MAX_KEYS = 10_000
# Far above what is accepted for one document, so that a document that is nested too
# deeply is quarantined by itself and does not take the others with it.
_OUTER_DEPTH = 900


@attrs.frozen
class Item:
    """One key of a dump.

    Attributes:
        key: The localStorage key.
        raw: The raw string the browser holds.
        value: The JSON value; for plain text the string itself.
        is_text: The raw string is not JSON.
        fault: Why the value cannot be taken, or None.
        duplicates: The raw string names a member twice; ``value`` has the last of each.
    """

    key: str
    raw: str
    value: Json = None
    is_text: bool = False
    fault: str | None = None
    duplicates: bool = False


@attrs.frozen
class Dump:
    """A dump of one browser's localStorage.

    Attributes:
        items: Its keys, in order.
        origin: The origin whose storage it was.
        device_id: What the browser is called.
        from_devices: Which device a key is from, in what was exported from several.
    """

    items: tuple[Item, ...]
    origin: str | None = None
    device_id: str | None = None
    from_devices: Mapping[str, str] = attrs.field(factory=dict)


def read_dump(source: bytes | str | Mapping[str, Any]) -> Dump:
    """Read a dump in any of its forms.

    The forms: ``{"localStorage": {key: raw string}, "origin", "device_id"}`` (what the
    page sends and ``export`` writes, also inside the answer of the documents endpoint);
    ``JSON.stringify(localStorage)``, an object whose values are all strings; and the
    seed's object of already parsed values.

    Raises:
        MalformedJson: The source is not JSON, or not an object.
        InvalidInput: It is an object, but not a dump.
    """
    if isinstance(source, (bytes, str)):
        document: Any = json_text.loads(source, max_depth=_OUTER_DEPTH, reject_duplicates=True)
    else:
        document = source
        if isinstance(source, Mapping):
            json_text.check_json({**source}, max_depth=_OUTER_DEPTH, storable=False)
    if not isinstance(document, Mapping):
        raise MalformedJson(
            "The dump is not an object at offset 0; send {key: value} or "
            '{"localStorage": {key: "raw string"}}.'
        )
    data = document.get("data")
    if "success" in document and isinstance(data, Mapping):
        document = data
    storage = document.get("localStorage")
    wrapped = isinstance(storage, Mapping)
    entries: Mapping[str, Any] = storage if isinstance(storage, Mapping) else document
    if len(entries) > MAX_KEYS:
        raise InvalidInput(f"The dump has {len(entries)} keys; {MAX_KEYS} are accepted at most.")
    # Parsed values give themselves away: localStorage itself never holds anything else
    # than strings.
    raw_strings = wrapped or all(isinstance(value, str) for value in entries.values())
    items = tuple(_item(key, value, raw_strings) for key, value in entries.items())
    return Dump(
        items,
        origin=_optional_text(document, "origin") if wrapped else None,
        device_id=_optional_text(document, "device_id") if wrapped else None,
        from_devices=_from_devices(document) if wrapped else {},
    )


def _from_devices(document: Mapping[str, Any]) -> dict[str, str]:
    given = document.get("from_devices", {})
    if not isinstance(given, Mapping):
        raise InvalidInput(
            "from_devices is an object of device names.",
            problems=[Problem("from_devices", "an object")],
        )
    named = {key: _optional_text(given, key) for key in given}
    return {key: name for key, name in named.items() if name is not None}


def _item(key: str, value: Any, raw_strings: bool) -> Item:
    if not isinstance(value, str):
        try:
            raw = json_text.dumps(value)
        except (UnicodeEncodeError, RecursionError):
            raw = None
        if raw is None:
            return Item(key, repr_of(value), fault="a string holds half of a surrogate pair")
        return _from_raw(key, raw)
    if raw_strings:
        return _from_raw(key, value)
    # A parsed string: "15" can only have been the JSON text "\"15\"" (15 would have become
    # a number), while hello was most likely plain text.
    item = _from_raw(key, value)
    if item.is_text or item.fault:
        return item
    return _from_raw(key, json_text.dumps(value))


def _from_raw(key: str, raw: str) -> Item:
    fault = _unstorable_text(key) or _unstorable_text(raw)
    if fault:
        return Item(key, raw, fault=fault)
    looks_like_json = raw.lstrip(" \t\r\n")[:1] in ("{", "[")
    duplicates = False
    try:
        try:
            value = json_text.loads(raw, reject_duplicates=True)
        except MalformedJson:
            raise
        except InvalidInput:  # duplicate members, or nested too deeply
            value = json_text.loads(raw)
            duplicates = True
    except ExpressoPersistError as error:
        if looks_like_json:
            return Item(key, raw, fault=error.message)
        return Item(key, raw, raw, is_text=True)
    if isinstance(value, str) and "\\u" in raw and json_text.find_unstorable(value) is not None:
        return Item(key, raw, raw, is_text=True)
    path = json_text.find_unstorable(value, raw)
    if path is not None:
        return Item(key, raw, fault=f"A NUL character or half of a surrogate pair at {path[:256]}.")
    return Item(key, raw, value, duplicates=duplicates)


def _unstorable_text(text: str) -> str | None:
    if json_text.find_unstorable(text) is not None:
        return "A NUL character or half of a surrogate pair."
    return None


def repr_of(value: Any) -> str:
    """JSON text of a value that UTF-8 cannot carry, with such characters escaped."""
    import json

    return json.dumps(value, separators=(",", ":"))


def _optional_text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 256 or json_text.find_unstorable(value):
        raise InvalidInput(
            f"{name} is a text of at most 256 characters.", problems=[Problem(name, "not a text")]
        )
    return value
