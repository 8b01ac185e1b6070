"""The values that travel through the library: records, operations, commits, changes.

A record is one row of business data. Its ``text`` is the JSON value exactly as the
browser had it (member order and unknown members kept); everything else a table shows
(``quantity``, ``enabled``, …) is a projection of that text, see :meth:`Record.columns`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import attrs

from expresso_persist.errors import InvalidInput, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json

__all__ = [
    "RECORD_TYPES",
    "Adjust",
    "Change",
    "Commit",
    "Delete",
    "EventItem",
    "Head",
    "Layout",
    "Operation",
    "Patch",
    "Put",
    "QuarantinedValue",
    "Record",
    "RecordKey",
    "Setting",
    "StationConfig",
    "StationQuantity",
    "StationStock",
    "StockLevel",
    "StoredDocument",
    "checked_key",
    "checked_type",
    "record_from",
]


class RecordKey(NamedTuple):
    """Address of a record inside a tenant: its kind and the values of its key columns."""

    kind: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{'/'.join(self.parts)}"


Column: TypeAlias = str | float | bool | None


def _number(data: Json, *names: str) -> float | None:
    """The first of ``names`` that is a JSON number in ``data``; a bare number is itself."""
    if isinstance(data, dict):
        for name in names:
            value = data.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return _finite(value)
        return None
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return _finite(data)
    return None


def _finite(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:  # an integer literal beyond what a double holds
        return None


def _string(data: Json, name: str, default: str | None = None) -> str | None:
    if isinstance(data, dict):
        value = data.get(name)
        if isinstance(value, str):
            return value
    return default


@attrs.frozen
class Record:
    """One row of business data.

    Attributes:
        parts: Values of the key columns after ``tenant_id``.
        text: The JSON text of the value.
        position: Place among its siblings in the document it came from (0, 1, …).
        raw: The localStorage string, kept only where the text alone would not give the
            same string back.
        revision: Tenant revision that last wrote the record; 0 while it is not stored.
        updated_at: UTC time of that write.
        updated_by: Name of the actor of that write.
    """

    kind: ClassVar[str] = ""
    table: ClassVar[str] = ""
    key_columns: ClassVar[tuple[str, ...]] = ()

    parts: tuple[str, ...]
    text: str
    position: int = 0
    raw: str | None = None
    revision: int = attrs.field(default=0, eq=False)
    updated_at: dt.datetime | None = attrs.field(default=None, eq=False)
    updated_by: str | None = attrs.field(default=None, eq=False)

    @classmethod
    def of(cls, *parts: str, data: Json, position: int = 0, raw: str | None = None) -> Self:
        """Make a record from a JSON value instead of its text.

        Raises:
            InvalidInput: The value has a part that JSON does not have.
        """
        json_text.check_json(data, "data")
        return cls(parts, json_text.dumps(data), position, raw)

    @property
    def key(self) -> RecordKey:
        """The record's address."""
        return tuple.__new__(RecordKey, (self.kind, self.parts))  # asked for all the time

    @property
    def data(self) -> Json:
        """The JSON value, parsed on each access."""
        return json_text.loads(self.text)

    def columns(self) -> dict[str, Column]:
        """The projected columns of the record's table."""
        return {}


class EventItem(Record):
    """An item that the event offers (``event_inventory``)."""

    kind = "event_inventory"
    table = "event_inventory"
    key_columns: ClassVar[tuple[str, ...]] = ("category", "item_id")

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        enabled = data.get("enabled") if isinstance(data, dict) else data
        return {
            "item_name": _string(data, "name", self.parts[1]),
            "enabled": enabled if isinstance(enabled, bool) else True,
        }


class StockLevel(Record):
    """Stock of the whole event for one item (``event_stock_levels``)."""

    kind = "event_stock"
    table = "event_stock_levels"
    key_columns: ClassVar[tuple[str, ...]] = ("category", "item_id")

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        return {
            "item_name": _string(data, "name") or _string(data, "item_name", self.parts[1]),
            "total_quantity": _number(data, "quantity", "total", "total_quantity"),
            "allocated_quantity": _number(data, "allocated", "allocated_quantity")
            if isinstance(data, dict)
            else None,
            "available_quantity": _number(data, "available", "available_quantity")
            if isinstance(data, dict)
            else None,
            "unit": _string(data, "unit"),
            "low_stock_threshold": _number(data, "low_stock_threshold", "lowThreshold")
            if isinstance(data, dict)
            else None,
        }


