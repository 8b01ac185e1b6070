"""Writing documents back from records: the other half of :mod:`~.codec`."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import attrs
import msgspec

from expresso_persist.documents.codec import (
    DOCUMENT_KEYS,
    STATION_STOCK_PREFIX,
    Codec,
    Decoded,
    Node,
    codec_for,
)
from expresso_persist.documents.source import RecordSource
from expresso_persist.errors import InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Layout, Record

__all__ = [
    "Device",
    "Document",
    "check",
    "devices",
    "dump",
    "inventory",
    "layout_record",
    "ranked",
    "read",
    "records_of",
    "root_of",
    "text_digest",
]

_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LAYOUT_DEPTH = 1_000  # a skeleton has levels of its own around those of the document


@attrs.frozen
class Document:
    """One localStorage document.

    Attributes:
        key: Its localStorage key.
        device_id: Whose it is; ``''`` when it is shared.
        value: The JSON value; for plain text the string itself.
        raw: The string that localStorage holds.
    """

    key: str
    device_id: str
    value: Json
    raw: str


def text_digest(text: str) -> str:
    """Short name of a JSON text, to see whether a document is still what came in."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def layout_record(key: str, decoded: Decoded, raw: str | None, text: str) -> Layout:
    """The row that remembers a document's shape.

    Args:
        key: The localStorage key.
        decoded: The document taken apart.
        raw: The raw string, where ``text`` differs from it.
        text: The JSON text that the records and the skeleton give.
    """
    data: dict[str, Json] = {"layout": decoded.layout, "skeleton": decoded.root.to_json()}
    if raw is not None:
        data["raw_digest"] = text_digest(text)
    return Layout((key,), json_text.dumps(data), raw=raw)


def root_of(layout: Record | None) -> Node | None:
    """The skeleton that a layout row remembers."""
    if layout is None:
        return None
    return Node.from_json(json_text.loads(layout.text, max_depth=_LAYOUT_DEPTH)["skeleton"])  # type: ignore[index,call-overload]


@attrs.frozen
class _Skeleton:
    """What :meth:`.codec.Node.to_json` writes."""

    container: Literal["map", "list"]
    flat: bool = False
    children: tuple[tuple[str, int, _Skeleton], ...] = ()
    literals: tuple[tuple[int, str | None, msgspec.Raw], ...] = ()


@attrs.frozen
class _Shape:
    """What :func:`layout_record` writes."""

    layout: str
    skeleton: _Skeleton
    raw_digest: str | None = None


_shape = msgspec.json.Decoder(_Shape)


def check(record: Record) -> None:
    """See whether a record from outside can be written back as, or in, its document.

    Raises:
        InvalidInput: It cannot; stored, it would spoil the answers to everybody.
    """
    deep = _LAYOUT_DEPTH if record.kind == "layout" else json_text.MAX_DEPTH
    data = json_text.loads(record.text, max_depth=deep, reject_unstorable=True)
    try:
        record.columns()
        if record.kind == "layout":
            _shape.decode(record.text)
            possible = codec_for(record.parts[0]) is not None
        elif record.kind == "station_stock":
            possible = record.parts[0] != ""  # its document is named for the station
        elif record.kind == "quarantined":
            possible = isinstance(data, dict) and all(
                isinstance(json_text.loads(str(data[name])), str)
                for name in ("key_json", "raw_json")
            )
        else:
            possible = True
    except (msgspec.MsgspecError, KeyError, RecursionError):
        possible = False
    if not possible:
        raise InvalidInput(f"A record of {record.kind} is not what this version writes.")


def records_of(state: RecordSource, codec: Codec) -> list[Record]:
    """The stored records of a codec's document."""
    kind = codec.record_type.kind
    if codec.prefix:
        return state.find(kind, station_id=codec.prefix[0])
    return state.records(kind)


def _text(codec: Codec, records: list[Record], layout: Record | None) -> tuple[str, str]:
    """The document's JSON text and its raw string."""
    text = codec.encode(records, root_of(layout))
    if layout is not None and layout.raw is not None:
        data = json_text.peek(layout.text)
        if data.get("raw_digest") == text_digest(text):
            return text, layout.raw
    return text, text


def _documents(state: RecordSource) -> Iterator[tuple[str, Codec, list[Record], Record | None]]:
    """Every document that is stored in rows: key, codec, records, layout."""
    layouts = {record.parts[0]: record for record in state.records("layout")}
    for kind, key in DOCUMENT_KEYS.items():
        records = state.records(kind)
        if records or key in layouts:
            codec = codec_for(key)
            assert codec is not None
            yield key, codec, records, layouts.get(key)
    stations: dict[str, list[Record]] = {
        key.removeprefix(STATION_STOCK_PREFIX): []
        for key in layouts
        if key.startswith(STATION_STOCK_PREFIX)
    }
    for record in state.records("station_stock"):
        stations.setdefault(record.parts[0], []).append(record)
    for station, records in sorted(stations.items()):
        key = STATION_STOCK_PREFIX + station
        codec = codec_for(key)
        assert codec is not None
        yield key, codec, records, layouts.get(key)


