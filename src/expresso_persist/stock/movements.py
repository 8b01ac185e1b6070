"""Stock movements: the records that they change.

Pure but for the :class:`~expresso_persist.commits.state.State` that is read. Which records hold the
stock of a place:

- the event's: its stock level. ``quantity`` is what the event owns, ``allocated`` what it
  handed to stations, ``available`` the rest, kept in step here;
- a station's: its live stock (``amount``) where it has the item there, else its allotment.

A transfer moves the allotment along with the live stock. Below zero is stored, because a
late count must not vanish; the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from expresso_persist.commits.state import State
from expresso_persist.documents.items import ALLOCATED, AVAILABLE, TOTAL
from expresso_persist.errors import ConflictRefused, ExpressoPersistError, NotFound, Problem
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.operations import add, adjusted, number
from expresso_persist.model.records import Adjust, Operation, Put, Record, RecordKey
from expresso_persist.stock.item_resolver import View, resolve
from expresso_persist.stock.requests import (
    AdjustMovement,
    CountMovement,
    EventStockUpdate,
    Movement,
    StationQuantityUpdate,
    TransferMovement,
    Update,
    WasteMovement,
    station_name,
)

__all__ = ["Effect", "Stock", "decide", "update_operations"]

# The front end shows the inventory's extras under another name in a station's live stock.
_ALIASES: Mapping[str, str] = {"extras": "other", "other": "extras"}


@attrs.frozen
class Stock:
    """What a place has of an item after a movement.

    Attributes:
        station_id: The station, or None for the event's stock.
        category: The item's category.
        item: The item's id.
        quantity: What is there: the event's ``quantity``, a station's live amount, or its
            allotment where it has no live stock of the item.
        negative: It is below zero; for the event, also when more was handed out than it has.
        available: Of the event's stock, what is not handed out; None where that is not counted.
    """

    station_id: str | None
    category: str
    item: str
    quantity: float
    negative: bool
    available: float | None = None

    def to_json(self) -> dict[str, Json]:
        """The stock as a JSON object."""
        content = attrs.asdict(self)
        if self.available is None:
            del content["available"]
        return content


@attrs.frozen
class Effect:
    """What a movement does.

    Attributes:
        operations: The records it writes.
        stock: The places it touches, as they are afterwards.
        difference: For a count: counted minus stored.
    """

    operations: tuple[Put, ...]
    stock: tuple[Stock, ...]
    difference: float | None = None


def decide(state: State, movement: Movement) -> Effect:
    """Decide what a movement does to what is stored.

    Raises:
        NotFound: There is no stock of the item where the movement takes from.
        ConflictRefused: The item's name means more than one record.
        InvalidInput: What is stored is no number, or the result leaves the range.
    """
    book = _Book(View(state), movement.category, movement.item)
    difference: float | None = None
    match movement:
        case AdjustMovement():
            book.change(station_name(movement.station_id), movement.delta, movement.floor)
        case WasteMovement():
            book.change(station_name(movement.station_id), -movement.quantity)
        case CountMovement():
            difference = book.count(station_name(movement.station_id), movement.quantity)
        case TransferMovement():
            book.transfer(
                station_name(movement.from_station),
                station_name(movement.to_station),
                movement.quantity,
            )
    return Effect(tuple(book.operations()), tuple(book.stock), difference)


def update_operations(
    updates: Sequence[Update], path: str = ""
) -> Callable[[State], list[Operation]]:
    """Decide the elements of a batch when the commit happens; each sees what those before it do.

    The function that is returned raises what :func:`decide` does.

    Args:
        updates: The elements.
        path: Where a request has them, such as ``updates``; an error names the element then.
    """

    def operations(state: State) -> list[Operation]:
        view = View(state)
        decided: list[Operation] = []
        for index, update in enumerate(updates):
            try:
                made = (
                    _adjust(view, update)
                    if isinstance(update, AdjustMovement)
                    else resolve(view, update)
                )
                view.note(made)
            except ExpressoPersistError as error:
                if not path:
                    raise
                raise _at(f"{path}[{index}]", error) from error
            decided.extend(made)
        return decided

    return operations


def _at(place: str, error: ExpressoPersistError) -> ExpressoPersistError:
    """The error of an element, with its place in the request."""
    problems = [
        Problem(f"{place}.data.{problem.path}", problem.message) for problem in error.problems
    ]
    return error.rephrased(f"{place}: {error.message}", problems or [Problem(place, error.message)])


def _adjust(view: View, movement: AdjustMovement) -> list[Operation]:
    """An adjustment as part of a batch: deltas, whatever the rest of the batch sets.

    Numbers that were set apart stay apart, because what is derived from others does not add.
    """
    holding = _Book(view, movement.category, movement.item).required(
        station_name(movement.station_id)
    )
    data = holding.data if isinstance(holding.data, dict) else {}
    name = _spelling(data, _names(holding))
    made: list[Operation] = [Adjust(holding.key, name, movement.delta, movement.floor)]
    if holding.kind == "event_stock" and _has(data, AVAILABLE):
        made.append(Adjust(holding.key, _spelling(data, AVAILABLE), movement.delta))
    return made


class _Book:
    """The records of one item, and what a movement makes of them."""

    def __init__(self, view: View, category: str, item: str) -> None:
        self.view = view
        self.category = category
        self.item = item
        self.stock: list[Stock] = []
        self._written: dict[RecordKey, Put] = {}

    def operations(self) -> Iterable[Put]:
        return self._written.values()

    # -- the movements --------------------------------------------------------------------

    def change(self, station: str | None, delta: float, floor: float | None = None) -> None:
        self._tell(station, self._add(self.required(station), delta, floor))

    def count(self, station: str | None, quantity: float) -> float:
        holding = self._holding(station)
        if holding is None:
            self._tell(station, self._create(station, quantity))
            return json_text.canonical_number(quantity)
        difference = adjusted(quantity, -_number(holding, _names(holding)))
        self._tell(station, self._add(holding, difference))
        return difference

    def transfer(self, source: str | None, target: str | None, quantity: float) -> None:
        given = self.required(source)
        # The id at the source names the item at the target too, where it is new.
        self.item = given.parts[-1]
        self._tell(source, self._hand(source, given, -quantity))
        self._tell(target, self._hand(target, self._holding(target), quantity))

    def _hand(self, station: str | None, holding: Record | None, delta: float) -> Record:
        """Take from or give to a place; the event's stock is handed out, not used up."""
        if station is None:
            if holding is None:
                raise self._missing(None)
            return self._put(holding, _event_data(holding, 0, -delta))
        allotment = self._allotment(station)
        if holding is None:
            return self._create(station, delta)
        if holding.kind == "station_stock":
            if allotment is not None:
                self._add(allotment, delta)
            elif delta > 0:
                self._create(station, delta)
        return self._add(holding, delta)

    # -- the records ----------------------------------------------------------------------

    def required(self, station: str | None) -> Record:
        holding = self._holding(station)
        if holding is None:
            raise self._missing(station)
        return holding

    def _missing(self, station: str | None) -> NotFound:
        where = "The event" if station is None else f"Station {station}"
        return NotFound(f"{where} has no {self.item!r} in {self.category!r}; count it first.")

    def _holding(self, station: str | None) -> Record | None:
        """The record that holds a place's stock of the item."""
        if station is None:
            self.view.root("event_stock")
            return self._find("event_stock", {}, [self.category, ""])
        categories = [self.category, _ALIASES.get(self.category, "")]
        live = self._find("station_stock", {"station_id": station}, categories)
        return live if live is not None else self._allotment(station)

    def _allotment(self, station: str) -> Record | None:
        self.view.root("station_quantity")
        return self._find("station_quantity", {"station_id": station}, [self.category, ""])

    def _find(
        self, kind: str, scope: Mapping[str, str], categories: Sequence[str]
    ) -> Record | None:
        for category in dict.fromkeys(categories):  # flat shapes have no category, kept as ""
            found = self.view.item(kind, {**scope, "category": category}, None, self.item)
            if found is not None:
                return found
        return None

    def _create(self, station: str | None, quantity: float) -> Record:
        quantity = json_text.canonical_number(quantity)
        known = self.view.item("event_inventory", {"category": self.category}, None, self.item)
        item_id = known.parts[-1] if known is not None else self.item
        update: Update
        if station is None:
            update = EventStockUpdate(
                category=self.category, item_name=item_id, total_quantity=quantity
            )
        else:
            root = self.view.root("station_quantity")
            flat = root is not None and not any(c.children for _, c in root.children.values())
            update = StationQuantityUpdate(
                station_id=station,
                category=None if flat and root is not None and root.children else self.category,
                item_id=item_id,
                quantity=quantity,
            )
        operation, *others = resolve(self.view, update)
        if others or not isinstance(operation, Put):
            # In the seed's flat shape an item has one name in all.
            raise ConflictRefused(
                f"The event has {self.item!r} in another category; name that category."
            )
        self._written[operation.key] = operation
        return operation.record

    def _add(self, record: Record, delta: float, floor: float | None = None) -> Record:
        data, names = record.data, _names(record)
        result = add(_value(record, names), delta, str(record.key), floor=floor)
        if record.kind == "event_stock":
            return self._put(record, _event_data(record, delta, 0))
        return self._put(record, _with(data, names, result) if isinstance(data, dict) else result)

    def _put(self, record: Record, data: Json) -> Record:
        changed = record
        if data != record.data:  # a count of what is stored leaves the very text alone
            changed = attrs.evolve(record, text=json_text.dumps(data), raw=None)
        self._written[record.key] = Put(changed)
        return changed

    def _tell(self, station: str | None, record: Record) -> None:
        quantity = _number(record, _names(record))
        data = record.data
        rest = None
        if station is None and isinstance(data, dict) and _has(data, AVAILABLE):
            rest = _number(record, AVAILABLE)
        negative = min(quantity, 0 if rest is None else rest) < 0
        category = record.parts[-2] or self.category
        self.stock.append(Stock(station, category, record.parts[-1], quantity, negative, rest))


