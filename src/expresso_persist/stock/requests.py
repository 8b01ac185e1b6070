"""Update requests, and the operations that they mean.

A request names an item as people do: by its id or by its name, with or without a
category. Which record that is, is decided here under the tenant's lock, so that an update
never lands beside the record it was meant for. An update changes what it names and
nothing else; members that the library does not know are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from expresso_persist.errors import InvalidInput, Problem
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import MAX_QUANTITY

__all__ = [
    "BATCH_TYPES",
    "MOVEMENT_TYPES",
    "UPDATE_TYPES",
    "AdjustMovement",
    "CountMovement",
    "EventInventoryUpdate",
    "EventStockUpdate",
    "Movement",
    "SettingUpdate",
    "StationConfigUpdate",
    "StationQuantityUpdate",
    "TransferMovement",
    "Update",
    "WasteMovement",
    "read_as",
    "read_movement",
    "read_update",
    "station_name",
]

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
StationId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)] | int
Quantity: TypeAlias = (
    Annotated[int, Meta(ge=-int(MAX_QUANTITY), le=int(MAX_QUANTITY))]
    | Annotated[float, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
)

# Blank in Python or in ECMA-262, whose regular expressions are those of JSON Schema: the two
# differ in the separators U+001C to U+001F, U+0085 and U+FEFF.
_NOT_BLANK = r"[^\s\u001c-\u001f\u0085\ufeff]"
Note: TypeAlias = Annotated[str, Meta(max_length=2000)]
Amount: TypeAlias = (
    Annotated[int, Meta(gt=0, le=int(MAX_QUANTITY))] | Annotated[float, Meta(gt=0, le=MAX_QUANTITY)]
)
Counted: TypeAlias = (
    Annotated[int, Meta(ge=0, le=int(MAX_QUANTITY))] | Annotated[float, Meta(ge=0, le=MAX_QUANTITY)]
)

U = TypeVar("U", bound="Update")


@attrs.frozen(kw_only=True)
class Update:
    """What all updates have.

    Attributes:
        extra: Members that the request has beyond the known ones.
    """

    extra: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class EventInventoryUpdate(Update):
    """An item that the event offers; ``enabled`` says whether it can be ordered."""

    category: Name
    item_name: Name | None = None
    item_id: Name | None = None
    enabled: bool | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class EventStockUpdate(Update):
    """Stock of the whole event, in the item's unit; every number has three spellings."""

    item_name: Name | None = None
    item_id: Name | None = None
    category: Annotated[str, Meta(max_length=256)] | None = None
    total_quantity: Quantity | UnsetType = UNSET
    total: Quantity | UnsetType = UNSET
    quantity: Quantity | UnsetType = UNSET
    allocated_quantity: Quantity | UnsetType = UNSET
    allocated: Quantity | UnsetType = UNSET
    available_quantity: Quantity | UnsetType = UNSET
    available: Quantity | UnsetType = UNSET
    low_stock_threshold: Quantity | UnsetType = UNSET
    unit: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class StationConfigUpdate(Update):
    """A station's configuration, whole."""

    station_id: StationId
    config_data: dict[str, Any]


@attrs.frozen(kw_only=True)
class StationQuantityUpdate(Update):
    """What the organiser allots to a station, in the item's unit."""

    station_id: StationId
    item_name: Name | None = None
    item_id: Name | None = None
    category: Annotated[str, Meta(max_length=256)] | None = None
    quantity: Quantity


@attrs.frozen(kw_only=True)
class SettingUpdate(Update):
    """A setting's value, whole."""

    key: Name
    value: Any


UPDATE_TYPES: Mapping[str, type[Update]] = {
    "event_inventory": EventInventoryUpdate,
    "event_stock": EventStockUpdate,
    "station_config": StationConfigUpdate,
    "station_quantity": StationQuantityUpdate,
    "setting": SettingUpdate,
}
"""Type of an update -> its class."""


@attrs.frozen(kw_only=True)
class Movement(Update):
    """What all movements have.

    Attributes:
        category: The item's category.
        item: The item's id or name.
        note: Free text for people, kept in the audit trail.
    """

    type: ClassVar[str] = ""

    category: Annotated[str, Meta(max_length=256)]
    item: Name
    note: Note = ""

    def to_json(self) -> dict[str, Json]:
        """What was asked, as the audit trail keeps it."""
        content: dict[str, Json] = {"type": self.type}
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if field.name in _PLACES:
                content[field.name] = station_name(value)
            elif field.name != "extra" and value != field.default:
                content[field.name] = value
        return {**content, **{k: v for k, v in self.extra.items() if k not in content}}


_PLACES = ("station_id", "from_station", "to_station")


@attrs.frozen(kw_only=True)
class AdjustMovement(Movement):
    """Add ``delta`` to a stock, whatever it is by then; ``floor`` refuses a lower result."""

    type: ClassVar[str] = "adjust"

    station_id: StationId | None = None
    delta: Quantity
    floor: Quantity | None = None


@attrs.frozen(kw_only=True)
class CountMovement(Movement):
    """Somebody counted: the stock is ``quantity``; the difference found is kept."""

    type: ClassVar[str] = "count"

    station_id: StationId | None = None
    quantity: Counted