def inventory(state: RecordSource) -> bytes:
    """The inventory of a tenant as one JSON object, each document in its own shape."""
    stations: dict[str, msgspec.Raw] = {}
    content: dict[str, Any] = {}
    for key, codec, records, layout in _documents(state):
        text = msgspec.Raw(_text(codec, records, layout)[0].encode())
        if codec.prefix:
            stations[codec.prefix[0]] = text
        else:
            content[key] = text
    for key in DOCUMENT_KEYS.values():
        # A document in a shape that no codec knows is stored whole and shown all the same.
        whole = state.get("document", key, "")
        if key not in content and whole is not None:
            content[key] = msgspec.Raw(whole.text.encode())
    content["station_stock"] = stations
    content["settings"] = {
        record.parts[0]: msgspec.Raw(record.text.encode()) for record in state.records("setting")
    }
    return msgspec.json.encode(content)


def read(state: RecordSource, key: str, device_id: str = "") -> Document | None:
    """One document by its localStorage key, wherever it is stored."""
    codec = codec_for(key)
    if codec is not None:
        layout = state.get("layout", key)
        records = records_of(state, codec)
        if layout is not None or records:
            text, raw = _text(codec, records, layout)
            return Document(key, "", json_text.loads(text), raw)
    record = state.get("setting", key) or state.get("document", key, device_id)
    if record is None and device_id:
        record = state.get("document", key, "")
    if record is None:
        return None
    raw = record.raw if record.raw is not None else record.text
    device = record.parts[1] if record.kind == "document" else ""
    return Document(key, device, record.data, raw)


@attrs.frozen
class Device:
    """A browser whose preferences are stored.

    Attributes:
        device_id: What it is called in the dumps it sent.
        documents: How many documents it has of its own.
        newest: How many of them no other device wrote later: those that a dump without a
            device takes from it.
        updated_at: When one of them was last written, be it by a restore.
    """

    device_id: str
    documents: int
    newest: int
    updated_at: dt.datetime

    def to_json(self) -> dict[str, Any]:
        """The device as a JSON object."""
        moment = self.updated_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        return {**attrs.asdict(self), "updated_at": moment}


def devices(state: RecordSource) -> list[Device]:
    """The devices that have documents of their own, by name."""
    newest = _of_devices(state, None)
    found: dict[str, list[Record]] = {}
    for record in state.records("document"):
        if record.parts[1]:
            found.setdefault(record.parts[1], []).append(record)
    return [
        Device(
            name,
            len(records),
            sum(newest[record.parts[0]] is record for record in records),
            max(record.updated_at or _LONG_AGO for record in records),
        )
        for name, records in sorted(found.items())
    ]


def ranked(state: RecordSource, record: Record) -> Record:
    """A record as it is stored: what is of a device, after what others wrote before it.

    How new it is among those of its key is the record's position. Unlike its revision that
    is part of the record, so a backup has it and a restore gives it back.
    """
    if record.kind == "document" and record.parts[1]:
        column = {"document_key": record.parts[0]}
    elif record.kind == "quarantined":
        column = {"document_key": str(record.columns()["document_key"])}
    else:
        return record
    stored = state.at(record.key)
    if stored is not None and (stored.text, stored.raw) == (record.text, record.raw):
        return stored
    return attrs.evolve(record, position=state.next_position(record.kind, **column))


def dump(state: RecordSource, device_id: str | None = None) -> dict[str, Any]:
    """All documents as a dump that a browser can load.

    ``{"localStorage": {key: raw string}, "quarantined": [key, …], "devices": [device, …],
    "from_devices": {key: device}}``: all devices that there are, and for each key that is a
    device's own, whose it is.
    """
    storage: dict[str, str] = {}
    for key, codec, records, layout in _documents(state):
        storage[key] = _text(codec, records, layout)[1]
    for record in state.records("setting"):
        storage[record.parts[0]] = record.raw if record.raw is not None else record.text
    from_devices: dict[str, str] = {}
    for key, record in _of_devices(state, device_id).items():
        if key not in storage:
            storage[key] = record.raw if record.raw is not None else record.text
            from_devices |= {key: record.parts[1]} if record.parts[1] else {}
    quarantined: dict[str, tuple[tuple[int, int], str]] = {}
    for record in state.records("quarantined"):
        data = record.data
        assert isinstance(data, dict)
        device = str(data.get("device_id") or "")
        if device_id is not None and device not in ("", device_id):
            continue
        # What no database can store is kept as JSON text in which it is escaped.
        key, raw = (
            str(json_text.loads(str(data["key_json"]))),
            str(json_text.loads(str(data["raw_json"]))),
        )
        rank = (record.position, record.revision)
        if key not in storage and rank >= quarantined.get(key, ((-1, -1), ""))[0]:
            quarantined[key] = (rank, raw)
            from_devices |= {key: device} if device else {}
    storage.update({key: raw for key, (_, raw) in quarantined.items()})
    return {
        "localStorage": storage,
        "quarantined": sorted(quarantined),
        "devices": [device.to_json() for device in devices(state)],
        "from_devices": from_devices,
    }


def _of_devices(state: RecordSource, device_id: str | None) -> dict[str, Record]:
    """For each key the stored document of a device, of the newest one, or the shared one."""
    chosen: dict[str, Record] = {}
    for record in state.records("document"):
        key, device = record.parts
        if device_id is not None and device not in ("", device_id):
            continue
        best = chosen.get(key)
        if best is None or _precedes(best, record, device_id):
            chosen[key] = record
    return chosen


def _precedes(best: Record, other: Record, device_id: str | None) -> bool:
    """Whether ``other`` is the better answer: the asked device's, else the newest."""
    if device_id is not None:
        return other.parts[1] == device_id
    # Databases of version 0.1.0 have only the revision to go by.
    return (other.position, other.revision) > (best.position, best.revision)
