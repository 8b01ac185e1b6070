"""The union of a stored document and an incoming one, both taken apart into records.

Pure. The stored document's shape stays, whatever shape the incoming one has: items are
matched first (:mod:`~.alignment`), their values united by :func:`~.merge.merge`,
and nothing that only one side has is lost. Nothing empty takes the place of something full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

import attrs

from expresso_persist.documents.codec import Codec, Decoded, Node
from expresso_persist.documents.items import TOTAL, respelled
from expresso_persist.documents.merge import Side, is_empty, merge, merged_order
from expresso_persist.importing.alignment import LISTED, Aligned, Clash, Names, align, as_members
from expresso_persist.importing.receipt import Cause, Conflict, Match, Resolution
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Record

__all__ = ["United", "unite"]

Path: TypeAlias = tuple[str, ...]
_Literal: TypeAlias = tuple[int, str | None, Json]


@attrs.frozen
class United:
    """The union.

    Attributes:
        records: Its records; a stored one that is not among them any more has another
            address now.
        root: Its skeleton.
        conflicts: Where the two differed.
        matched: Items of the dump that are stored under another name.
        ours: What was stored, under the addresses that it has in the union.
        theirs: What the dump has, likewise.
    """

    records: tuple[Record, ...]
    root: Node
    conflicts: tuple[Conflict, ...] = ()
    matched: tuple[Match, ...] = ()
    ours: tuple[Record, ...] = ()
    theirs: tuple[Record, ...] = ()


def unite(
    codec: Codec,
    stored: Sequence[Record],
    stored_root: Node | None,
    incoming: Decoded,
    *,
    prefer: Side,
    names: Names,
) -> United:
    """Unite a stored document with an incoming one.

    Args:
        codec: Rules of the document.
        stored: Its stored records.
        stored_root: Its stored skeleton; None when it was made item by item, so that its
            shape is still open and becomes the incoming one's.
        incoming: The incoming document.
        prefer: Whose value stands where both have one and neither is empty.
        names: The inventory, which knows items by id and by name.

    Returns:
        With nothing stored, exactly the incoming document.
    """
    if not stored and (stored_root is None or _is_bare(stored_root)):
        return United(incoming.records, incoming.root, theirs=incoming.records)
    union = _Union(codec, prefer, by_stored=stored_root is not None)
    base = stored_root if stored_root is not None else codec.new_root()
    if all(is_empty(record.data) for record in incoming.records):
        ours, theirs = union.value(stored, base), union.value(incoming.records, incoming.root)
        if is_empty(theirs) and not (is_empty(ours) and theirs):
            union.note((), "empty", "existing", ours, theirs)
            return United(tuple(stored), base, tuple(union.conflicts))
    try:
        return union.of(stored, base, incoming, names)
    except Clash:
        union = _Union(codec, prefer, by_stored=True)
        theirs = union.value(incoming.records, incoming.root)
        union.note((), "shape", "existing", union.value(stored, base), theirs)
        return United(tuple(stored), base, tuple(union.conflicts))


class _Union:
    def __init__(self, codec: Codec, prefer: Side, *, by_stored: bool) -> None:
        self.codec = codec
        self.prefer: Side = prefer
        self.by_stored = by_stored  # whose shape it has
        self.reshaped = False  # the incoming one has another
        self.skip = len(codec.prefix)
        self.conflicts: list[Conflict] = []

    def of(self, stored: Sequence[Record], base: Node, incoming: Decoded, names: Names) -> United:
        if self.by_stored:
            guest = align(self.codec, incoming.records, incoming.root, stored, base, names)
            self.reshaped = guest.reshaped
            ours = [_renamed(record, guest.renamed) for record in stored]
            sides = (ours, base, guest.records, guest.root)
            pairs = guest.matched
        else:
            guest = align(self.codec, stored, base, incoming.records, incoming.root, names)
            sides = ([*guest.records], guest.root, incoming.records, incoming.root)
            pairs = tuple((theirs, mine) for mine, theirs in guest.matched)
        self._note_ambiguous(guest)
        old, old_root, new, new_root = sides
        full = tuple(_full(self.codec, records, root) for records, root in (sides[:2], sides[2:]))
        root = self.skeleton(old_root, new_root, (), full[0], full[1])
        records = self.placed(
            sides, root, "existing" if self.reshaped else self.prefer, self.values(old, new, root)
        )
        matched = (Match(self.codec.document_key, theirs, mine) for theirs, mine in pairs)
        return United(
            tuple(records), root, tuple(self.conflicts), tuple(matched), tuple(old), tuple(new)
        )

    # -- conflicts ----------------------------------------------------------------------------

    def note(
        self, path: Path, cause: Cause, resolution: Resolution, existing: Json, incoming: Json
    ) -> None:
        """List a place of the document, outside the records, where the two differ."""
        self.conflicts.append(
            Conflict(
                self.codec.record_type.kind,
                (*self.codec.prefix, *path),
                self.codec.document_key,
                resolution,
                existing,
                incoming,
                (),
                cause,
            )
        )

    def _note_ambiguous(self, aligned: Aligned) -> None:
        for record in aligned.ambiguous:
            path = record.parts[self.skip :]
            self.note(path, "ambiguous", "both", None, record.data)

    def value(self, records: Iterable[Record], root: Node) -> Json:
        return json_text.loads(self.codec.encode(records, root), max_depth=1_000)

    # -- values -------------------------------------------------------------------------------

    def values(
        self, old: Sequence[Record], new: Sequence[Record], root: Node
    ) -> dict[Path, Record]:
        """The united record for each address of either side."""
        stored = {record.parts: record for record in old}
        united = dict(stored)
        for record in new:
            existing = stored.get(record.parts)
            united[record.parts] = (
                record if existing is None else self.record(existing, record, root)
            )
        return united

    def record(self, existing: Record, incoming: Record, root: Node) -> Record:
        if existing.text == incoming.text:
            return existing
        flat = len(self.codec.path_of(existing.parts[self.skip :], root)) < (
            len(existing.parts) - self.skip - 1
        )
        old, new = self.comparable(existing, incoming, flat=flat)
        if self.reshaped and isinstance(old, dict) and isinstance(new, dict):
            # The order of members belongs to the shape.
            new = {**{name: new[name] for name in old if name in new}, **new}
        value, differences = merge(old, new, self.prefer)
        self.conflicts += [
            Conflict(
                existing.kind,
                existing.parts,
                self.codec.document_key,
                difference.resolution,
                difference.existing,
                difference.incoming,
                difference.path,
                difference.cause,
            )
            for difference in differences
        ]
        record = attrs.evolve(existing, text=json_text.dumps(value))
        if flat and existing.kind == "event_stock":  # its category is a member of its value
            parts = self.codec.parts((), existing.parts[-1], value)
            record = attrs.evolve(record, parts=(*self.codec.prefix, *parts))
        return record

    def comparable(self, existing: Record, incoming: Record, *, flat: bool) -> tuple[Json, Json]:
        """Both values in one form: members under one spelling, or both bare."""
        kind, old, new = existing.kind, existing.data, incoming.data
        if kind == "station_config" or is_empty(old) or is_empty(new):
            return old, new
        if isinstance(old, (list, str)) or isinstance(new, (list, str)):
            if isinstance(old, dict) and isinstance(new, str) and "value" in old:
                return old, as_members(kind, new)
            return old, new
        if not isinstance(old, dict) and not isinstance(new, dict):
            return old, new
        if not isinstance(new, dict):
            return old, respelled(as_members(kind, new), cast("dict[str, Json]", old))
        if isinstance(old, dict):
            return (old, respelled(new, old)) if self.by_stored else (respelled(old, new), new)
        if not self.by_stored:
            return respelled(as_members(kind, old), new), new
        bare = respelled(as_members(kind, old), () if flat else TOTAL[:1])
        plain = respelled(new, bare)
        if [*plain] == [*bare]:
            return old, plain[next(iter(bare))]
        if flat and kind == "event_stock" and "category" not in new:
            bare = {"category": existing.parts[-2], **bare}
        return bare, plain

    # -- the skeleton -------------------------------------------------------------------------

    def skeleton(
        self, old: Node, new: Node, path: Path, old_full: set[Path], new_full: set[Path]
    ) -> Node:
        host = old if self.by_stored else new
        node = Node(host.container, flat=old.flat or new.flat)
        node.literals = self.literals(old, new, path, old_full, new_full)
        names = {name for _, name, _ in node.literals if name is not None}
        for name in [*dict.fromkeys([*old.children, *new.children])]:
            if name in names:
                continue
            ours, theirs = old.children.get(name), new.children.get(name)
            place = (*path, name)
            if ours is not None and theirs is not None:
                if place in old_full and place not in new_full:
                    empty: Json = [] if theirs[1].container == "list" else {}
                    self.note(place, "empty", "existing", _names(old_full, place), empty)
                united = self.skeleton(ours[1], theirs[1], place, old_full, new_full)
                node.children[name] = (ours[0], united)
            elif ours is not None:
                node.children[name] = self.added(ours, host, name, by_host=self.by_stored)
            elif theirs is not None:
                node.children[name] = self.added(theirs, host, name, by_host=not self.by_stored)
        return node

    def added(
        self, entry: tuple[int, Node], host: Node, name: str, *, by_host: bool
    ) -> tuple[int, Node]:
        """A container that one side has: in the host's shape it looks like those beside it."""
        at, child = entry
        if by_host or self.codec.record_type.kind not in LISTED or not host.children:
            return entry
        return at, Node(self.codec.container_of((name,), host), child.children, child.literals)

    def literals(
        self, old: Node, new: Node, path: Path, old_full: set[Path], new_full: set[Path]
    ) -> list[_Literal]:
        """Values that are neither item nor container, by name; full containers come first."""
        kept: dict[str, _Literal] = {}
        for at, name, value in old.literals:
            if name is None:
                continue
            if name in new.children:
                if is_empty(value):
                    continue
                if self.prefer == "existing":
                    raise Clash
                self.note((*path, name), "shape", "incoming", value, None)
                continue
            kept[name] = (at, name, value)
        for at, name, value in new.literals:
            if name is None:
                continue
            place = (*path, name)
            if name in old.children and (place in old_full or is_empty(value)):
                cause: Cause = "empty" if is_empty(value) else "shape"
                if place in old_full:
                    self.note(place, cause, "existing", _names(old_full, place), value)
            elif name in kept:
                place_there, _, stored = kept[name]
                united, differences = merge(stored, value, self.prefer)
                for d in differences:
                    self.note((*place, *d.path), d.cause, d.resolution, d.existing, d.incoming)
                kept[name] = (place_there, name, united)
            else:
                kept[name] = (at, name, value)
        return [*kept.values(), *self.unnamed(old, new, path)]

    def unnamed(self, old: Node, new: Node, path: Path) -> list[_Literal]:
        """Items of a list that are no records have nothing to match them by: one value."""
        ours = [literal for literal in old.literals if literal[1] is None]
        theirs = [literal for literal in new.literals if literal[1] is None]
        if not ours or not theirs:
            return ours or theirs
        before, after = ([value for _, _, value in side] for side in (ours, theirs))
        if json_text.dumps(before) == json_text.dumps(after):
            return ours
        self.note(path, "different", self.prefer, before, after)
        return theirs if self.prefer == "incoming" else ours

    # -- places -------------------------------------------------------------------------------

    def placed(
        self,
        sides: tuple[Sequence[Record], Node, Sequence[Record], Node],
        root: Node,
        lead: Side,
        values: Mapping[Path, Record],
    ) -> list[Record]:
        """The records with their places among their siblings; the skeleton gets its own."""
        siblings: dict[Path, tuple[list[_Child], list[_Child]]] = {}
        for side, records, skeleton in ((0, *sides[:2]), (1, *sides[2:])):
            for record in records:
                path = self.codec.path_of(record.parts[self.skip :], root)
                child = _Child(record.position, ("record", *record.parts))
                siblings.setdefault(path, ([], []))[side].append(child)
            _collect(skeleton, (), siblings, side)
        merged: list[Record] = []
        for path, (old, new) in siblings.items():
            node = _node_at(root, path)
            places = _places(sorted(old), sorted(new), lead)
            taken: set[str] = set()
            for identity, place in places.items():
                if identity[0] == "record":
                    record = attrs.evolve(values[identity[1:]], position=place)
                    merged.append(record)
                elif node is None or not _has_entry(node, identity[1]):
                    continue
                else:
                    _move(node, identity[1], place)
                name = identity[-1]
                if node is not None and node.container == "map" and name in taken:
                    raise Clash
                taken.add(name)
        if len({record.parts for record in merged}) < len(merged):
            raise Clash
        merged.sort(key=lambda record: (record.parts[:-1], record.position))
        return merged


