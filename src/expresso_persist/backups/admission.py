"""What is let in of an archive: all that a database here could have written, nothing else.

Checksums tell that an archive is as somebody wrote it, not who that was. What is let in is
stored, shown and restored later, so it is checked before: by the time a restore stumbles over
it, the backup counts as good.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator

import attrs
import msgspec

from expresso_persist.backups.manifest import FORMAT, HOST_PREFIX, Manifest, Section
from expresso_persist.backups.snapshot import Line, RecordLine, record_line
from expresso_persist.documents import render
from expresso_persist.errors import ArchiveRefused, InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey, record_from

__all__ = ["admitted", "check_manifest"]

_ID = re.compile("[0-9a-f]{32}")
_MOST_TEXT = 1000  # characters of any text in a manifest
_MOST_KEY = 512  # characters of a part of a key; longer ones fit no index of PostgreSQL
_ROW_DEPTH = 900  # a host's JSON columns may hold anything
_POSITIONS = range(-(2**31), 2**31)
_REVISIONS = range(2**63)
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_decoder = msgspec.json.Decoder(RecordLine)


def check_manifest(manifest: Manifest) -> None:
    """Check what an archive says about itself.

    Raises:
        ArchiveRefused: No backup is like that, or this version does not know it.
    """
    if manifest.format > FORMAT:
        raise ArchiveRefused(
            f"The archive holds a backup of format {manifest.format}; this version of "
            f"expresso-persist reads up to {FORMAT}. Upgrade it."
        )
    texts: list[json_text.Json] = [
        value for value in attrs.asdict(manifest, recurse=False).values() if isinstance(value, str)
    ]
    texts += [text for section in manifest.sections for text in (section.name, section.note)]
    if (
        manifest.format < 1
        or _ID.fullmatch(manifest.id) is None
        or manifest.created_at.utcoffset() != dt.timedelta()
        or manifest.created_at < _EARLIEST
        or manifest.revision not in _REVISIONS
        or any(len(str(text)) > _MOST_TEXT for text in texts)
        or json_text.find_unstorable(texts) is not None
    ):
        raise ArchiveRefused("The archive's first line has values that no backup has.")
    for section in manifest.sections:
        _check_name(section)


def _check_name(section: Section) -> None:
    table = section.name.removeprefix(HOST_PREFIX)
    if not section.from_host:
        if section.name not in RECORD_TYPES:
            raise _refused(section, "is of a kind that this version does not know; upgrade it")
        if section.state != "stored":
            raise _refused(section, f"cannot be {section.state}")
    elif not table.isprintable() or not table or {"/", "\\"} & {*table}:
        raise _refused(section, "is not named for a table")


def _refused(section: Section, why: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive cannot be used: section {section.name[:80]!r} {why}.")


def admitted(section: Section, lines: Iterable[bytes]) -> Iterator[Line]:
    """Pass the lines of a section on, each after it was checked.

    Raises:
        ArchiveRefused: A line is not what a section of this name holds, or is not sorted.
    """
    before: tuple[str, ...] | None = None
    for data in lines:
        try:
            if section.from_host:
                yield _row(data)
                continue
            record = _record(section, data)
        except (msgspec.MsgspecError, InvalidInput, RecursionError, UnicodeError) as error:
            what = "rows" if section.from_host else "records"
            raise _refused(
                section, f"has a line that does not hold {what} as they are written"
            ) from error
        if before is not None and record.parts <= before:
            raise _refused(section, "is not sorted by key")
        before = record.parts
        yield record_line(record)


def _row(data: bytes) -> Line:
    if not isinstance(json_text.loads(data, max_depth=_ROW_DEPTH, reject_duplicates=True), dict):
        raise InvalidInput("A row is an object.")
    return Line(data, data)


def _record(section: Section, data: bytes) -> Record:
    line = _decoder.decode(data)
    if (
        len(line.key) != len(RECORD_TYPES[section.name].key_columns)
        or any(len(part) > _MOST_KEY for part in line.key)
        or line.position not in _POSITIONS
        or json_text.find_unstorable([*line.key, line.raw]) is not None
    ):
        raise InvalidInput("A record is addressed by its key.")
    record = record_from(RecordKey(section.name, line.key), line.text, line.position, line.raw)
    render.check(record)
    # Its checksum is compared again with what the restored record is written as.
    if record_line(record).data != data:
        raise InvalidInput("A record is written in one way only.")
    return record
