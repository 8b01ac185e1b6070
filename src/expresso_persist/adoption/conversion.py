"""From a row of the replaced system to a record, or to the reason why it is none.

Pure. Every row ends in exactly one class: carried over, quarantined (it breaks a rule that
holds now, so its text is kept aside for people), or refused (it is a secret). Records have
the shape in which the replaced system gave its data to browsers:
``{category: {item: {enabled}}}``, ``{item: {category, total, …}}``, ``{station: config}``
and ``{station: {item: number}}``.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import attrs

from expresso_persist.adoption.legacy import LegacyTable
from expresso_persist.documents.codec import MAX_NAME, codec_for
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.catalog import KeyClass, classify
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import MAX_QUANTITY
from expresso_persist.model.records import (
    EventItem,
    QuarantinedValue,
    Record,
    Setting,
    StationConfig,
    StationQuantity,
    StockLevel,
    StoredDocument,
)

__all__ = [
    "DETAILS_KEY",
    "Carried",
    "Converter",
    "Outcome",
    "Quarantined",
    "Refused",
    "Row",
    "setting_record",
]

DETAILS_KEY = "system_settings:details"
"""The document that keeps what a setting's row had besides its value."""

Value: TypeAlias = Any
"""None, str, int, float, Decimal, bool, an aware datetime, or bytes that are no text."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")
# Members that mean something in a record of ours; a host's column of such a name is kept
# under another one.
_TAKEN = frozenset(
    """
        id name item_name category enabled quantity total total_quantity allocated
        allocated_quantity available available_quantity unit low_stock_threshold lowThreshold
        station_name allocated_from_stock
    """.split()  # noqa: SIM905 - a list of names reads better without quotes
)


@attrs.frozen
class Row:
    """One row.

    Attributes:
        label: Its ``id``, or its place where it has none.
        values: Its columns.
    """

    label: str
    values: Mapping[str, Value] = attrs.field(repr=False)


@attrs.frozen
class Carried:
    """A row that became a record.

    Attributes:
        record: The record.
        created_at: When the row was made.
        removed: Places of secrets that were taken out of it.
    """

    record: Record
    created_at: dt.datetime | None = None
    removed: tuple[str, ...] = ()


@attrs.frozen
class Quarantined:
    """A row that is kept aside, and why."""

    record: QuarantinedValue
    place: str
    reason: str


@attrs.frozen
class Refused:
    """A row that is a secret; only its place is reported."""

    place: str


Outcome: TypeAlias = Carried | Quarantined | Refused


class Unfit(Exception):
    """The row breaks a rule; the text says which, and never a value."""


class Secret(Exception):
    """The row is a secret; the text is its place."""


class Converter:
    """Converts the rows of one table, one after the other.

    Attributes:
        details: What the rows of ``system_settings`` had besides their values.
        removed: Places of secrets that were taken out of those.
    """

    def __init__(self, table: LegacyTable, columns: Mapping[str, object]) -> None:
        """Convert rows of ``table``, which has these ``columns``."""
        self.table: LegacyTable = table
        self.extra: list[str] = table.further([*columns])
        self.details: dict[str, Json] = {}
        self.removed: list[str] = []
        self._seen: set[tuple[str, ...]] = set()
        self._places: Counter[tuple[str, ...]] = Counter()
        self._convert = getattr(self, f"_{table.name}")

    def convert(self, row: Row) -> Outcome:
        """What becomes of a row."""
        try:
            carried: Carried = self._convert(row)
        except Unfit as reason:
            return self._set_aside(row, str(reason))
        except Secret as place:
            return Refused(str(place))
        created = row.values.get("created_at")
        return attrs.evolve(
            carried, created_at=created if isinstance(created, dt.datetime) else None
        )

    # -- one table each -------------------------------------------------------------------

    def _event_inventory(self, row: Row) -> Carried:
        parts = (self._name(row, "category"), self._name(row, "item_name"))
        enabled = _boolean(row.values["enabled"], "enabled") if "enabled" in row.values else True
        self._unique(parts)
        return self._carried(EventItem, parts, {"enabled": enabled, **self._extras(row)}, row)

    def _event_stock_levels(self, row: Row) -> Carried:
        category, item = self._name(row, "category"), self._name(row, "item_name")
        total = _number(row.values["total_quantity"], "total_quantity")
        if total is None:
            raise Unfit("total_quantity is empty")
        data: dict[str, Json] = {"category": category, "total": total}
        for member, column in (
            ("allocated", "allocated_quantity"),
            ("available", "available_quantity"),
        ):
            number = _number(row.values.get(column), column)
            if number is not None:
                data[member] = number
        unit = _text(row.values.get("unit"), "unit")
        if unit is not None:
            data["unit"] = unit
        threshold = _number(row.values.get("low_stock_threshold"), "low_stock_threshold")
        if threshold is not None:
            data["low_stock_threshold"] = threshold
        # The shape has one name per item in all, as the old table had.
        self._unique((item,))
        data.update(self._extras(row))
        return self._carried(StockLevel, (category, item), data, row, siblings=())

    def _station_inventory_configs(self, row: Row) -> Carried:
        station = self._name(row, "station_id")
        data = _json(row.values["config_data"], "config_data")
        name = _text(row.values.get("station_name"), "station_name")
        extras = self._extras(row)
        if name is not None and isinstance(data, dict) and "station_name" not in data:
            extras = {"station_name": name, **extras}
        elif name is not None and not isinstance(data, dict):
            raise Unfit("config_data is not an object, so the station's name has no place in it")
        if extras:
            if not isinstance(data, dict):
                raise Unfit("config_data is not an object, so further columns have no place in it")
            data = {**data, **{key: v for key, v in extras.items() if key not in data}}
        self._unique((station,))
        return self._carried(StationConfig, (station,), data, row)

    def _station_inventory_quantities(self, row: Row) -> Carried:
        station, item = self._name(row, "station_id"), self._name(row, "item_name")
        quantity = _number(row.values["quantity"], "quantity")
        if quantity is None:
            raise Unfit("quantity is empty")
        allotted = _number(row.values.get("allocated_from_stock"), "allocated_from_stock")
        extras = self._extras(row)
        data: Json = quantity
        if allotted or extras:
            data = {"quantity": quantity}
            if allotted:
                data["allocated_from_stock"] = allotted
            data.update(extras)
        self._unique((station, item))
        return self._carried(StationQuantity, (station, "", item), data, row, (station,))

    def _system_settings(self, row: Row) -> Carried:
        key = row.values["setting_key"]
        if isinstance(key, str):
            _refuse_secret_key(key, "setting", f"{self.table.name} row {row.label}")
        key = self._name(row, "setting_key")
        value = _json(row.values["setting_value"], "setting_value")
        self._unique((key,))
        carried = setting_record(key, value)
        kind = _text(row.values.get("setting_type"), "setting_type")
        description = _text(row.values.get("description"), "description")
        details: dict[str, Json] = {}
        if kind not in (None, "general"):
            details["setting_type"] = kind
        if description:
            details["description"] = description
        details.update(self._extras(row))
        scan = secrets.scan(details)
        self.removed += [f"{place} of the setting {key}" for place in scan.removed]
        if scan.value:
            self.details[key] = scan.value
        return carried

    def _user_preferences(self, row: Row) -> Carried:
        user = row.values["user_id"]
        key = f"user_preferences:{self._name(row, 'user_id') if user is not None else ''}"
        if user is None:
            key += f"row-{row.label}"
        data = self._whole(row, "preferences")
        self._unique((key,))
        return self._carried(StoredDocument, (key, ""), data, row)

    def _app_state(self, row: Row) -> Carried:
        name = row.values["state_key"]
        if isinstance(name, str):
            _refuse_secret_key(name, "application state", f"{self.table.name} row {row.label}")
        name = self._name(row, "state_key")
        key = f"app_state:{name}"
        if len(key) > MAX_NAME:
            raise Unfit(f"state_key is longer than {MAX_NAME - len('app_state:')} characters")
        data = self._whole(row, "state_value")
        if secrets.scan(data["state_value"], name).whole:
            raise Secret(f"the application state {name}")
        self._unique((key,))
        return self._carried(StoredDocument, (key, ""), data, row)

    # -- parts of rows --------------------------------------------------------------------

    def _name(self, row: Row, column: str) -> str:
        value = row.values[column]
        if value is None:
            raise Unfit(f"{column} is empty")
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise Unfit(f"{column} is not text")
        text = _text(value, column)
        assert text is not None
        if len(text) > MAX_NAME:
            raise Unfit(f"{column} is longer than {MAX_NAME} characters")
        if secrets.is_secret_text(text):
            raise Secret(f"{self.table.name} row {row.label}")
        return text

    def _unique(self, key: tuple[str, ...]) -> None:
        if key in self._seen:
            raise Unfit("an earlier row has the same name")
        self._seen.add(key)

    def _extras(self, row: Row) -> dict[str, Json]:
        """What the host added to the table; an empty column says nothing."""
        return {
            f"{self.table.kept_as}.{name}" if name in _TAKEN else name: _plain(value, name)
            for name in self.extra
            if (value := row.values[name]) is not None
        }

    def _whole(self, row: Row, document: str) -> dict[str, Json]:
        """A row as an object, but for its id; ``document`` is its column of JSON."""
        data: dict[str, Json] = {}
        for name, value in row.values.items():
            if name == document:
                data[name] = _json(value, name, json_text.MAX_DEPTH - 1)
            elif name != "id":
                data[name] = _plain(value, name)
        return data

    def _carried(
        self,
        record_type: type[Record],
        parts: tuple[str, ...],
        data: Json,
        row: Row,
        siblings: tuple[str, ...] | None = None,
    ) -> Carried:
        place = f"{self.table.name} row {row.label}"
        scan = secrets.scan(data)
        if scan.whole:
            raise Secret(place)
        # Not counted before: a row that is set aside has no place among the others.
        among = parts[:-1] if siblings is None else siblings
        position = self._places[among]
        self._places[among] += 1
        record = record_type(parts, json_text.dumps(scan.value), position)
        return Carried(record, removed=tuple(f"{name} of {place}" for name in scan.removed))

    def _set_aside(self, row: Row, reason: str) -> Quarantined | Refused:
        place = f"{self.table.name} row {row.label}"
        readable = {name: _readable(value) for name, value in row.values.items()}
        raw = json.dumps(readable)  # ASCII: whatever it holds, any database can store it
        if any(secrets.is_secret_text(text) for text in (*map(str, readable.values()), raw)):
            return Refused(place)
        key = f"legacy:{self.table.name}/{row.label}"
        name = hashlib.sha256(f"{key} {raw}".encode()).hexdigest()[:32]
        record = QuarantinedValue.of(
            name,
            data={
                "key": key,
                "device_id": "",
                "reason": reason,
                "key_json": json.dumps(key),
                "raw_json": json.dumps(raw),
            },
        )
        return Quarantined(record, place, reason)


def setting_record(key: str, value: Json) -> Carried:
    """The record of a setting.

    Raises:
        Secret: The key or the value is one.
    """
    _refuse_secret_key(key, "setting", "a setting")
    scan = secrets.scan(value, key)
    if scan.whole:
        raise Secret(f"the setting {key}")
    text = json_text.dumps(scan.value)
    removed = tuple(f"{place} of the setting {key}" for place in scan.removed)
    if codec_for(key) is not None:
        # A setting of a document's name would stand in the document's place.
        return Carried(
            StoredDocument((f"system_settings:{key}"[:MAX_NAME], ""), text), None, removed
        )
    return Carried(Setting((key,), text), None, removed)


def _refuse_secret_key(key: str, what: str, place: str) -> None:
    if secrets.is_secret_text(key):
        raise Secret(f"{place}, whose name itself is one")
    if classify(key).key_class is KeyClass.SECRET:
        raise Secret(f"the {what} {key}")


# -- single values --------------------------------------------------------------------------


def _boolean(value: Value, column: str) -> bool:
    if value is None:
        raise Unfit(f"{column} is empty")
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise Unfit(f"{column} is neither true nor false")
    return text in _TRUE


def _number(value: Value, column: str) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise Unfit(f"{column} is not a number")
    try:
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            raise Unfit(f"{column} is not a number")
        exact = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise Unfit(f"{column} is not a number") from None
    if not exact.is_finite():
        raise Unfit(f"{column} is not a number")
    if abs(exact) > Decimal(MAX_QUANTITY):
        raise Unfit(f"{column} is beyond ±1e15")
    double = float(exact)
    if Decimal(repr(double)) != exact:
        raise Unfit(f"{column} has more digits than a number of a browser holds")
    return json_text.canonical_number(double)


def _text(value: Value, column: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        raise Unfit(f"{column} is not text")
    text = str(value)
    if json_text.find_unstorable(text) is not None:
        raise Unfit(f"{column} holds a NUL character or half of a surrogate pair")
    return text


def _json(value: Value, column: str, max_depth: int = json_text.MAX_DEPTH) -> Json:
    """A column of JSON: text of it, or what SQLite made of a number."""
    if value is None:
        raise Unfit(f"{column} is empty")
    if isinstance(value, (bool, int, float)):
        return _plain(value, column)
    if not isinstance(value, str):
        raise Unfit(f"{column} is not text")
    try:
        return json_text.loads(
            value, max_depth=max_depth, reject_duplicates=True, reject_unstorable=True
        )
    except ExpressoPersistError as error:
        raise Unfit(f"{column} cannot be read: {error.message.rstrip('.')}") from None


def _plain(value: Value, column: str) -> Json:
    """A value of any column as JSON."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unfit(f"{column} is not a number")
        return json_text.canonical_number(value)
    if isinstance(value, Decimal):
        return _number(value, column)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return _text(value, column)
    return value  # type: ignore[no-any-return]


def _readable(value: Value) -> Json:
    """A value as people can read it, whatever it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (dt.datetime, Decimal)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return str(value)
    return value  # type: ignore[no-any-return]
