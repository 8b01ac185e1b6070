"""Bringing the records of one document into the shape of another of the same key.

Pure. A dump may name an item otherwise than what is stored: the seed's shapes know items by
name, the front end's by id. Here each record of the *guest* document is given the address
that its item has in the *host* document, whose shape stays; an item that the host does not
have gets an address and a value of the host's form. A name that means several items is not
guessed: such a record keeps its own address, and the result says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from expresso_persist.documents.codec import Codec, Node
from expresso_persist.documents.items import (
    ALLOCATED,
    AVAILABLE,
    TOTAL,
    Meant,
    known_items,
    list_item,
    meant,
    own_id,
    respelled,
    stock_id,
)
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Record

__all__ = ["LISTED", "Aligned", "Clash", "Names", "align", "as_members"]

_INVENTORY, _STOCK, _ALLOTTED = "event_inventory", "event_stock", "station_quantity"
LISTED = (_INVENTORY, "station_stock")  # kinds whose containers are lists or objects of items
_MAIN = {_INVENTORY: "enabled", _STOCK: "total", _ALLOTTED: "quantity", "station_stock": "amount"}


class Clash(Exception):
    """Two items would have one address; the documents cannot be united."""


@attrs.frozen
class Aligned:
    """The guest's records under the host's addresses.

    Attributes:
        records: The records, in the guest's order.
        root: Their skeleton.
        matched: Pairs of addresses, where the host knows an item by another one.
        ambiguous: Records whose name means several items, and so keep their own address.
        renamed: Addresses of the host that were made from a name, and the guest's id for each.
        reshaped: The guest has another shape, so that its order says nothing.
    """

    records: tuple[Record, ...]
    root: Node
    matched: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    ambiguous: tuple[Record, ...] = ()
    renamed: Mapping[tuple[str, ...], tuple[str, ...]] = attrs.field(factory=dict)
    reshaped: bool = False


class Names:
    """Records by their columns, without a database; read when first asked for."""

    def __init__(self, **sources: Callable[[], Iterable[Record]]) -> None:
        """``sources``: kind -> what gives its records."""
        self._sources = dict(sources)
        self._known: dict[str, dict[tuple[str, str], list[Record]]] = {}

    def replaced(self, kind: str, records: Sequence[Record]) -> Names:
        """The same, but with other records of one kind."""
        return Names(**{**self._sources, kind: lambda: records})

    def find(self, kind: str, **columns: str) -> list[Record]:
        """The records with these column values, see :class:`~.items.Find`."""
        wanted = next(name for name in ("item_id", "item_name", "own_id") if name in columns)
        found = self._of(kind).get((wanted, columns[wanted]), [])
        scope = {name: value for name, value in columns.items() if name != wanted}
        return [
            record
            for record in found
            if all(
                dict(zip(record.key_columns, record.parts, strict=True)).get(name) == value
                for name, value in scope.items()
            )
        ]

    def _of(self, kind: str) -> dict[tuple[str, str], list[Record]]:
        if kind not in self._known:
            index: dict[tuple[str, str], list[Record]] = {}
            source = self._sources.get(kind)
            for record in source() if source is not None else ():
                columns = {
                    "item_id": record.parts[-1],
                    "item_name": record.columns().get("item_name"),
                    "own_id": own_id(record),
                }
                for name, value in columns.items():
                    if isinstance(value, str):
                        index.setdefault((name, value), []).append(record)
            self._known[kind] = index
        return self._known[kind]


def align(
    codec: Codec,
    guests: Sequence[Record],
    guest_root: Node,
    hosts: Sequence[Record],
    host_root: Node,
    names: Names,
) -> Aligned:
    """Give each guest the address of its item in the host document.

    Args:
        codec: Rules of the document.
        guests: Records of one document.
        guest_root: Its skeleton.
        hosts: Records of the other document, whose shape stays.
        host_root: Its skeleton.
        names: The inventory, which knows items by id and by name.
    """
    kind = codec.record_type.kind
    if kind not in _MAIN:
        return Aligned(tuple(guests), guest_root)
    return _Alignment(codec, guests, guest_root, hosts, host_root, names).aligned()


class _Alignment:
    def __init__(
        self,
        codec: Codec,
        guests: Sequence[Record],
        guest_root: Node,
        hosts: Sequence[Record],
        host_root: Node,
        names: Names,
    ) -> None:
        self.codec = codec
        self.kind = codec.record_type.kind
        self.skip = len(codec.prefix)
        self.guests = guests
        self.guest_root, self.host_root = guest_root, host_root
        self.hosts = {record.parts: record for record in hosts}
        self.names = names.replaced(self.kind, hosts)
        # A document without items has no layout that could be kept.
        self.flat = _is_flat(*((hosts, host_root) if hosts else (guests, guest_root)))
        # A station may have both kinds: an item without a category may be one of any.
        self.some_flat = self.flat or (
            self.kind == _ALLOTTED and any(not record.parts[-2] for record in hosts)
        )
        self.flat_names = Counter(
            self.flat_name(record) for record in guests if self.kind not in LISTED
        )

    def aligned(self) -> Aligned:
        guests = self.guests
        meanings = {
            record.parts: Meant() if record.parts in self.hosts else self.meaning(record)
            for record in guests
        }
        claims = Counter(
            meaning.records[0].parts for meaning in meanings.values() if len(meaning.records) == 1
        )
        claims.update(parts for parts in meanings if parts in self.hosts)
        taken = set(self.hosts)
        records: list[Record] = []
        matched: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        ambiguous: list[Record] = []
        renamed: dict[tuple[str, ...], tuple[str, ...]] = {}
        for record in guests:
            meaning = meanings[record.parts]
            host = self.hosts.get(record.parts)
            if meaning.records and (meaning.ambiguous or claims[meaning.records[0].parts] > 1):
                ambiguous.append(record)
            elif meaning.records:
                host = meaning.records[0]
                matched.append((record.parts, host.parts))
                better = self.better_parts(record, host)
                if better is not None and better not in taken:
                    renamed[host.parts] = better
                    host = attrs.evolve(host, parts=better)
            parts = host.parts if host is not None else self.new_parts(record, taken)
            taken.add(parts)
            text = self.new_text(record, parts) if host is None else self.known_text(record, host)
            records.append(attrs.evolve(record, parts=parts, text=text))
        if len({record.parts for record in records}) < len(records):
            raise Clash
        # The same when the guest comes again, and finds by address what was matched or added.
        # One of a flat document that changed its category is where it was.
        elsewhere = [old for old, new in matched if not self.flat or old[-1] != new[-1]]
        reshaped = len(renamed) < len(elsewhere) or any(
            self.is_reshaped(old, new) for old, new in zip(guests, records, strict=True)
        )
        if not matched and records == [*guests]:
            root = self.skeleton(guests) if self.drops_empty else self.guest_root
            return Aligned(tuple(guests), root, (), tuple(ambiguous), {}, reshaped)
        placed = tuple(attrs.evolve(record, position=i) for i, record in enumerate(records))
        root = self.skeleton(placed)
        return Aligned(placed, root, tuple(matched), tuple(ambiguous), renamed, reshaped)

    # -- which item it is ------------------------------------------------------------------

    def meaning(self, record: Record) -> Meant:
        """The host's records that a guest's item may be."""
        for scope in self.scopes(record):
            found = (
                self.listed(record, scope)
                if self.kind in LISTED
                else meant(self.names.find, self.kind, scope, name=record.parts[-1])
            )
            if found.records:
                return found
        return Meant()

    def scopes(self, record: Record) -> Iterator[dict[str, str]]:
        scope = dict(zip(record.key_columns[:-1], record.parts[:-1], strict=True))
        if scope["category"]:
            yield scope
            if self.some_flat:
                yield {**scope, "category": ""}
        if not scope["category"] or (self.flat and self.kind == _STOCK):
            # Nothing says which category it is, or names are unique whatever the category.
            del scope["category"]
            yield scope

    def listed(self, record: Record, scope: dict[str, str]) -> Meant:
        """An id is an id; what is known by its name only goes by its name."""
        find, name = self.names.find, _name(record)
        called = [record.parts[-1], *([name] if name is not None else [])]
        wanted = own_id(record)
        if wanted is not None:
            found = find(self.kind, **scope, own_id=wanted) or find(
                self.kind, **scope, item_id=wanted
            )
            if not found:
                named = {r.parts: r for n in called for r in find(self.kind, **scope, item_id=n)}
                found = [host for host in named.values() if own_id(host) is None]
            return Meant(tuple(found), len(found) > 1)
        for one in called:
            among = find(self.kind, **scope, item_id=one) or find(self.kind, **scope, item_name=one)
            if among:
                return Meant(tuple(among), len(among) > 1)
        return Meant()

    def better_parts(self, record: Record, host: Record) -> tuple[str, ...] | None:
        """The guest's id for an item that the host knows by its name, where it goes by ids."""
        found = None
        if self.kind in LISTED:
            path = host.parts[self.skip : -1]
            if own_id(host) is None and self.codec.container_of(path, self.host_root) == "list":
                found = own_id(record)
        elif not self.flat and host.parts[-2]:
            scope = {"category": host.parts[-2]}
            ids = [
                self.names.find(_INVENTORY, **scope, item_id=parts[-1])
                or self.names.find(_INVENTORY, **scope, own_id=parts[-1])
                for parts in (record.parts, host.parts)
            ]
            found = record.parts[-1] if ids[0] and not ids[1] else None
        return None if found is None else (*host.parts[:-1], found)

    # -- what is new ------------------------------------------------------------------------

    def new_parts(self, record: Record, taken: set[tuple[str, ...]]) -> tuple[str, ...]:
        """The address of an item that the host does not have."""
        category, address = record.parts[-2:]
        if self.kind in LISTED:
            before, after = self.containers(record)
            name = _name(record)
            if (before, after) == ("list", "map") and name is not None:
                address = name
        elif self.is_flat(record) != self.flat:
            if self.flat:
                name = self.flat_name(record)
                address = name if name is not None and self.flat_names[name] == 1 else address
                category = category if self.kind == _STOCK else ""
            else:
                known = known_items(self.names.find, address, category or None)
                if len(known) == 1:
                    category, address = known[0].parts[0], stock_id(known[0])
        parts = (*record.parts[:-2], category, address)
        return record.parts if parts in taken else parts

    def flat_name(self, record: Record) -> str | None:
        """What a document without categories calls an item; None where a name means several."""
        category, address = record.parts[-2:]
        known = known_items(self.names.find, address, category or None)
        name = _name(known[0]) if len(known) == 1 else None
        return name if name and len(known_items(self.names.find, name)) == 1 else None

    def new_text(self, record: Record, parts: tuple[str, ...]) -> str:
        """The value of such an item in the host's form."""
        category, address = parts[-2:]
        if self.kind in LISTED:
            if self.containers(record) != ("map", "list"):
                return record.text
            members = as_members(self.kind, record.data)
            name = _name(record) or record.parts[-1]
            if self.kind == _INVENTORY:
                return json_text.dumps(list_item(category, address, name, members))
            return json_text.dumps({"id": address, "name": name, **members})
        flat = self.stands_flat(parts)
        if self.is_flat(record) == flat:
            return record.text
        members = as_members(self.kind, record.data)
        if self.kind == _ALLOTTED:
            bare = flat and [*members] == ["quantity"]
            return json_text.dumps(members["quantity"] if bare else members)
        members = respelled(members, (TOTAL[1 if flat else 0], ALLOCATED[0], AVAILABLE[0]))
        if flat:
            return json_text.dumps({"category": category, **members})
        return json_text.dumps(_without_category(members, category))

    def known_text(self, record: Record, host: Record) -> str:
        """The value of an item that the host has; where it stands says its category."""
        name, data = _name(host), record.data
        if name == record.parts[-1] != host.parts[-1] and isinstance(data, dict) and "name" in data:
            # It was found by this name, and would not be found again under another one.
            record = attrs.evolve(record, text=json_text.dumps({**data, "name": name}))
        if self.kind != _STOCK or not self.is_flat(record) or self.stands_flat(host.parts):
            return record.text
        data, stored = record.data, host.data
        if not isinstance(data, dict) or (isinstance(stored, dict) and "category" in stored):
            return record.text
        return json_text.dumps(_without_category(data, host.parts[-2]))

    def containers(self, record: Record) -> tuple[str, str]:
        """What a record stands in: in the guest, and in the host."""
        path = record.parts[self.skip : -1]
        before = self.codec.container_of(path, self.guest_root)
        return before, self.codec.container_of(path, self.host_root)

    def stands_flat(self, parts: tuple[str, ...]) -> bool:
        """Whether a record with this address stands in the host without a category around it."""
        if self.kind == _ALLOTTED:
            return parts[-2] == ""
        return (self.flat and parts[-2] not in self.host_root.children) or parts[-2] == ""

    def is_reshaped(self, record: Record, aligned: Record) -> bool:
        """Whether what a record stands in is of another kind than in the host."""
        if self.kind in LISTED:
            before, after = self.containers(record)
            return before != after
        return self.is_flat(record) != self.stands_flat(aligned.parts)

    def is_flat(self, record: Record) -> bool:
        """Whether a guest's record stands without a category around it."""
        path = self.codec.path_of(record.parts[self.skip :], self.guest_root)
        return len(path) < len(record.parts) - self.skip - 1

    # -- where it stands --------------------------------------------------------------------

    @property
    def drops_empty(self) -> bool:
        """Whether the guest has categories that a flat document has no place for."""
        if not self.flat or self.kind in LISTED:
            return False
        nodes = [self.guest_root]
        if self.kind == _ALLOTTED:
            nodes = [station for _, station in self.guest_root.children.values()]
        return any(node.children for node in nodes)

    def skeleton(self, records: Sequence[Record]) -> Node:
        """The guest's skeleton for the new addresses."""
        had = _prefixes(
            self.codec.path_of(record.parts[self.skip :], self.guest_root) for record in self.guests
        )
        paths = [
            r.parts[self.skip : -2 if self.kind not in LISTED and self.stands_flat(r.parts) else -1]
            for r in records
        ]
        needed = _prefixes(paths)
        # An empty category in a flat document would draw the items of that category into it.
        category = (2 if self.kind == _ALLOTTED else 1) if self.drops_empty else 0
        root = _pruned(
            self.guest_root,
            (),
            lambda path: path in needed or (path not in had and len(path) != category),
        )
        root.flat = self.kind == _STOCK and any(not path for path in paths)
        for record, path in zip(records, paths, strict=True):
            node = root
            for depth, name in enumerate(path):
                kind = self.codec.container_of(path[: depth + 1], self.host_root)
                node.children.setdefault(name, (record.position, Node(kind)))
                node = node.children[name][1]
        return root


def as_members(kind: str, value: Json) -> dict[str, Json]:
    """A record's value as an object; a bare one is its main member."""
    if isinstance(value, dict):
        return value
    bare = isinstance(value, bool) if kind == _INVENTORY else _is_number(value)
    return {_MAIN[kind] if bare else "value": value}


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_flat(records: Sequence[Record], root: Node) -> bool:
    """Whether the items of a document stand in it without categories around them."""
    if not records or records[0].kind != _ALLOTTED:
        return root.flat
    return not any(record.parts[-2] for record in records)


def _name(record: Record) -> str | None:
    data = record.data
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name else None


def _without_category(members: dict[str, Json], category: str) -> dict[str, Json]:
    return {n: value for n, value in members.items() if (n, value) != ("category", category)}


def _prefixes(paths: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    return {path[:depth] for path in paths for depth in range(1, len(path) + 1)}


def _pruned(node: Node, path: tuple[str, ...], wanted: Callable[[tuple[str, ...]], bool]) -> Node:
    children = {
        name: (at, _pruned(child, (*path, name), wanted))
        for name, (at, child) in node.children.items()
        if wanted((*path, name))
    }
    return Node(node.container, children, [*node.literals])
