"""From updates to operations: which record an update means, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from msgspec import UNSET

from expresso_persist.commits.state import State
from expresso_persist.documents.codec import DOCUMENT_KEYS, Node, codec_for
from expresso_persist.documents.items import (
    ALLOCATED,
    AVAILABLE,
    THRESHOLD,
    TOTAL,
    known_items,
    list_item,
    meant,
    own_id,
    stock_id,
)
from expresso_persist.documents.render import root_of
from expresso_persist.errors import ConflictRefused, InvalidInput, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import apply
from expresso_persist.model.records import (
    Delete,
    Operation,
    Put,
    Record,
    RecordKey,
    Setting,
    StationConfig,
    record_from,
)
from expresso_persist.stock.requests import (
    EventInventoryUpdate,
    EventStockUpdate,
    SettingUpdate,
    StationConfigUpdate,
    StationQuantityUpdate,
    Update,
)

__all__ = ["View", "resolve"]


def resolve(view: View, update: Update) -> list[Operation]:
    """The operations of an update.

    Raises:
        ConflictRefused: A name means more than one record.
        InvalidInput: The update does not fit what is stored.
    """
    match update:
        case EventInventoryUpdate():
            return _event_inventory(view, update)
        case EventStockUpdate():
            return _event_stock(view, update)
        case StationConfigUpdate():
            return _station_config(view, update)
        case StationQuantityUpdate():
            return _station_quantity(view, update)
        case SettingUpdate():
            return _setting(view, update)
    raise InvalidInput(f"{type(update).__name__} is not an update that can be carried out.")


class View:
    """The state, with the records that earlier updates of the batch put there."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._pending: dict[RecordKey, Record | None] = {}
        self._own_ids: dict[str, list[Record]] | None = None  # of the inventory

    def note(self, operations: Iterable[Operation]) -> None:
        for change in apply(operations, lambda key: self.get(key.kind, *key.parts)):
            self._pending[change.key] = change.after

    def get(self, kind: str, *parts: str) -> Record | None:
        key = RecordKey(kind, parts)
        return self._pending[key] if key in self._pending else self.state.get(kind, *parts)

    def find(self, kind: str, **columns: str) -> list[Record]:
        wanted = columns.pop("own_id", None)
        if wanted is not None:
            return [record for record in self._by_own_id(kind, wanted) if _has(record, columns)]
        found = {record.key: record for record in self.state.find(kind, **columns)}
        for key, record in self._pending.items():
            if key.kind != kind:
                continue
            found.pop(key, None)
            if record is not None and _has(record, columns):
                found[key] = record
        return list(found.values())

    def all(self, kind: str) -> list[Record]:
        found = {record.key: record for record in self.state.all(kind)}
        pending = {key: record for key, record in self._pending.items() if key.kind == kind}
        return [record for record in {**found, **pending}.values() if record is not None]

    def _by_own_id(self, kind: str, wanted: str) -> list[Record]:
        """Stored items whose value says another id than their address: objects by name."""
        if self._own_ids is None:
            self._own_ids = {}
            for record in self.state.all(kind):
                own = own_id(record)
                if own is not None and own != record.parts[-1]:
                    self._own_ids.setdefault(own, []).append(record)
        return self._own_ids.get(wanted, [])

    def root(self, kind: str) -> Node | None:
        """The skeleton of the kind's document, or None before the first import."""
        key = DOCUMENT_KEYS[kind]
        if self.state.get("document", key, "") is not None:
            raise ConflictRefused(
                f"{key} is stored whole, in a shape without items; import it in a known "
                "shape before its items are updated."
            )
        return root_of(self.state.get("layout", key))

    def next_position(self, kind: str, **columns: str) -> int:
        stored = self.state.next_position(kind, **columns)
        pending = [
            record.position + 1
            for key, record in self._pending.items()
            if key.kind == kind and record is not None and _has(record, columns)
        ]
        return max([stored, *pending])

    def item(
        self, kind: str, scope: Mapping[str, str], item_id: str | None, name: str | None
    ) -> Record | None:
        """The one record that an id or a name means within ``scope``."""
        found = meant(self.find, kind, scope, item_id=item_id, name=name)
        records = [*found.records]
        if len(records) == 1:
            records += self._twin(records[0])
        if found.ambiguous or len(records) > 1:
            raise _several(item_id or name, found.known if len(found.known) > 1 else records)
        return records[0] if records else None

    def _twin(self, record: Record) -> list[Record]:
        """The second record with the same id, of an array in which the id is there twice."""
        *above, item_id = record.parts
        twin = self.get(record.kind, *above, f"{item_id}~2")
        data = twin.data if twin is not None else None
        if twin is None or not isinstance(data, dict):
            return []
        own = next((data[name] for name in ("id", "name", "item_name") if data.get(name)), None)
        return [twin] if str(own) == item_id else []