class StationConfig(Record):
    """What one station offers and can do (``station_inventory_configs``)."""

    kind = "station_config"
    table = "station_inventory_configs"
    key_columns: ClassVar[tuple[str, ...]] = ("station_id",)

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        return {
            "station_name": _string(data, "name") or _string(data, "station_name"),
            "config_data": self.text,
        }


class StationQuantity(Record):
    """What the organiser allotted to a station (``station_inventory_quantities``)."""

    kind = "station_quantity"
    table = "station_inventory_quantities"
    key_columns: ClassVar[tuple[str, ...]] = ("station_id", "category", "item_id")

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        return {
            "item_name": _string(data, "name") or _string(data, "item_name", self.parts[2]),
            "quantity": _number(data, "quantity"),
            "allocated_from_stock": _number(data, "allocated_from_stock")
            if isinstance(data, dict)
            else None,
        }


class StationStock(Record):
    """What is really left at a station (``station_stock``)."""

    kind = "station_stock"
    table = "station_stock"
    key_columns: ClassVar[tuple[str, ...]] = ("station_id", "category", "item_id")

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        return {
            "item_name": _string(data, "name", self.parts[2]),
            "amount": _number(data, "amount"),
            "capacity": _number(data, "capacity") if isinstance(data, dict) else None,
            "unit": _string(data, "unit"),
            "low_threshold": _number(data, "lowThreshold") if isinstance(data, dict) else None,
            "critical_threshold": _number(data, "criticalThreshold")
            if isinstance(data, dict)
            else None,
            "status": _string(data, "status"),
        }


class Setting(Record):
    """A setting of the application (``system_settings``)."""

    kind = "setting"
    table = "system_settings"
    key_columns: ClassVar[tuple[str, ...]] = ("setting_key",)

    def columns(self) -> dict[str, Column]:
        return {"setting_value": self.text, "setting_type": "general", "description": None}


class StoredDocument(Record):
    """A business document kept whole; ``device_id`` is ``''`` for shared ones."""

    kind = "document"
    table = "stored_documents"
    key_columns: ClassVar[tuple[str, ...]] = ("document_key", "device_id")


class Layout(Record):
    """The shape a document came in: what is needed to write it back."""

    kind = "layout"
    table = "document_layouts"
    key_columns: ClassVar[tuple[str, ...]] = ("document_key",)

    def columns(self) -> dict[str, Column]:
        return {"layout": _string(json_text.peek(self.text), "layout", "")}


class QuarantinedValue(Record):
    """Raw text that no codec could take."""

    kind = "quarantined"
    table = "quarantined_values"
    key_columns: ClassVar[tuple[str, ...]] = ("id",)

    def columns(self) -> dict[str, Column]:
        data = json_text.peek(self.text)
        return {
            "document_key": _string(data, "key", ""),
            "device_id": _string(data, "device_id", ""),
            "reason": _string(data, "reason", ""),
        }


RECORD_TYPES: Mapping[str, type[Record]] = {
    record_type.kind: record_type
    for record_type in (
        EventItem,
        StockLevel,
        StationConfig,
        StationQuantity,
        StationStock,
        Setting,
        StoredDocument,
        Layout,
        QuarantinedValue,
    )
}


def checked_type(kind: object) -> type[Record]:
    """The class of the records of a kind.

    Raises:
        InvalidInput: There is no such kind.
    """
    found = RECORD_TYPES.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise InvalidInput(
            f"There is no kind {str(kind)[:50]!r}; use one of {', '.join(RECORD_TYPES)}.",
            problems=[Problem("kind", "a kind of record")],
        )
    return found


def checked_key(kind: object, parts: object) -> RecordKey:
    """The address of a record.

    Raises:
        InvalidInput: There is no such kind, or its keys have other parts.
    """
    columns = checked_type(kind).key_columns
    found = tuple(parts) if isinstance(parts, (tuple, list)) else ()
    if len(found) != len(columns) or not all(isinstance(part, str) for part in found):
        names = ", ".join(columns)
        raise InvalidInput(
            f"A key of {kind} has {len(columns)} texts: {names}.",
            problems=[Problem("key", names)],
        )
    json_text.check_storable(**dict(zip(columns, found, strict=True)))
    return RecordKey(str(kind), found)