def _renamed(record: Record, renamed: Mapping[Path, Path]) -> Record:
    """A stored item under the id that the dump has for it."""
    parts = renamed.get(record.parts)
    if parts is None:
        return record
    data = record.data
    if isinstance(data, dict) and "id" in data:
        data = {**data, "id": parts[-1]}
    return attrs.evolve(record, parts=parts, text=json_text.dumps(data))


@attrs.frozen(order=True)
class _Child:
    position: int
    identity: tuple[str, ...]


def _is_bare(root: Node) -> bool:
    return not root.children and not root.literals


def _full(codec: Codec, records: Iterable[Record], root: Node) -> set[Path]:
    """The containers that have something in them, and the items that stand in them."""
    skip = len(codec.prefix)
    full: set[Path] = set()
    for record in records:
        path = codec.path_of(record.parts[skip:], root)
        full.update(path[:depth] for depth in range(len(path) + 1))
        full.add((*path, record.parts[-1]))
    _add_literals(root, (), full)
    return full


def _add_literals(node: Node, path: Path, full: set[Path]) -> None:
    if node.literals:
        full.update(path[:depth] for depth in range(len(path) + 1))
    for name, (_, child) in node.children.items():
        _add_literals(child, (*path, name), full)


def _names(full: set[Path], path: Path) -> list[Json]:
    return [*sorted(other[-1] for other in full if other[:-1] == path)]