@attrs.frozen(kw_only=True)
class TransferMovement(Movement):
    """Carry ``quantity`` from one place to another, as one commit."""

    type: ClassVar[str] = "transfer"

    from_station: StationId | None = None
    to_station: StationId | None = None
    quantity: Amount


@attrs.frozen(kw_only=True)
class WasteMovement(Movement):
    """``quantity`` is gone for a ``reason``: spilt, sour, broken."""

    type: ClassVar[str] = "waste"

    station_id: StationId | None = None
    quantity: Amount
    reason: Annotated[
        str, Meta(min_length=1, max_length=2000, extra_json_schema={"pattern": _NOT_BLANK})
    ]


MOVEMENT_TYPES: Mapping[str, type[Movement]] = {
    cls.type: cls for cls in (AdjustMovement, CountMovement, TransferMovement, WasteMovement)
}
"""Type of a movement -> its class."""

BATCH_TYPES: Mapping[str, type[Update]] = {**UPDATE_TYPES, "adjust": AdjustMovement}
"""Type of an element of a batch -> its class."""


def read_update(
    kind: str, data: Any, path: str = "", types: Mapping[str, type[Update]] = UPDATE_TYPES
) -> Update:
    """Validate one update.

    Args:
        kind: One of ``types``.
        data: The JSON value.
        path: Where it stands in the request, such as ``updates[3].data``.
        types: The types that there are.

    Raises:
        InvalidInput: It does not have the expected form; the problem names the place.
    """
    cls = types.get(kind)
    if cls is None:
        raise InvalidInput(
            f"There is no update of type {kind[:50]!r}; use one of {', '.join(types)}.",
            problems=[Problem(_join(path, "type"), f"one of {', '.join(types)}")],
        )
    update = read_as(cls, data, path)
    if getattr(update, "item_name", "") is None and getattr(update, "item_id", "") is None:
        place = _join(path, "item_name")
        raise InvalidInput(
            f"{place}: name the item, by item_name or item_id.",
            problems=[Problem(place, "item_name or item_id is required")],
        )
    return update


def read_movement(kind: str, data: Any) -> Movement:
    """Validate a movement.

    Args:
        kind: One of :data:`MOVEMENT_TYPES`.
        data: The JSON value.

    Raises:
        InvalidInput: It does not have the expected form; the problem names the place.
    """
    if kind not in MOVEMENT_TYPES:
        raise InvalidInput(
            f"There is no movement {str(kind)[:50]!r}; use one of {', '.join(MOVEMENT_TYPES)}.",
            problems=[Problem("type", f"one of {', '.join(MOVEMENT_TYPES)}")],
        )
    movement = read_as(MOVEMENT_TYPES[kind], data)
    if isinstance(movement, TransferMovement) and (
        station_name(movement.from_station) == station_name(movement.to_station)
    ):
        raise InvalidInput(
            "from_station and to_station are the same place.",
            problems=[Problem("to_station", "another place than from_station")],
        )
    if isinstance(movement, WasteMovement) and not re.search(_NOT_BLANK, movement.reason):
        raise InvalidInput(
            "reason says why it is gone.", problems=[Problem("reason", "must not be empty")]
        )
    return movement


def station_name(value: str | int | None) -> str | None:
    """A station as it is stored; None is the event."""
    return None if value is None else str(value)


def read_as(cls: type[U], data: Any, path: str = "") -> U:
    """Validate one request of a class; members that it does not know become ``extra``.

    Args:
        cls: What it is.
        data: The JSON value.
        path: Where it stands in the request.

    Raises:
        InvalidInput: It does not have the expected form, or holds a secret.
    """
    if not isinstance(data, dict):
        raise InvalidInput(
            f"{path or 'The request'} is not an object.", problems=[Problem(path, "an object")]
        )
    json_text.check_json(data, path)
    names = {field.name for field in attrs.fields(cls)} - {"extra"}
    known = {name: value for name, value in data.items() if name in names}
    extra = {name: value for name, value in data.items() if name not in names}
    try:
        update = msgspec.convert(known, type=cls)
    except msgspec.ValidationError as error:
        place, message = _fault(str(error))
        place = _join(path, place)
        raise InvalidInput(
            f"{place or 'The request'}: {message}.", problems=[Problem(place, message)]
        ) from None
    _refuse_secrets(update, data, path)
    return attrs.evolve(update, extra=extra)


def _refuse_secrets(update: Update, data: Mapping[str, Json], path: str) -> None:
    found = list(secrets.scan({**data}).removed)
    if isinstance(update, SettingUpdate):
        scan = secrets.scan(update.value, update.key)
        found += ["value"] if scan.whole else [f"value.{place}" for place in scan.removed]
    secrets.refuse(_join(path, place) for place in dict.fromkeys(found))


def _fault(message: str) -> tuple[str, str]:
    """``Expected `bool`, got `str` - at `$.enabled``` as a path and a message."""
    text, _, place = message.partition(" - at `")
    return place.rstrip("`").removeprefix("$").lstrip("."), text.replace("`", "")


def _join(path: str, name: str) -> str:
    if not path or not name:
        return path or name
    return f"{path}{name}" if name.startswith("[") else f"{path}.{name}"
