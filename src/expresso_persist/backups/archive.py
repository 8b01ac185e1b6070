"""The archive format: a backup as one file that public tools can read.

A zstd frame of JSON lines, and a seal: a zstd skippable frame (which decompressors pass
over) with the SHA-256 of every byte before it. ``docs/archive-format.md`` describes both
completely. Nothing here knows a database.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Literal

import attrs
import msgspec
import zstandard

from expresso_persist.backups.manifest import Manifest, Section
from expresso_persist.errors import ArchiveRefused, InvalidInput, PayloadTooLarge
from expresso_persist.model import json_text
from expresso_persist.model.json_text import Json

__all__ = ["VERSION", "ArchiveLimits", "ArchiveReader", "Header", "as_file", "write_archive"]

VERSION = 1
"""Version of the format; a reader refuses a higher one."""

FORMAT: Literal["expresso-persist-archive"] = "expresso-persist-archive"
AGE_MAGIC = b"age-encryption.org/v1\n"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SEAL = b"\x5e\x2a\x4d\x18" + (32).to_bytes(4, "little")  # a skippable frame of 32 bytes
_SEAL_SIZE = len(_SEAL) + 32
_BLOCK = 256 * 1024
_WINDOW = 8 * 1024 * 1024  # what a writer here uses at most; a larger one is refused
_LEVEL = 6
_MOST_HEADER = 1024 * 1024  # bytes; a usual one has three thousand
_UNREADABLE = (msgspec.MsgspecError, InvalidInput, RecursionError, UnicodeError)


@attrs.frozen
class ArchiveLimits:
    """What reading an archive may cost.

    Attributes:
        compressed: Bytes of the file.
        expanded: Bytes of its lines.
        ratio: Expanded bytes per compressed byte, beyond the first 64 MiB.
        line: Bytes of one line.
    """

    compressed: int = 2 * 1024**3
    expanded: int = 8 * 1024**3
    ratio: int = 200
    line: int = 64 * 1024**2


@attrs.frozen
class Header:
    """The first line: which backup it is, and what follows.

    Attributes:
        format: Tells an archive from other files of JSON lines.
        version: Version of the format.
        payload_sha256: Checksum of the state, see :func:`.manifest.payload_sha256`.
        backup: The manifest without the names of chunks.
    """

    format: Literal["expresso-persist-archive"]
    version: int
    payload_sha256: str
    backup: Manifest


@attrs.frozen
class _Section:
    section: str


@attrs.frozen
class _End:
    end: bool
    lines: int


@attrs.frozen
class _Version:
    format: Literal["expresso-persist-archive"]
    version: int


_version = msgspec.json.Decoder(_Version)
_header = msgspec.json.Decoder(Header)


def _written(value: object) -> bytes:
    """A line of the file."""
    return msgspec.json.encode(value) + b"\n"


def _named_alike(given: Json, known: Any) -> bool:
    """Whether all members of two values have the same names, at any depth."""
    if isinstance(given, dict) and isinstance(known, dict):
        return given.keys() == known.keys() and all(
            _named_alike(given[name], known[name]) for name in known
        )
    if isinstance(given, list) and isinstance(known, (list, tuple)):
        return all(map(_named_alike, given, known))
    return True


def write_archive(
    manifest: Manifest,
    contents: Callable[[Section], Iterable[bytes]],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[bytes]:
    """Write a backup.

    Args:
        manifest: What it consists of.
        contents: Gives the bytes of a section, in pieces of any size.
        progress: Called with the bytes before compression that are written, and all.

    Yields:
        The bytes of the file; at most one piece is held at a time.
    """
    digest = hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()

    def packed(piece: bytes) -> bytes:
        data = compressor.compress(piece)
        digest.update(data)
        return data

    # Chunks are a matter of the database that the backup was stored in.
    bare = tuple(attrs.evolve(section, chunks=()) for section in manifest.sections)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "payload_sha256": manifest.payload_sha256,
        "backup": attrs.evolve(manifest, sections=bare),
    }
    yield packed(_written(header))
    lines, done = 0, 0
    for section in manifest.sections:
        if section.state != "stored":
            continue
        yield packed(_written(_Section(section.name)))
        for piece in contents(section):
            yield packed(piece)
            done += len(piece)
            progress(done, manifest.size)
        lines += section.records
    yield packed(_written(_End(True, lines)))
    rest = compressor.flush()
    digest.update(rest)
    yield rest + _SEAL + digest.digest()


class ArchiveReader:
    """Reads an archive once, from its beginning, in bounded memory.

    Nothing that it gave out may be kept before :meth:`lines` came to its end: only then
    has every byte been checked.

    Attributes:
        header: The first line.
    """

    def __init__(self, source: IO[bytes], limits: ArchiveLimits | None = None) -> None:
        """Read the header.

        Raises:
            ArchiveRefused: It is no archive, or of a version that is not known here.
        """
        self._limits = limits or ArchiveLimits()
        self._unsealed = _Unsealed(source, self._limits)
        self._lines = self._split()
        first = self._next()
        if len(first) > _MOST_HEADER:
            raise ArchiveRefused("The archive's first line is longer than any that is written.")
        try:
            # Readers that took different ones of two members would read different archives.
            members = json_text.loads(first, reject_duplicates=True)
            version = _version.decode(first).version
            if version < 1:
                raise ArchiveRefused(f"The archive has version {version}, which never was.")
            if version > VERSION:
                raise ArchiveRefused(
                    f"The archive has version {version} of the format; this version of "
                    f"expresso-persist reads up to {VERSION}. Upgrade it."
                )
            self.header: Header = _header.decode(first)
        except _UNREADABLE as error:
            raise ArchiveRefused("The file is no archive of expresso-persist.") from error
        if not _named_alike(members, msgspec.to_builtins(self.header)):
            # What is not known here would be lost on the way in.
            raise ArchiveRefused(
                "The archive's first line has other members than version 1 of the format."
            )
        self._check_header()

    def lines(self) -> Iterator[tuple[Section, Iterator[bytes]]]:
        """Every section that was stored, with its lines (each with its newline).

        Raises:
            ArchiveRefused: Any byte of the archive is not what was written.
        """
        count = 0
        for section in self.header.backup.sections:
            if section.state != "stored":
                continue
            self._expect_section(section.name)
            yield section, self._lines_of(section)
            count += section.records
        if self._next() != _written(_End(True, count)):
            raise _damaged("its last line is not where it should be")
        if next(self._lines, None) is not None:
            raise _damaged("something follows its last line")
        self._unsealed.finish()

    def check(self) -> None:
        """Read all of it.

        Raises:
            ArchiveRefused: Any byte of the archive is not what was written.
        """
        for _, lines in self.lines():
            for _ in lines:
                pass

    def _check_header(self) -> None:
        manifest = self.header.backup
        names = [section.name for section in manifest.sections]
        sizes = [section.size for section in manifest.sections]
        records = [section.records for section in manifest.sections]
        if (
            len(set(names)) != len(names)
            or min([*sizes, *records, 0]) < 0
            or any(section.chunks for section in manifest.sections)
            or self.header.payload_sha256 != manifest.payload_sha256
            or any(s.state != "stored" and (s.records or s.size) for s in manifest.sections)
        ):
            raise ArchiveRefused("The archive's first line contradicts itself.")
        if manifest.size > self._limits.expanded:
            raise _too_large(self._limits)

    def _expect_section(self, name: str) -> None:
        if self._next() != _written(_Section(name)):
            raise _damaged(f"section {name} is not where it should be")

    def _lines_of(self, section: Section) -> Iterator[bytes]:
        digest = hashlib.sha256()
        size = 0
        for _ in range(section.records):
            line = self._next()
            digest.update(line)
            size += len(line)
            yield line
        if size != section.size or digest.hexdigest() != section.sha256:
            raise _damaged(f"section {section.name} does not match its checksum")

    def _next(self) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise _damaged("it ends too early")
        return line

    def _split(self) -> Iterator[bytes]:
        pending: list[bytes] = []  # the pieces of a line that has not come to its end
        size = 0
        for block in self._unsealed.blocks():
            *whole, rest = block.split(b"\n")
            for part in whole:
                self._check_line(size + len(part))
                yield b"".join((*pending, part, b"\n"))
                pending, size = [], 0
            pending.append(rest)
            size += len(rest)
            self._check_line(size)
        if size:
            raise _damaged("it ends in the middle of a line")

    def _check_line(self, size: int) -> None:
        if size > self._limits.line:
            raise ArchiveRefused(
                f"The archive has a line of more than {self._limits.line >> 20} MiB."
            )


class _Unsealed:
    """The expanded bytes of an archive; its seal is checked on the way."""

    def __init__(self, source: IO[bytes], limits: ArchiveLimits) -> None:
        self._source = source
        self._limits = limits
        self._digest = hashlib.sha256()
        self._held = b""
        self._compressed = 0

    def blocks(self) -> Iterator[bytes]:
        """Expand, within the limits."""
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        frames = as_file(self._frames())
        # A reader is asked for so many bytes of output; a few bytes of input may be a bomb.
        with decompressor.stream_reader(frames, read_across_frames=True) as reader:
            expanded = 0
            while True:
                try:
                    data = reader.read(_BLOCK)
                except zstandard.ZstdError as error:
                    raise _damaged("it cannot be decompressed") from error
                if not data:
                    break
                expanded += len(data)
                if expanded > self._limits.expanded or (
                    expanded > _RATIO_FREE and expanded > self._limits.ratio * self._compressed
                ):
                    raise _too_large(self._limits)
                yield data

    def finish(self) -> None:
        """Compare the seal.

        Raises:
            ArchiveRefused: A byte before it was changed, or it is missing.
        """
        if self._held != _SEAL + self._digest.digest():
            raise _damaged("its seal does not fit its contents")

    def _frames(self) -> Iterator[bytes]:
        """Everything before the seal, which is the last bytes of the file."""
        first = True
        while block := self._source.read(_BLOCK):
            self._compressed += len(block)
            if self._compressed > self._limits.compressed:
                raise PayloadTooLarge(
                    f"The archive is larger than {self._limits.compressed >> 20} MiB."
                )
            held = self._held + block
            block, self._held = held[:-_SEAL_SIZE], held[-_SEAL_SIZE:]
            self._digest.update(block)
            if first and not held.startswith(_ZSTD_MAGIC):
                raise ArchiveRefused(_what_instead(held))
            first = False
            if block:
                yield block
        if self._compressed <= _SEAL_SIZE:
            raise ArchiveRefused(_what_instead(self._held))


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def as_file(pieces: Iterable[bytes]) -> IO[bytes]:
    """Pieces of bytes as a file to read from, once."""
    return io.BufferedReader(_Pieces(pieces), _BLOCK)


_RATIO_FREE = 64 * 1024**2  # small archives may repeat themselves as they like


def _what_instead(start: bytes) -> str:
    if not start:
        return "The archive is empty."
    if start.startswith(AGE_MAGIC):
        return "The archive is encrypted; give the key or the passphrase that opens it."
    return "The file is no archive of expresso-persist."


def _damaged(how: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive is damaged: {how}. Use another copy of it.")


def _too_large(limits: ArchiveLimits) -> ArchiveRefused:
    return ArchiveRefused(
        f"The archive expands to more than is allowed ({limits.expanded >> 20} MiB, or "
        f"{limits.ratio} times its size)."
    )
