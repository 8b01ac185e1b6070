"""Codecs between a localStorage document and records, whatever shape it came in.

Pure: no database. A document is a tree of containers (objects and lists) whose leaves
are records. A codec says which is which; the *skeleton* remembers the containers, their
order and the odd value that is neither, so that the document can be written back member
by member. Leaves are not in the skeleton: they come from the records' rows.

To add a document: one :class:`Codec` subclass and one line in :func:`codec_for`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import attrs
import msgspec

from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import (
    EventItem,
    Record,
    StationConfig,
    StationQuantity,
    StationStock,
    StockLevel,
)

__all__ = [
    "DOCUMENT_KEYS",
    "STATION_STOCK_PREFIX",
    "Codec",
    "Decoded",
    "Node",
    "UnknownLayout",
    "codec_for",
]

MAX_NAME = 256
STATION_STOCK_PREFIX = "coffee_stock_station_"
DOCUMENT_KEYS: Mapping[str, str] = {
    "event_inventory": "event_inventory",
    "event_stock": "event_stock_levels",
    "station_config": "station_inventory_configs",
    "station_quantity": "station_inventory_quantities",
}
"""Kind of record -> localStorage key, for the seed's four documents."""

Path: TypeAlias = tuple[str, ...]
Container: TypeAlias = Literal["map", "list"]


class UnknownLayout(Exception):
    """The document has no shape that the codec knows; it is to be stored whole."""


@attrs.define
class Node:
    """A container of the document.

    Attributes:
        container: An object or a list.
        children: Containers inside it, by name, with their places.
        literals: Values that are neither container nor record, with their places.
        flat: On the root: records of a category stand directly in it.
    """

    container: Container = "map"
    children: dict[str, tuple[int, Node]] = attrs.field(factory=dict)
    literals: list[tuple[int, str | None, Json]] = attrs.field(factory=list)
    flat: bool = False

    def to_json(self) -> dict[str, Json]:
        """The node as a JSON value."""
        value: dict[str, Json] = {"container": self.container}
        if self.flat:
            value["flat"] = True
        if self.children:
            value["children"] = [[n, p, c.to_json()] for n, (p, c) in self.children.items()]
        if self.literals:
            value["literals"] = [[p, n, v] for p, n, v in self.literals]
        return value

    @classmethod
    def from_json(cls, value: Any) -> Node:
        """Read what :meth:`to_json` wrote."""
        return cls(
            value["container"],
            {name: (at, cls.from_json(child)) for name, at, child in value.get("children", [])},
            [(at, name, literal) for at, name, literal in value.get("literals", [])],
            value.get("flat", False),
        )


@attrs.frozen
class Decoded:
    """A document taken apart.

    Attributes:
        records: Its leaves.
        root: Its skeleton.
        layout: Name of the shape, for people: ``list``, ``map``, ``nested``, ``flat``, …
    """

    records: tuple[Record, ...]
    root: Node
    layout: str


