"""What a backup consists of, as bytes: its sections, their lines, and its manifest.

A section is JSON lines in an order that depends on the contents only. One line per record,
sorted by key: ``{"key":["milk","oat"],"position":3,"text":"…","raw":null}``. The value
(``text``) stays JSON text inside the line, so that it comes back byte for byte.

The stored form of a manifest is ``2:``, the base85 text of a SHA-256, and that of the zstd
frame which the checksum covers. The frame holds a JSON object; its dictionary is a constant,
because most of a manifest's text is the same in all of them. Version 0.1.0 stored the JSON
object ``{"sha256": …, "manifest": {…}}``, which is still read.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import attrs
import msgspec
import zstandard

from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey, record_from

__all__ = [
    "FORMAT",
    "HOST_PREFIX",
    "IMPORTED",
    "Line",
    "Manifest",
    "RecordLine",
    "Section",
    "SectionData",
    "SectionState",
    "checked",
    "decode_records",
    "encode_records",
    "key_bytes",
    "new_id",
    "payload_sha256",
    "record_line",
    "section_of",
]

FORMAT = 1
"""Version of the format; a reader refuses a higher one."""

HOST_PREFIX = "host:"
"""Sections of the host's own tables are named ``host:<table>``."""

IMPORTED = "imported"
"""The type of backups that came from an archive."""

SectionState: TypeAlias = Literal["stored", "absent", "unreadable"]


@attrs.frozen
class Section:
    """One part of a backup: the records of one kind, or the rows of one host table.

    Attributes:
        name: The kind, or ``host:<table>``.
        records: How many lines it has.
        size: Bytes before compression.
        sha256: Checksum of those bytes.
        chunks: Checksums of the pieces that make up those bytes, in order.
        state: ``absent`` when the host has no such table, ``unreadable`` when the table
            could not be read; both are reported, never silently left out.
        note: What a reader should know, such as a limit that was reached.
    """

    name: str
    records: int
    size: int
    sha256: str
    chunks: tuple[str, ...] = ()
    state: SectionState = "stored"
    note: str = ""

    @property
    def from_host(self) -> bool:
        """True for rows of a host table, which a restore reports but never writes."""
        return self.name.startswith(HOST_PREFIX)


@attrs.frozen
class Manifest:
    """Everything that is needed to read a backup, besides its chunks.

    Attributes:
        id: The backup's id.
        tenant: Whose state it is.
        backup_type: Why it was made.
        created_at: When, by the database's clock.
        actor: Who asked for it.
        notes: Free text.
        epoch: Name of the copy of the database that it was taken from.
        revision: The tenant's revision it shows.
        head_hash: Hash of the commit at that revision.
        sections: Its parts, in the order of the payload.
        format: Version of the format.
        library: Version of the library that wrote it.
    """

    id: str
    tenant: str
    backup_type: str
    created_at: dt.datetime
    actor: str
    notes: str
    epoch: str
    revision: int
    head_hash: str
    sections: tuple[Section, ...]
    format: int = FORMAT
    library: str = ""

    @property
    def size(self) -> int:
        """Bytes of all sections before compression."""
        return sum(section.size for section in self.sections)

    @property
    def payload_sha256(self) -> str:
        """The checksum of the whole state; see :func:`payload_sha256`."""
        return payload_sha256(self.sections)

    @property
    def chunk_ids(self) -> frozenset[str]:
        """Every chunk that the backup needs."""
        return frozenset(chunk for section in self.sections for chunk in section.chunks)

    @property
    def record_counts(self) -> dict[str, int | str]:
        """Records per section; the word instead of a number where a table was not read."""
        return {
            section.name: section.records if section.state == "stored" else section.state
            for section in self.sections
        }

    def section(self, name: str) -> Section | None:
        """The section called ``name``, if there is one."""
        return next((section for section in self.sections if section.name == name), None)

    def encode(self) -> str:
        """Write the manifest with its checksum."""
        compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=_dictionary, write_dict_id=False
        )
        frame = compressor.compress(msgspec.json.encode(self))
        digest = hashlib.sha256(frame).digest()
        return _PACKED + base64.b85encode(digest + frame).decode()

    @classmethod
    def decode(cls, text: str) -> Manifest:
        """Read what :meth:`encode` wrote, or version 0.1.0.

        Raises:
            BackupCorrupted: It was changed since, or a newer version of the library wrote it.
        """
        try:
            inner = _unpacked(text) if text.startswith(_PACKED) else _inner(text)
            version = _version.decode(inner).format
            if version > FORMAT:
                raise BackupCorrupted(
                    f"The backup has format {version}; this version of expresso-persist reads "
                    f"up to {FORMAT}. Upgrade it."
                )
            return _manifest.decode(inner)
        except (msgspec.MsgspecError, ValueError, zstandard.ZstdError) as error:
            raise BackupCorrupted("The backup's manifest cannot be read.") from error