def _several(wanted: str | None, records: Sequence[Record]) -> ConflictRefused:
    """The refusal of a name that means several items, which it names."""
    keys = [list(record.parts) for record in records[:20]]
    among = ", ".join("/".join(key) for key in keys[:5])
    return ConflictRefused(
        f"{wanted!r} means several items ({among}{', …' if len(records) > 5 else ''}); say which "
        "by item_id and category.",
        context={"keys": keys},
    )


def _place(
    view: View,
    update: EventStockUpdate | StationQuantityUpdate,
    by_id: Callable[[str], bool],
    *,
    nested: bool,
) -> tuple[str, str]:
    """Category and address of an item of which the document has nothing yet.

    Args:
        view: The state; its inventory says in which category an item is.
        update: The update that is the first for its item.
        by_id: Whether the items of a category lie under it, and so go by their ids.
        nested: All items do, so that one without a category has no place.

    Raises:
        ConflictRefused: The name means several items.
        InvalidInput: The document needs a category, and nothing says which.
    """
    given = update.item_id or update.item_name
    assert given is not None
    category = update.category or None
    if category is not None and (update.item_id is not None or not by_id(category)):
        return category, given
    known = known_items(view.find, given, category)
    if len(known) > 1:
        raise _several(given, known)
    if not known:
        if category is None and nested:
            raise InvalidInput(
                f"category: items lie under categories here, and the event has no {given!r} that "
                "would say which; name the category.",
                problems=[Problem("category", "required: the event does not know the item")],
            )
        return category or "", given
    category = known[0].parts[0]
    return category, stock_id(known[0]) if by_id(category) else given


def _has(record: Record, columns: Mapping[str, str]) -> bool:
    values = {**dict(zip(record.key_columns, record.parts, strict=True)), **record.columns()}
    return all(values.get(name) == value for name, value in columns.items())


def _put(record: Record, data: Json, sets: Iterable[str] | None = None) -> Put:
    """Store a record with another value, of which a request named these members, or all."""
    changed = attrs.evolve(record, text=json_text.dumps(data), raw=None)
    return Put(changed, sets=None if sets is None else frozenset(sets))


def _create(view: View, key: RecordKey, data: Json, **siblings: str) -> Put:
    position = view.next_position(key.kind, **siblings)
    return Put(record_from(key, json_text.dumps(data), position))


def _set(data: dict[str, Json], names: Sequence[str], value: Json, default: str) -> str:
    """Set a number under the spelling that the record has, which is given back."""
    name = next((name for name in names if name in data), default)
    data[name] = value
    return name


def _one_of(update: Any, names: Sequence[str]) -> Any:
    """The value of a number that has several spellings; two that differ are refused."""
    values = [getattr(update, n) for n in names if getattr(update, n, UNSET) is not UNSET]
    if any(value != values[0] for value in values[1:]):
        raise InvalidInput(
            f"{' and '.join(names)} are one number and have different values.",
            problems=[Problem(names[0], "given twice, with different values")],
        )
    return _plain(values[0]) if values else UNSET


def _plain(value: float) -> Json:
    return json_text.canonical_number(value)


def _event_inventory(view: View, update: EventInventoryUpdate) -> list[Operation]:
    root = view.root("event_inventory")
    record = view.item(
        "event_inventory", {"category": update.category}, update.item_id, update.item_name
    )
    members: dict[str, Json] = dict(update.extra)
    if update.enabled is not UNSET:
        members["enabled"] = bool(update.enabled)
    if record is not None:
        data = record.data
        if isinstance(data, bool) and not update.extra:
            return [_put(record, update.enabled if update.enabled is not UNSET else data)]
        if update.item_id is not None and update.item_name is not None:
            members["name"] = update.item_name
        return [_put(record, {**_object(data, record), **members}, members)]
    codec = codec_for("event_inventory")
    assert codec is not None
    item_id = update.item_id or update.item_name
    assert item_id is not None
    if codec.container_of((update.category,), root) == "list":
        members = list_item(update.category, item_id, update.item_name or item_id, members)
    else:
        members.setdefault("enabled", True)
    key = RecordKey("event_inventory", (update.category, item_id))
    return [_create(view, key, members, category=update.category)]


def _object(data: Json, record: Record) -> dict[str, Json]:
    if isinstance(data, dict):
        return data
    raise InvalidInput(f"{record.key} is not an object; its members cannot be set one by one.")


