"""The stored form of a piece: whole, or as what differs from an earlier piece.

Pure. One byte for the encoding (1: zstd, 2: zstd with the earlier piece as its
dictionary), four bytes CRC-32 of what follows, and the zstd frame. The CRC finds flips in
the few bits of a frame that a decoder ignores; the SHA-256 of the contents, which is the
piece's name, finds everything else, a wrong earlier piece too.
"""

from __future__ import annotations

import difflib
import hashlib
import zlib
from collections.abc import Iterable, Sequence

import attrs
import zstandard

from expresso_persist.backups.manifest import Section
from expresso_persist.errors import BackupCorrupted

__all__ = ["Packed", "ancestors", "pack", "unpack"]

_WHOLE, _DELTA = 1, 2
_HEADER = 5
_LARGEST = 512 * 1024**2  # a piece has at most one record more than its usual size
_LEVEL = 6


@attrs.frozen
class Packed:
    """The stored form of a piece.

    Attributes:
        data: What is stored.
        base: Name of the piece that is needed to read it, or None.
    """

    data: bytes = attrs.field(repr=False)
    base: str | None = None


def pack(content: bytes, base: tuple[str, bytes] | None = None) -> Packed:
    """Compress a piece, as the difference from ``base`` (name, content) where that is less."""
    whole = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
    if base is not None:
        name, earlier = base
        # The contents have a SHA-256; a checksum of zstd's own would be paid for each time.
        delta = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=_dictionary(earlier), write_dict_id=False
        ).compress(content)
        # A difference is paid for again with every reading; it has to be worth it.
        if len(delta) * 2 < len(whole):
            return Packed(_framed(_DELTA, delta), name)
    return Packed(_framed(_WHOLE, whole))


def _framed(encoding: int, frame: bytes) -> bytes:
    return bytes([encoding]) + zlib.crc32(frame).to_bytes(4, "big") + frame


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def unpack(sha256: str, stored: bytes, base: bytes | None = None) -> bytes:
    """Give back a piece's bytes, after checking every one of them.

    Args:
        sha256: Its name.
        stored: What :func:`pack` wrote.
        base: Contents of the piece that it was packed against.

    Raises:
        BackupCorrupted: They are not what was stored.
    """
    name = f"Chunk {sha256[:12]}"
    frame = stored[_HEADER:]
    if (
        len(stored) < _HEADER
        or stored[0] != (_WHOLE if base is None else _DELTA)
        or zlib.crc32(frame) != int.from_bytes(stored[1:_HEADER], "big")
    ):
        raise BackupCorrupted(f"{name} of the backup is damaged.")
    try:
        # The size is checked before anything is expanded: a bomb cannot go off.
        if zstandard.get_frame_parameters(frame).content_size > _LARGEST:
            raise BackupCorrupted(f"{name} of the backup does not have the size it should.")
        dictionary = None if base is None else _dictionary(base)
        data = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame)
    except zstandard.ZstdError as error:
        raise BackupCorrupted(f"{name} of the backup cannot be decompressed.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BackupCorrupted(f"{name} of the backup does not match its checksum.")
    return data


def ancestors(old: Iterable[Section], new: Iterable[Section]) -> dict[str, str]:
    """Which earlier piece each new one is likely to differ least from.

    Pieces are cut at keys, so most keep their place; those between two unchanged ones
    belong together. A wrong guess costs bytes, nothing else.

    Returns:
        Names of new pieces and of the earlier ones.
    """
    earlier = {section.name: section.chunks for section in old}
    found: dict[str, str] = {}
    for section in new:
        found.update(_pairs(earlier.get(section.name, ()), section.chunks))
    return found


def _pairs(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    if len(old) == len(new):  # by far the usual case, and the cheap one
        return {n: o for o, n in zip(old, new, strict=True) if o != n}
    pairs: dict[str, str] = {}
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "replace":
            for offset, name in enumerate(new[j1:j2]):
                pairs[name] = old[min(i1 + offset, i2 - 1)]
    return pairs