class Codec:
    """Rules for one document; subclasses decide, this class walks."""

    record_type: ClassVar[type[Record]]
    default_container: ClassVar[Container] = "map"

    def __init__(self, document_key: str, prefix: Path = ()) -> None:
        """``prefix``: key parts that all records of the document share."""
        self.document_key = document_key
        self.prefix = prefix

    # -- what a subclass decides ----------------------------------------------------------

    def role(self, path: Path, value: Json) -> Literal["record", "container", "literal"]:
        """What ``value`` is, found in the container at ``path``."""
        raise NotImplementedError

    def parts(self, path: Path, item_id: str, value: Json) -> tuple[str, ...]:
        """Key parts of the record ``value``, after the prefix."""
        return (*path, item_id)

    def path_of(self, parts: tuple[str, ...], root: Node) -> Path:
        """The container that the record with these parts (after the prefix) stands in."""
        return parts[:-1]

    def layout_name(self, root: Node) -> str:
        """A name for people: the kinds of containers that occur below the root."""
        kinds = {child.container for _, child in root.children.values()}
        return "mixed" if len(kinds) > 1 else (kinds.pop() if kinds else "empty")

    def new_root(self) -> Node:
        """Skeleton of a document that was never imported (the seed's shape)."""
        return Node("map")

    # -- taking apart ---------------------------------------------------------------------

    def decode(self, document: Json) -> Decoded:
        """Take a document apart.

        Raises:
            UnknownLayout: It is not an object, or a name is too long for a key.
        """
        if not isinstance(document, dict):
            raise UnknownLayout("not an object")
        records: list[Record] = []
        root = self._decode(document, (), records)
        keys = {record.parts for record in records}
        if len(keys) != len(records):
            raise UnknownLayout("two values would have one address")
        return Decoded(tuple(records), root, self.layout_name(root))

    def _decode(self, value: dict[str, Json] | list[Json], path: Path, out: list[Record]) -> Node:
        node = Node("map" if isinstance(value, dict) else "list")
        members: Iterable[tuple[str | None, Json]] = (
            value.items() if isinstance(value, dict) else ((None, item) for item in value)
        )
        taken: set[str] = set()
        for position, (name, member) in enumerate(members):
            role = self.role(path, member)
            if role == "record":
                item_id = name if name is not None else _address(member, taken)
                parts = (*self.prefix, *self.parts(path, item_id, member))
                if any(len(part) > MAX_NAME for part in parts):
                    raise UnknownLayout(f"a name is longer than {MAX_NAME} characters")
                out.append(self.record_type(parts, json_text.dumps(member), position))
                if not path and len(parts) - len(self.prefix) > 1:
                    node.flat = True
            elif role == "container" and name is not None:
                assert isinstance(member, (dict, list))
                node.children[name] = (position, self._decode(member, (*path, name), out))
            else:
                node.literals.append((position, name, member))
        return node

    # -- putting together -----------------------------------------------------------------

    def encode(self, records: Iterable[Record], root: Node | None = None) -> str:
        """Write the document's JSON text from its records, in any order."""
        root = root if root is not None else self.new_root()
        by_path: dict[Path, list[Record]] = {}
        skip = len(self.prefix)
        for record in records:
            by_path.setdefault(self.path_of(record.parts[skip:], root), []).append(record)
        return json_text.dumps(self._encode(root, (), by_path))

    def _encode(self, node: Node, path: Path, by_path: Mapping[Path, list[Record]]) -> Json:
        # A leaf goes into the text as it is stored; nothing is parsed on the way.
        entries: list[tuple[int, str | None, Any]] = [
            (record.position, record.parts[-1], msgspec.Raw(record.text.encode()))
            for record in by_path.get(path, ())
        ]
        entries.extend((at, name, value) for at, name, value in node.literals)
        for name, (at, child) in node.children.items():
            entries.append((at, name, self._encode(child, (*path, name), by_path)))
        entries.sort(key=lambda entry: entry[0])
        for name in _new_containers(node, path, by_path):
            child = Node(self._sibling_container(node))
            entries.append((0, name, self._encode(child, (*path, name), by_path)))
        if node.container == "list":
            return [value for _, _, value in entries]
        return {name if name is not None else "": value for _, name, value in entries}

    def container_of(self, path: Path, root: Node | None) -> Container:
        """What the container at ``path`` is, or would be if it were made now."""
        node = root if root is not None else self.new_root()
        for name in path:
            entry = node.children.get(name)
            if entry is None:
                return self._sibling_container(node)
            node = entry[1]
        return node.container

    def _sibling_container(self, node: Node) -> Container:
        """A new category looks like the last one beside it."""
        containers: list[Container] = [child.container for _, child in node.children.values()]
        return containers[-1] if containers else self.default_container


def _new_containers(node: Node, path: Path, by_path: Mapping[Path, Sequence[Record]]) -> list[str]:
    """Containers that records need and the skeleton does not have, in order of use."""
    depth = len(path)
    names: dict[str, None] = {}
    for other in by_path:
        if len(other) > depth and other[:depth] == path and other[depth] not in node.children:
            names[other[depth]] = None
    return list(names)