def _event_stock(view: View, update: EventStockUpdate) -> list[Operation]:
    root = view.root("event_stock")
    scope = {"category": update.category} if update.category is not None else {}
    record = view.item("event_stock", scope, update.item_id, update.item_name)
    operations: list[Operation] = []
    flat = root is None or root.flat
    if record is None and scope and flat:
        # In the seed's flat shape an item has one name in all; a new category moves it.
        record = view.item("event_stock", {}, update.item_id, update.item_name)
        if record is not None and root is not None and record.parts[0] in root.children:
            record = None
        if record is not None:
            operations.append(Delete(record.key))
            moved = {**_object(record.data, record), "category": update.category}
            record = record_from(
                RecordKey("event_stock", (str(update.category), record.parts[1])),
                json_text.dumps(moved),
                record.position,
            )
    total, allocated, available = (
        _one_of(update, ("total_quantity", "total", "quantity")),
        _one_of(update, ("allocated_quantity", "allocated")),
        _one_of(update, ("available_quantity", "available")),
    )
    if record is None:
        return [_new_stock(view, update, root, total, allocated, available)]
    data = record.data
    if not isinstance(data, dict):  # {"Oat milk": 5}
        only_total = allocated is UNSET and available is UNSET and update.unit is UNSET
        if only_total and not update.extra and total is not UNSET:
            return [*operations, _put(record, total)]
        data = {"category": record.parts[0], "total": data}
    seed = "total" in data or "total_quantity" in data
    data = {**data, **update.extra}
    sets = {*update.extra}
    for names, value, default in (
        (TOTAL, total, "total" if seed else "quantity"),
        (ALLOCATED, allocated, "allocated"),
        (AVAILABLE, available, "available"),
        (THRESHOLD, _one_of(update, ("low_stock_threshold",)), "low_stock_threshold"),
    ):
        if value is not UNSET:
            sets.add(_set(data, names, value, default))
    if update.unit is not UNSET:
        data["unit"] = str(update.unit)
        sets.add("unit")
    return [*operations, _put(record, data, None if operations else sets)]


def _new_stock(
    view: View, update: EventStockUpdate, root: Node | None, total: Any, allocated: Any,
    available: Any,
) -> Put:  # fmt: skip

    def by_id(category: str) -> bool:
        return root is not None and (not root.flat or category in root.children)

    nested = root is not None and not root.flat and "" not in root.children
    category, item_id = _place(view, update, by_id, nested=nested)
    flat = not by_id(category)
    total = 0 if total is UNSET else total
    allocated = 0 if allocated is UNSET else allocated
    rest = json_text.canonical_number(max(0.0, float(total) - float(allocated)))
    data: dict[str, Json] = {
        **({"category": category} if flat else {}),
        "total" if flat else "quantity": total,
        "allocated": allocated,
        "available": rest if available is UNSET else available,
        "unit": "units" if update.unit is UNSET else str(update.unit),
    }
    threshold = _one_of(update, ("low_stock_threshold",))
    if threshold is not UNSET:
        data["low_stock_threshold"] = threshold
    data.update(update.extra)
    key = RecordKey("event_stock", (category, item_id))
    return _create(view, key, data, **({} if flat else {"category": category}))


def _station_config(view: View, update: StationConfigUpdate) -> list[Operation]:
    view.root("station_config")
    station = str(update.station_id)
    record = view.get("station_config", station)
    data: Json = {**update.config_data}
    if record is not None:
        return [_put(record, data)]
    return [_create(view, StationConfig((station,), "null").key, data)]


def _station_quantity(view: View, update: StationQuantityUpdate) -> list[Operation]:
    root = view.root("station_quantity")
    station, quantity = str(update.station_id), _plain(update.quantity)
    scope = {"station_id": station}
    if update.category is not None:
        scope["category"] = update.category
    record = view.item("station_quantity", scope, update.item_id, update.item_name)
    if record is None and update.category:
        # In the seed's flat shape a station's items have no category.
        scope["category"] = ""
        record = view.item("station_quantity", scope, update.item_id, update.item_name)
    if record is not None:
        data = record.data
        if not isinstance(data, dict):
            return [
                _put(record, {"quantity": quantity, **update.extra} if update.extra else quantity)
            ]
        sets = {"quantity": quantity, **update.extra}
        return [_put(record, {**data, **sets}, sets)]
    shapes = _station_shapes(view, root, station)
    # A document that begins here is flat, as the first release had it, unless a category is named.
    if (shapes == {False} and root is not None) or not (shapes or update.category):
        category, item_id = "", update.item_id or update.item_name or ""
    else:
        category, item_id = _place(view, update, lambda _: True in shapes, nested=shapes == {True})
    value: Json = {"quantity": quantity, **update.extra}
    key = RecordKey("station_quantity", (station, category, item_id))
    return [
        _create(
            view,
            key,
            value if category or update.extra else quantity,
            station_id=station,
            category=category,
        )
    ]


def _station_shapes(view: View, root: Node | None, station: str) -> set[bool]:
    """Whether what a station has lies under categories; one without anything is as the others."""
    children = root.children if root is not None else {}
    records = view.find("station_quantity", station_id=station)
    own = {bool(record.parts[1]) for record in records}
    if station in children and children[station][1].children:
        own.add(True)
    if own:
        return own
    if any(child.children for _, child in children.values()):
        return {True}
    return {bool(record.parts[1]) for record in view.all("station_quantity")}


def _setting(view: View, update: SettingUpdate) -> list[Operation]:
    key = update.key
    if codec_for(key) is not None or view.get("document", key, "") is not None:
        raise InvalidInput(
            f"{key} is not a setting but a document; import it, or update its items.",
            problems=[Problem("key", "names a document")],
        )
    record = view.get("setting", key)
    if record is not None:
        return [_put(record, update.value)]
    return [Put(Setting((key,), json_text.dumps(update.value)))]
