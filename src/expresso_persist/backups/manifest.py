"""What a backup consists of: its sections, their chunks, and a checksum over all of it.

The text form is one JSON object ``{"sha256": …, "manifest": {…}}`` whose checksum covers
the bytes of the inner object, so that a changed byte anywhere in it is noticed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs
import msgspec

from expresso_persist.errors import BackupCorrupted

__all__ = [
    "FORMAT",
    "HOST_PREFIX",
    "IMPORTED",
    "Manifest",
    "Section",
    "SectionState",
    "new_id",
    "payload_sha256",
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
        inner = msgspec.json.encode(self)
        digest = hashlib.sha256(inner).hexdigest()
        return f'{{"sha256":"{digest}","manifest":{inner.decode()}}}'

    @classmethod
    def decode(cls, text: str) -> Manifest:
        """Read what :meth:`encode` wrote.

        Raises:
            BackupCorrupted: It was changed since, or a newer version of the library wrote it.
        """
        try:
            envelope = _envelope.decode(text)
            if hashlib.sha256(envelope.manifest).hexdigest() != envelope.sha256:
                raise BackupCorrupted("The backup's manifest does not match its checksum.")
            version = _version.decode(envelope.manifest).format
            if version > FORMAT:
                raise BackupCorrupted(
                    f"The backup has format {version}; this version of expresso-persist reads "
                    f"up to {FORMAT}. Upgrade it."
                )
            return _manifest.decode(envelope.manifest)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise BackupCorrupted("The backup's manifest cannot be read.") from error


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


_envelope = msgspec.json.Decoder(_Envelope)
_version = msgspec.json.Decoder(_Version)
_manifest = msgspec.json.Decoder(Manifest)