def _collect(
    node: Node, path: Path, siblings: dict[Path, tuple[list[_Child], list[_Child]]], side: int
) -> None:
    pair = siblings.setdefault(path, ([], []))
    for name, (position, child) in node.children.items():
        pair[side].append(_Child(position, ("entry", name)))
        _collect(child, (*path, name), siblings, side)
    for position, literal_name, _ in node.literals:
        if literal_name is not None:
            pair[side].append(_Child(position, ("entry", literal_name)))


def _places(old: Sequence[_Child], new: Sequence[_Child], lead: Side) -> dict[tuple[str, ...], int]:
    """Places for the union of two ordered lists of siblings.

    Where the stored order stays, so do the stored places, so that a small dump does not
    rewrite those of a large event.
    """
    stored = {child.identity: child.position for child in old}
    names, _ = merged_order(
        (child.identity for child in old), (child.identity for child in new), lead
    )
    if names[: len(stored)] == [*stored]:
        last = max(stored.values(), default=-1)
        added = names[len(stored) :]
        return {**stored, **{identity: last + 1 + i for i, identity in enumerate(added)}}
    return {identity: place for place, identity in enumerate(names)}


def _node_at(root: Node, path: Path) -> Node | None:
    node: Node | None = root
    for name in path:
        entry = node.children.get(name) if node is not None else None
        node = entry[1] if entry is not None else None
    return node


def _has_entry(node: Node, name: str) -> bool:
    return name in node.children or any(name == literal for _, literal, _ in node.literals)


def _move(node: Node, name: str, place: int) -> None:
    if name in node.children:
        node.children[name] = (place, node.children[name][1])
    node.literals = [
        (place if literal == name else position, literal, value)
        for position, literal, value in node.literals
    ]
