"""A state as bytes: sections of JSON lines in an order that depends on the contents only.

One line per record, sorted by key:
``{"key":["milk","oat"],"position":3,"text":"…","raw":null}``. The value (``text``) stays
JSON text inside the line, so that it comes back byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import attrs
import msgspec

from expresso_persist.backups.manifest import Section, SectionState
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey, record_from

__all__ = [
    "Line",
    "RecordLine",
    "SectionData",
    "checked",
    "decode_records",
    "encode_records",
    "key_bytes",
    "record_line",
    "section_of",
]


@attrs.frozen
class Line:
    """One line of a section: a key to cut chunks by, and the bytes with their newline."""

    key: bytes
    data: bytes


@attrs.frozen
class SectionData:
    """A section before it is cut into chunks."""

    name: str
    lines: tuple[Line, ...] = ()
    state: SectionState = "stored"
    note: str = ""


@attrs.frozen
class RecordLine:
    """What a line of records holds."""

    key: tuple[str, ...]
    position: int
    text: str
    raw: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RecordLine)


def encode_records(records: Iterable[Record]) -> tuple[SectionData, ...]:
    """Cut a state into one section per kind; kinds without records have an empty one."""
    by_kind: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_kind[record.kind].append(record)
    return tuple(
        SectionData(kind, tuple(_lines(by_kind.get(kind, ())))) for kind in sorted(RECORD_TYPES)
    )


def _lines(records: Iterable[Record]) -> Iterator[Line]:
    for record in sorted(records, key=lambda record: record.parts):
        yield record_line(record)


def record_line(record: Record) -> Line:
    """One record as a line."""
    value = {
        "key": record.parts,
        "position": record.position,
        "text": record.text,
        "raw": record.raw,
    }
    return Line(key_bytes(record.parts), _encoder.encode(value) + b"\n")


def decode_records(section: Section, pieces: Iterable[bytes]) -> Iterator[list[Record]]:
    """Read the records of a section back, piece by piece.

    Args:
        section: What the pieces should be.
        pieces: Its bytes, cut between lines.

    Yields:
        The records of each piece. They are the section's only when the last was given out.

    Raises:
        BackupCorrupted: The bytes are not the section's, or are not records.
    """
    if section.name not in RECORD_TYPES:
        raise BackupCorrupted(
            f"Section {section.name} is of a kind that this version does not know. Upgrade it."
        )
    width = len(RECORD_TYPES[section.name].key_columns)
    count = 0
    for piece in checked(section, pieces):
        try:
            lines = [_decoder.decode(line) for line in piece.splitlines()]
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise BackupCorrupted(f"Section {section.name} does not hold records.") from error
        count += len(lines)
        if any(len(line.key) != width for line in lines):
            raise BackupCorrupted(f"Section {section.name} does not have the records it lists.")
        yield [
            record_from(RecordKey(section.name, line.key), line.text, line.position, line.raw)
            for line in lines
        ]
    if count != section.records:
        raise BackupCorrupted(f"Section {section.name} does not have the records it lists.")


def checked(section: Section, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass the bytes of a section on, and compare all of them with its checksum at the end.

    Raises:
        BackupCorrupted: They are not the section's.
    """
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != section.sha256:
        raise BackupCorrupted(f"Section {section.name} does not match its checksum.")


def key_bytes(parts: Iterable[str]) -> bytes:
    """A record's key as bytes that sort as the parts do."""
    return "\0".join(parts).encode()


def section_of(data: SectionData, chunks: Sequence[str]) -> Section:
    """Describe a section that was cut into ``chunks``."""
    digest = hashlib.sha256()
    size = 0
    for line in data.lines:
        digest.update(line.data)
        size += len(line.data)
    return Section(
        name=data.name,
        records=len(data.lines),
        size=size,
        sha256=digest.hexdigest(),
        chunks=tuple(chunks),
        state=data.state,
        note=data.note,
    )