def _unpacked(text: str) -> bytes:
    content = base64.b85decode(text.removeprefix(_PACKED))
    digest, frame = content[:_DIGEST], content[_DIGEST:]
    # Two texts may stand for the same bytes; only one of them was written.
    if (
        hashlib.sha256(frame).digest() != digest
        or text != _PACKED + base64.b85encode(content).decode()
    ):
        raise BackupCorrupted("The backup's manifest does not match its checksum.")
    return zstandard.ZstdDecompressor(dict_data=_dictionary).decompress(frame)


def _inner(text: str) -> bytes:
    """The JSON object that version 0.1.0 wrote."""
    envelope = _envelope.decode(text)
    if hashlib.sha256(envelope.manifest).hexdigest() != envelope.sha256:
        raise BackupCorrupted("The backup's manifest does not match its checksum.")
    return bytes(envelope.manifest)


def new_id() -> str:
    """An unguessable name for a backup."""
    return secrets.token_hex(16)


def payload_sha256(sections: Iterable[Section]) -> str:
    """The checksum of a state: over one line per section, as ``sha256sum`` writes them.

    It depends on the contents only, so two backups of one state have the same one.
    """
    lines = (
        f"{section.sha256 if section.state == 'stored' else section.state}  {section.name}\n"
        for section in sections
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@attrs.frozen
class _Envelope:
    sha256: str
    manifest: msgspec.Raw


@attrs.frozen
class _Version:
    format: int


_PACKED = "2:"
_DIGEST = 32
_LEVEL = 19  # a manifest is small
_EMPTY = hashlib.sha256().hexdigest()
# Every manifest ever stored is read with this very text: never change it.
_dictionary = zstandard.ZstdCompressionDict(
    (
        '{"name":"host:orders","records":0,"size":0,"sha256":"","chunks":[],"state":"absent",'
        '"note":"The table has no column created_at."}],"format":1,"library":"0.2.0"}'
        '{"id":"","tenant":"default","backup_type":"manual","backup_type":"safety",'
        '"created_at":"2026-01-01T00:00:00.000000Z","actor":"scheduler","actor":"system",'
        '"notes":"","epoch":"","revision":1,"head_hash":"","sections":['
        + ",".join(
            f'{{"name":"{name}","records":0,"size":0,"sha256":"{_EMPTY}","chunks":[],'
            '"state":"stored","note":""}'
            for name in (
                "document", "event_inventory", "event_stock", "layout", "quarantined",
                "setting", "station_config", "station_quantity", "station_stock",
            )
        )
        + ',{"name":"host:stations","records":0,"size":0,"sha256":"","chunks":[],'
        '"state":"absent","note":""},{"name":"host:orders","records":0,"size":0,"sha256":"",'
        '"chunks":[],"state":"absent","note":""}],"format":1,"library":"0.2.0"}'
    ).encode(),
    dict_type=zstandard.DICT_TYPE_RAWCONTENT,
)  # fmt: skip
_envelope = msgspec.json.Decoder(_Envelope)
_version = msgspec.json.Decoder(_Version)
_manifest = msgspec.json.Decoder(Manifest)


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
