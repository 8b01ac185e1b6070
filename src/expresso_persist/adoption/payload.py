"""From a backup of the replaced system to the state that it shows.

Pure. Its backups hold the four inventory documents, the settings, and rows of ``stations``
and ``orders``. What they never held (thresholds, allotments, documents of other kinds) is
taken from the rows as they were adopted, so that restoring one changes what differed then
and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from expresso_persist.adoption.conversion import Secret, setting_record
from expresso_persist.backups.manifest import HOST_PREFIX, Line, SectionData, encode_records
from expresso_persist.documents.codec import DOCUMENT_KEYS, MAX_NAME, UnknownLayout, codec_for
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import Layout, Record, RecordKey, StoredDocument

__all__ = ["OldState", "PayloadReader", "Unreadable"]

_KINDS = frozenset(DOCUMENT_KEYS)
_KNOWN = frozenset(
    [
        "timestamp",
        "backup_version",
        "backup_type",
        "stats",
        "inventory",
        "settings",
        "stations",
        "recent_orders",
    ]
)
_DEPTH = json_text.MAX_DEPTH + 4  # the documents lie some levels below the payload's surface
_HOST = {"stations": "stations", "recent_orders": "orders"}
NOT_HELD = "not in the old backup; as it was when the database was adopted"


class Unreadable(Exception):
    """The payload is not one that the replaced system could have restored; says why."""


@attrs.frozen
class OldState:
    """What an old backup shows.

    Attributes:
        sections: The state as sections of a backup.
        empty: It holds no inventory and no settings.
        removed: Places of secrets that were left out.
        unknown: Members of the payload that are not carried over.
    """

    sections: tuple[SectionData, ...]
    empty: bool
    removed: tuple[str, ...]
    unknown: tuple[str, ...]


@attrs.frozen
class _Document:
    records: tuple[Record, ...]
    removed: tuple[str, ...]


class PayloadReader:
    """Reads payloads; a document that is as in the payload before is not read again."""

    def __init__(self, adopted: Iterable[Record]) -> None:
        """``adopted``: the records that the old tables gave."""
        self._adopted: dict[RecordKey, tuple[Record, Json]] = {}
        self._others: list[Record] = []
        for record in adopted:
            if record.kind in _KINDS:
                self._adopted[record.key] = (record, record.data)
            elif record.kind != "setting":
                self._others.append(record)
        self._known: dict[str, tuple[Json, _Document]] = {}

    def read(self, text: object) -> OldState:
        """Read a payload.

        Raises:
            Unreadable: It cannot be.
        """
        payload = _parsed(text)
        inventory = payload.get("inventory", {})
        settings = payload.get("settings", {})
        if not isinstance(inventory, dict) or not isinstance(settings, dict):
            raise Unreadable("its inventory or its settings are not an object")
        if "inventory" not in payload and "settings" not in payload:
            raise Unreadable("it holds neither inventory nor settings")
        records = list(self._others)
        removed: list[str] = []
        taken = {record.key for record in records}
        documents = [self._document(key, value) for key, value in inventory.items()]
        for document in (*documents, self._settings(settings)):
            # A document that is stored whole now may have stood in the old inventory too.
            records += [record for record in document.records if record.key not in taken]
            removed += document.removed
        host, host_removed = _host_sections(payload)
        return OldState(
            (*_noted(encode_records(records)), *host),
            not any(inventory.values()) and not settings,
            (*removed, *host_removed),
            tuple(sorted(payload.keys() - _KNOWN)),
        )

    def _document(self, key: str, value: Json) -> _Document:
        known = self._known.get(key)
        if known is not None and known[0] == value:
            return known[1]
        document = self._taken_apart(key, value)
        self._known[key] = (value, document)
        return document

    def _taken_apart(self, key: str, value: Json) -> _Document:
        if len(key) > MAX_NAME or secrets.is_secret_text(key):
            raise Unreadable("the name of a document is too long, or a secret")
        scan = secrets.scan(value, key)
        removed = tuple(f"{place} of {key}" for place in scan.removed)
        if scan.whole:
            return _Document((), (key,))
        codec = codec_for(key)
        whole = StoredDocument((key, ""), json_text.dumps(scan.value))
        if codec is None:
            return _Document((whole,), removed)
        try:
            decoded = codec.decode(scan.value)
        except UnknownLayout:
            return _Document((whole,), removed)
        records = self._completed(decoded.records)
        if json_text.loads(codec.encode(decoded.records), max_depth=_DEPTH) != scan.value:
            if codec.encode(decoded.records, decoded.root) != whole.text:
                return _Document((whole,), removed)
            shape: Json = {"layout": decoded.layout, "skeleton": decoded.root.to_json()}
            # Its places are those of the skeleton; nothing can be completed around them.
            return _Document((*decoded.records, Layout((key,), json_text.dumps(shape))), removed)
        return _Document(records, removed)

    def _completed(self, records: Sequence[Record]) -> tuple[Record, ...]:
        """Records with the places and the members that the old backups never held."""
        found: list[Record] = []
        last = max((record.position for record, _ in self._adopted.values()), default=-1)
        for record in records:
            adopted = self._adopted.get(record.key)
            if adopted is None:
                found.append(attrs.evolve(record, position=last + 1 + record.position))
                continue
            text = json_text.dumps(_united(record, record.data, adopted[1]))
            found.append(attrs.evolve(record, text=text, position=adopted[0].position))
        return tuple(found)

    def _settings(self, settings: Mapping[str, Json]) -> _Document:
        records: list[Record] = []
        removed: list[str] = []
        for key, value in settings.items():
            try:
                if len(key) > MAX_NAME:
                    raise Unreadable("the name of a setting is too long")
                carried = setting_record(key, value)
            except Secret as place:
                removed.append(str(place))
                continue
            records.append(carried.record)
            removed += carried.removed
        return _Document(tuple(records), tuple(removed))


def _parsed(text: object) -> dict[str, Json]:
    if not isinstance(text, str):
        raise Unreadable("it is not text" if text is not None else "it is empty")
    try:
        payload = json_text.loads(text, max_depth=_DEPTH, reject_unstorable=True)
        if isinstance(payload, str):  # JSON that was written as JSON once more
            payload = json_text.loads(payload, max_depth=_DEPTH, reject_unstorable=True)
    except ExpressoPersistError as error:
        raise Unreadable(error.message.rstrip(".")) from None
    if not isinstance(payload, dict):
        raise Unreadable("it is not an object")
    return payload


def _united(record: Record, old: Json, adopted: Json) -> Json:
    """The old value, with what the old backups never held."""
    if record.kind == "station_quantity":
        return {**adopted, "quantity": old} if isinstance(adopted, dict) else old
    if not isinstance(old, dict) or not isinstance(adopted, dict):
        return old
    if record.kind == "station_config":
        name = adopted.get("station_name")
        return old if name is None or "station_name" in old else {"station_name": name, **old}
    return {**{name: old.get(name, value) for name, value in adopted.items()}, **old}


def _noted(sections: Iterable[SectionData]) -> tuple[SectionData, ...]:
    held = {*_KINDS, "setting", "layout"}
    return tuple(
        section
        if section.name in held or not section.lines
        else attrs.evolve(section, note=NOT_HELD)
        for section in sections
    )


def _host_sections(payload: Mapping[str, Json]) -> tuple[list[SectionData], list[str]]:
    """The rows of the host's tables, as a backup of ours holds them."""
    sections: list[SectionData] = []
    removed: list[str] = []
    for member, table in _HOST.items():
        rows = payload.get(member)
        name = f"{HOST_PREFIX}{table}"
        if not isinstance(rows, list):
            sections.append(SectionData(name, state="absent", note="not in the old backup"))
            continue
        lines: list[Line] = []
        for row in rows:
            scan = secrets.scan(row)
            removed += [f"{place} of a row of {table}" for place in scan.removed]
            data = json_text.dumps(scan.value).encode() + b"\n"
            key = row.get("id") if isinstance(row, dict) else None
            lines.append(Line(data if key is None else str(key).encode(), data))
        lines.sort(
            key=lambda line: (len(line.key) if line.key.isdigit() else 0, line.key, line.data)
        )
        sections.append(SectionData(name, tuple(lines)))
    return sections, removed