_FIELDS: Mapping[str, tuple[str, ...]] = {
    "event_stock": TOTAL,
    "station_stock": ("amount",),
    "station_quantity": ("quantity",),
}


def _names(record: Record) -> tuple[str, ...]:
    return _FIELDS[record.kind]


def _member(data: Mapping[str, Json], names: Sequence[str]) -> Json:
    """The number under the first of its spellings that the record has."""
    return next((data[name] for name in names if name in data), None)


def _has(data: Mapping[str, Json], names: Sequence[str]) -> bool:
    return any(name in data for name in names)


def _value(record: Record, names: Sequence[str]) -> Json:
    data = record.data
    if not isinstance(data, dict):
        return data
    value = _member(data, names)
    return 0 if value is None else value


def _number(record: Record, names: Sequence[str]) -> int | float:
    return number(_value(record, names), str(record.key))


def _with(data: Mapping[str, Json], names: Sequence[str], value: Json) -> dict[str, Json]:
    return {**data, _spelling(data, names): value}


def _spelling(data: Mapping[str, Json], names: Sequence[str]) -> str:
    """The spelling of a number that the record has, or the usual one."""
    return next((name for name in names if name in data), names[0])


def _event_data(record: Record, owned: float, handed: float) -> Json:
    """The event's stock of an item with more owned and more handed out to stations."""
    data, what = record.data, str(record.key)
    total = add(_value(record, TOTAL), owned, what)
    if not isinstance(data, dict):
        if not handed:
            return total
        data = {"category": record.parts[0], "total": total}
    data = _with(data, TOTAL, total)
    if handed or _has(data, ALLOCATED):
        before = _value(record, ALLOCATED) if _has(data, ALLOCATED) else 0
        allocated = add(before, handed, what)
        data = _with(data, ALLOCATED, allocated)
        return _with(data, AVAILABLE, adjusted(total, -allocated))
    if owned and _has(data, AVAILABLE):
        return _with(data, AVAILABLE, add(_value(record, AVAILABLE), owned, what))
    return data
