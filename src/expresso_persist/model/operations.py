"""What operations do to records. Pure: current state in, changes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from expresso_persist.errors import InvalidInput, NotFound, Problem, RevisionConflict
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import (
    Adjust,
    Change,
    Delete,
    Operation,
    Patch,
    Put,
    Record,
    RecordKey,
    checked_key,
    record_from,
)

__all__ = ["add", "adjusted", "apply", "check", "number", "refuse_new_secrets"]

MAX_QUANTITY = 1e15
"""Quantities stay within this, so that a double holds them exactly to the unit."""


def apply(
    operations: Iterable[Operation], current: Callable[[RecordKey], Record | None]
) -> list[Change]:
    """Apply operations one after the other.

    Args:
        operations: What to do; later ones see what earlier ones did.
        current: Gives the stored record of a key, or None.

    Returns:
        One change per record that ends up different, in order of first touch.

    Raises:
        RevisionConflict: A record is not at the revision that an operation expects.
        InvalidInput: An operation does not fit the value it is for.
        NotFound: A number is to be adjusted that is not there.
    """
    before: dict[RecordKey, Record | None] = {}
    after: dict[RecordKey, Record | None] = {}
    for operation in operations:
        key = operation.key
        if key not in before:
            before[key] = after[key] = current(key)
        _check_revision(operation, key, before[key])
        after[key] = _result(operation, key, after[key])
    return [Change(key, before[key], after[key]) for key in before if before[key] != after[key]]


def refuse_new_secrets(changes: Iterable[Change]) -> None:
    """Refuse changes that would store a secret; what is stored already may stay as it is.

    Raises:
        InvalidInput: The problems name the places, never a value.
    """
    places: list[str] = []
    for change in changes:
        found = [] if change.after is None else _secrets_in(change.after)
        if found and change.before is not None:
            known = {text for _, text in _secrets_in(change.before)}
            found = [(place, text) for place, text in found if text not in known]
        places += [place for place, _ in found]
    secrets.refuse(places)


def _secrets_in(record: Record) -> list[tuple[str, str]]:
    """The places and the texts of what looks like secrets in a record."""
    found = [
        (f"{record.kind}: <name>", part) for part in record.parts if secrets.is_secret_text(part)
    ]
    # Only these are called by their key; other keys are items and stations.
    name = record.parts[0] if record.kind in ("setting", "document") else ""
    place = f"{record.kind}: <name>" if found else str(record.key)
    inner = secrets.findings(json_text.peek(record.text), name)
    found += [(f"{place}: {path}" if path else place, text) for path, text in inner]
    if record.raw is not None and not inner and secrets.is_secret_text(record.raw):
        found.append((place, record.raw))  # behind a member of the same name
    return found


def check(operations: Iterable[object]) -> None:
    """See whether what a caller gives are operations on records that can be stored.

    Raises:
        InvalidInput: One is none, or its record has another key, or a value that is no JSON.
    """
    for operation in operations:
        if not isinstance(operation, (Put, Patch, Adjust, Delete)):
            found = type(operation).__name__
            raise InvalidInput(f"A commit is made of Put, Patch, Adjust and Delete, not {found}.")
        if isinstance(operation, Put):
            _check_record(operation.record)
            continue
        key: object = operation.key
        if not isinstance(key, tuple) or len(key) != 2:
            raise InvalidInput("The key of an operation is a RecordKey: a kind and its parts.")
        checked_key(*key)
        if isinstance(operation, Patch):
            json_text.check_json(operation.members, str(key))
        elif isinstance(operation, Adjust):
            json_text.check_number(delta=operation.delta, floor=operation.floor)


def _check_record(record: object) -> None:
    if not isinstance(record, Record):
        found = type(record).__name__
        raise InvalidInput(f"Put stores a record, such as Setting.of(…), not {found}.")
    checked_key(record.kind, record.parts)
    try:
        json_text.peek(record.text)
    except (msgspec.DecodeError, TypeError, UnicodeError):
        raise InvalidInput(
            f"The text of {record.key} is not JSON; {type(record).__name__}.of(…, data=value) "
            "writes it."
        ) from None


def _check_revision(operation: Operation, key: RecordKey, stored: Record | None) -> None:
    expected = operation.expected_revision
    if expected is None:
        return
    found = stored.revision if stored is not None else 0
    if found != expected:
        raise RevisionConflict(
            f"{key} is at revision {found}, not {expected}: somebody changed it since it was "
            "read. Read it again and repeat the change.",
            context={
                "kind": key.kind,
                "key": list(key.parts),
                "revision": found,
                "value": stored.data if stored is not None else None,
            },
        )


def _result(operation: Operation, key: RecordKey, record: Record | None) -> Record | None:
    if isinstance(operation, Put):
        return operation.record
    if isinstance(operation, Delete):
        return None
    if isinstance(operation, Patch):
        return _patched(operation, key, record)
    return _adjusted(operation, key, record)


def _with_data(key: RecordKey, record: Record | None, data: Json) -> Record:
    # The raw text belongs to the value it came with; a new value writes itself.
    return record_from(key, json_text.dumps(data), record.position if record else 0)


def _patched(operation: Patch, key: RecordKey, record: Record | None) -> Record:
    data = record.data if record is not None else {}
    if not isinstance(data, dict):
        raise InvalidInput(f"{key} is not an object; its members cannot be set one by one.")
    return _with_data(key, record, {**data, **operation.members})


def _adjusted(operation: Adjust, key: RecordKey, record: Record | None) -> Record:
    if record is None:
        raise NotFound(f"{key} is not stored, so there is nothing to adjust.")
    data = record.data
    name = operation.field
    value = data.get(name) if isinstance(data, dict) else data
    if value is None and isinstance(data, dict):
        value = 0
    result = add(value, operation.delta, f"{name} of {key}", field=name, floor=operation.floor)
    return _with_data(key, record, {**data, name: result} if isinstance(data, dict) else result)


def add(
    value: Json, delta: float, what: str, *, field: str = "delta", floor: float | None = None
) -> int | float:
    """Add to a stored number: the one way to do it.

    Args:
        value: What is stored.
        delta: What is added.
        what: What the number is, for messages.
        field: The member that holds it.
        floor: Refuse a result below this.

    Raises:
        InvalidInput: It is not a number, falls below ``floor`` or leaves the range.
    """
    before = number(value, what, field)
    result = adjusted(before, delta)
    if floor is not None and result < floor:
        raise InvalidInput(
            f"{what} would fall to {result}, below {floor}.",
            problems=[Problem("delta", f"at least {adjusted(floor, -before)}")],
            context={"value": before, "floor": floor},
        )
    if abs(result) > MAX_QUANTITY:
        raise InvalidInput(f"{what} would leave the range of ±1e15.")
    return result


def number(value: Json, what: str, field: str = "delta") -> int | float:
    """A stored value as a number.

    Raises:
        InvalidInput: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInput(
            f"{what} is not a number; update it first.", problems=[Problem(field, "not a number")]
        )
    return value


def adjusted(value: float, delta: float) -> int | float:
    """``value + delta`` as people add: 0.1 + 0.2 is 0.3.

    Both are taken as the shortest decimal that writes them, which is what a screen shows
    and what somebody counted.
    """
    return json_text.canonical_number(float(Decimal(str(value)) + Decimal(str(delta))))