def record_from(key: RecordKey, text: str, position: int = 0, raw: str | None = None) -> Record:
    """Make the record of the right class for ``key``."""
    return RECORD_TYPES[key.kind](key.parts, text, position, raw)


@attrs.frozen
class Put:
    """Store ``record`` whole, whatever was there before.

    ``expected_revision`` (on every operation): refuse with
    :class:`~expresso_persist.errors.RevisionConflict` unless the stored record has this
    revision; ``0`` means that it must not exist.

    Attributes:
        record: What to store.
        expected_revision: See above.
        sets: The members that are meant, where the others are kept as they were read.
    """

    record: Record
    expected_revision: int | None = None
    sets: frozenset[str] | None = attrs.field(default=None, eq=False)

    @property
    def key(self) -> RecordKey:
        return self.record.key


@attrs.frozen
class Patch:
    """Set some members of a record's JSON object and leave the others alone.

    A record that does not exist is created from ``members``.
    """

    key: RecordKey
    members: Mapping[str, Json]
    expected_revision: int | None = None


@attrs.frozen
class Adjust:
    """Add ``delta`` to a number of a record, whatever it is when the commit happens.

    Attributes:
        key: The record.
        field: Member of the JSON object; ignored when the record's value is a bare number.
        delta: Amount to add, in the record's unit; may be negative.
        floor: Refuse when the result would be below this. ``None`` (the default) stores
            results below zero, because a late count must not vanish.
    """

    key: RecordKey
    field: str
    delta: float
    floor: float | None = None
    expected_revision: int | None = None


@attrs.frozen
class Delete:
    """Remove a record; removing one that is not there changes nothing."""

    key: RecordKey
    expected_revision: int | None = None


Operation: TypeAlias = Put | Patch | Adjust | Delete


@attrs.frozen
class Change:
    """One record's before and after inside a commit; ``None`` where it did not exist."""

    key: RecordKey
    before: Record | None
    after: Record | None


CURSOR_DIGITS = 12
"""Digits of a commit's hash that entity tags and cursors have."""


@attrs.frozen
class Head:
    """Where a tenant stands.

    Attributes:
        epoch: Random name of this copy of the database; another copy has another one.
        revision: Number of the last commit; 0 before the first.
        hash: Hash of the last commit, which covers all commits before it.
    """

    epoch: str
    revision: int
    hash: str

    @property
    def etag(self) -> str:
        """The entity tag that responses at this revision carry.

        The hash is part of it: an older copy of the database in its place reaches the same
        revisions again, with other contents.
        """
        return f'"{self.epoch}-{self.revision}-{self.hash[:CURSOR_DIGITS]}"'

    @property
    def cursor(self) -> str:
        """What a client sends as ``since`` to go on from here."""
        return f"{self.epoch}.{self.revision}.{self.hash[:CURSOR_DIGITS]}"


@attrs.frozen
class Commit:
    """Applied operations.

    Attributes:
        revision: The tenant's revision after the commit.
        actor: Who did it.
        source: What it came from: ``api``, ``import``, ``restore``, ``undo``, ``cli``, …
        note: Free text for people.
        created_at: UTC time.
        hash: SHA-256 over the previous commit's hash and this commit's contents.
        changes: What it did to each record; empty when nothing had to change.
        idempotency_key: The client's name for the request, if it gave one.
        receipt: JSON text that an import or restore left for its reader.
        replayed: True when an earlier commit with the same idempotency key is returned.
        stored: False when nothing changed, so that no commit was made; ``revision`` is
            then the revision that already was.
        epoch: The epoch of the database that answered.
        previous: Hash of the commit before it, where it is known.
        value: What the decision of the commit gave as ``value``; None for a repetition.
    """

    revision: int
    actor: str
    source: str
    note: str
    created_at: dt.datetime
    hash: str
    changes: tuple[Change, ...] = ()
    idempotency_key: str | None = None
    receipt: str | None = None
    replayed: bool = False
    stored: bool = True
    epoch: str = ""
    previous: str | None = None
    value: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def cursor(self) -> str:
        """The commit's place on the timeline, as a client keeps it."""
        return Head(self.epoch, self.revision, self.hash).cursor

    @property
    def before(self) -> str | None:
        """The place of the commit before it, where it is known."""
        if self.previous is None:
            return None
        return Head(self.epoch, self.revision - 1, self.previous).cursor
