"""A folder of this machine, with those verbs of ``fsspec`` that a mirror needs.

A mirror in a folder works without a further package; ``fsspec`` is for every other place.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import IO, Any, cast

__all__ = ["Disk", "local_path"]

_SCHEMES = ("file://", "local://", "file:", "local:")


def local_path(url: str) -> str | None:
    """The path of a mirror that is a folder of this machine; None for any other URL."""
    if "::" in url:  # fsspec's way to write one file system on top of another
        return None
    scheme = next((prefix for prefix in _SCHEMES if url.startswith(prefix)), "")
    if not scheme and "://" in url:
        return None
    return str(Path(url.removeprefix(scheme)).expanduser().absolute())


class Disk:
    """The file system of this machine."""

    local_file = True

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        return Path(path).exists()

    def mkdir(self, path: str, *, create_parents: bool) -> None:
        """Make a folder; one that another process made meanwhile is as good."""
        Path(path).mkdir(parents=create_parents, exist_ok=True)

    def open(self, path: str, mode: str) -> IO[bytes]:
        """Open a file; ``mode`` is a binary one."""
        return cast(IO[bytes], Path(path).open(mode))

    def mv(self, path: str, to: str) -> None:
        """Give a file another name; a file of that name is replaced at once."""
        Path(path).replace(to)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink()

    def ls(self, path: str, *, detail: bool) -> list[dict[str, Any]]:
        """What is in a folder; what vanishes meanwhile is left out."""
        entries: list[dict[str, Any]] = []
        for entry in Path(path).iterdir():
            try:
                info = entry.stat()
            except FileNotFoundError:
                continue
            kind = "file" if stat.S_ISREG(info.st_mode) else "directory"
            size = info.st_size if detail else None
            entries.append({"name": entry.as_posix(), "size": size, "type": kind})
        return entries