def _address(value: Json, taken: set[str]) -> str:
    """A key for an item of a list: its id, else its name, made unique within the list.

    Hand-edited lists have items without an id and ids that occur twice; the address only
    has to be stable, the value itself is kept as it is.
    """
    base = "item"
    if isinstance(value, str):
        base = value
    elif isinstance(value, dict):
        for member in ("id", "name", "item_name"):
            candidate = value.get(member)
            if isinstance(candidate, str) and candidate:
                base = candidate
                break
            if isinstance(candidate, int) and not isinstance(candidate, bool):
                base = str(candidate)
                break
    address, count = base, 1
    while address in taken:
        count += 1
        address = f"{base}~{count}"
    taken.add(address)
    return address


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _CategoriesCodec(Codec):
    """``{category: [item, …]}`` or ``{category: {item: value}}``, also mixed."""

    def role(self, path: Path, value: Json) -> Literal["record", "container", "literal"]:
        if path:
            return "record"
        return "container" if isinstance(value, (dict, list)) else "literal"


class EventInventoryCodec(_CategoriesCodec):
    """What the event offers, by category."""

    record_type: ClassVar[type[Record]] = EventItem


class StationStockCodec(_CategoriesCodec):
    """``{category: [item, …]}`` of one station, the station being in the key."""

    record_type: ClassVar[type[Record]] = StationStock
    default_container: ClassVar[Container] = "list"


class EventStockCodec(Codec):
    """``{category: {id: {…}}}`` (nested) or ``{item name: {category, total, …}}`` (flat)."""

    record_type: ClassVar[type[Record]] = StockLevel
    _LEAF_MEMBERS = ("total", "allocated", "available", "quantity", "total_quantity")

    def role(self, path: Path, value: Json) -> Literal["record", "container", "literal"]:
        if path:
            return "record"
        if isinstance(value, dict):
            flat = (
                isinstance(value.get("category"), str)
                or isinstance(value.get("unit"), str)
                or any(_is_number(value.get(name)) for name in self._LEAF_MEMBERS)
            )
            return "record" if flat else "container"
        if isinstance(value, list):
            return "container"
        return "record" if _is_number(value) else "literal"

    def parts(self, path: Path, item_id: str, value: Json) -> tuple[str, ...]:
        if path:
            return (path[0], item_id)
        category = value.get("category") if isinstance(value, dict) else None
        return (category if isinstance(category, str) else "", item_id)

    def path_of(self, parts: tuple[str, ...], root: Node) -> Path:
        if parts[0] in root.children or not root.flat:
            return parts[:1]
        return ()

    def layout_name(self, root: Node) -> str:
        if root.flat:
            return "mixed" if root.children else "flat"
        return "nested" if root.children else "empty"

    def new_root(self) -> Node:
        return Node("map", flat=True)


class StationConfigCodec(Codec):
    """``{station id: anything}``: one record per station."""

    record_type: ClassVar[type[Record]] = StationConfig

    def role(self, path: Path, value: Json) -> Literal["record", "container", "literal"]:
        return "record"

    def layout_name(self, root: Node) -> str:
        return "map"


class StationQuantityCodec(Codec):
    """``{station: {category: {item: {quantity}}}}`` or ``{station: {item: number}}``."""

    record_type: ClassVar[type[Record]] = StationQuantity

    def role(self, path: Path, value: Json) -> Literal["record", "container", "literal"]:
        if len(path) == 2:
            return "record"
        if len(path) == 1 and (
            _is_number(value) or (isinstance(value, dict) and _is_number(value.get("quantity")))
        ):
            return "record"
        return "container" if isinstance(value, (dict, list)) else "literal"

    def parts(self, path: Path, item_id: str, value: Json) -> tuple[str, ...]:
        return (path[0], path[1] if len(path) == 2 else "", item_id)

    def path_of(self, parts: tuple[str, ...], root: Node) -> Path:
        return parts[:2] if parts[1] else parts[:1]

    def layout_name(self, root: Node) -> str:
        nested = any(child.children for _, child in root.children.values())
        return "nested" if nested else "flat"


def codec_for(document_key: str) -> Codec | None:
    """The codec of a localStorage key, or None for documents that are kept whole."""
    if document_key.startswith(STATION_STOCK_PREFIX):
        station = document_key[len(STATION_STOCK_PREFIX) :]
        return StationStockCodec(document_key, (station,)) if station else None
    codec = _CODECS.get(document_key)
    return codec(document_key) if codec is not None else None


_CODECS: Mapping[str, type[Codec]] = {
    "event_inventory": EventInventoryCodec,
    "event_stock_levels": EventStockCodec,
    "station_inventory_configs": StationConfigCodec,
    "station_inventory_quantities": StationQuantityCodec,
}
