"""Places outside the database that hold copies of the backups: folders, or through ``fsspec``.

A mirror is a folder with one folder per tenant, and in it one archive per backup
(``docs/archive-format.md``). What is there is what its listing says; nothing else is kept
about it that could disagree, so copies can be read when the database is gone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import operator
import os
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

import attrs

from expresso_persist.backups.archive import ArchiveReader
from expresso_persist.backups.catalog import Backup, iso
from expresso_persist.backups.disk import Disk, local_path
from expresso_persist.backups.encryption import Encryption
from expresso_persist.backups.manifest import IMPORTED, Manifest
from expresso_persist.backups.rotation import SAFETY_TYPES, Rotation
from expresso_persist.errors import (
    ArchiveRefused,
    BackupNotFound,
    ConflictRefused,
    ExpressoPersistError,
    InvalidConfiguration,
    MirrorUnavailable,
)

__all__ = [
    "Copy",
    "Folder",
    "Mirror",
    "OpenedCopy",
    "mirrors_from_environment",
]

_BLOCK = 1024**2
_PARTIAL = ".partial"
_TIME = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(
    r"(?P<time>\d{8}T\d{6}\.\d{6}Z)_r(?P<revision>\d{1,19})_(?P<type>[a-z]{1,20})_"
    r"(?P<id>[0-9a-f]{32})(?:_(?P<epoch>[0-9a-f]{16}))?"
    r"(?:_(?P<digest>[0-9a-f]{32}))?\.expresso\.zst(?P<age>\.age)?"
)
_DIGEST = 32  # characters of it in a name
_EPOCH = re.compile("[0-9a-f]{16}")
_PLAIN_TENANT = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


@attrs.frozen
class Copy:
    """An archive at a mirror, as its name describes it.

    Attributes:
        name: Its file name.
        id: The backup's.
        backup_type: The backup's.
        revision: The tenant's revision it shows.
        created_at: When the backup was made.
        size: Bytes of the archive.
        encrypted: Whether a key is needed to read it.
        epoch: Which database it is of; None where the name does not say, as those of version
            0.1.0.
        digest: Beginning of the SHA-256 of the file; None where the name does not say.
        pinned: Always false; a pin is a matter of the database.
    """

    name: str
    id: str
    backup_type: str
    revision: int
    created_at: dt.datetime
    size: int
    encrypted: bool
    epoch: str | None = None
    digest: str | None = None
    pinned: bool = False
    backup_status: str = "completed"

    @property
    def verified_at(self) -> dt.datetime | None:
        """Only verified backups are copied."""
        return self.created_at

    def check(self, archive: Manifest, tenant: str) -> None:
        """Compare what the archive says about itself with the name of its file.

        Args:
            archive: What is in the file.
            tenant: Whose copy it should be.

        Raises:
            ArchiveRefused: The file was renamed, or exchanged for another one.
        """
        inside = (archive.id, archive.revision, archive.backup_type, archive.created_at)
        named = (self.id, self.revision, self.backup_type, self.created_at)
        same_database = self.epoch in (None, archive.epoch)
        if (*inside, archive.tenant) != (*named, tenant) or not same_database:
            raise ArchiveRefused(
                f"The file {self.name} should hold {_described(*named, tenant)}, but what is in "
                f"it is {_described(*inside, archive.tenant)}. The file was renamed or exchanged; "
                "choose another copy.",
                context={"expected": self.id, "found": archive.id},
            )

    @classmethod
    def read(cls, name: str, size: int) -> Self | None:
        """Understand a file's name; None when it is none of ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        try:
            time = dt.datetime.strptime(match["time"], _TIME).replace(tzinfo=dt.UTC)
        except ValueError:
            return None
        return cls(
            name=name,
            id=match["id"],
            backup_type=match["type"],
            revision=int(match["revision"]),
            created_at=time,
            size=size,
            encrypted=match["age"] is not None,
            epoch=match["epoch"],
            digest=match["digest"],
        )


def _described(backup_id: str, revision: int, kind: str, made: dt.datetime, tenant: str) -> str:
    return (
        f"backup {backup_id} (revision {revision}, {kind}, made {iso(made)}) of tenant {tenant!r}"
    )


@attrs.frozen
class OpenedCopy:
    """The bytes of a copy, which knows what should be in it: see :meth:`Copy.check`."""

    file: IO[bytes] = attrs.field(repr=False)
    copy: Copy
    tenant: str

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self.file.read(size)


def copy_name(backup: Backup, epoch: str | None, digest: str, *, encrypted: bool) -> str:
    """The name of a backup's archive: sorted by name is sorted by time.

    Args:
        backup: The backup.
        epoch: Which database it is of; None if that is not known.
        digest: SHA-256 of the file.
        encrypted: Whether it is encrypted.
    """
    time = backup.created_at.astimezone(dt.UTC).strftime(_TIME)
    parts = [time, f"r{backup.revision}", backup.backup_type, backup.id]
    parts += [epoch] if epoch is not None and _EPOCH.fullmatch(epoch) else []
    return "_".join([*parts, digest[:_DIGEST]]) + ".expresso.zst" + ".age" * encrypted


@attrs.frozen
class Mirror:
    """A place for copies of the backups.

    Attributes:
        url: A folder (which must exist, so that a disk that is not mounted is noticed) or
            what ``fsspec`` understands: ``s3://bucket/path``, ``sftp://host/path``…
            A folder needs no further package.
        rotation: Which copies of automatic backups stay there.
        recipients: Public keys of age (``age1…``) to encrypt the copies for.
        passphrase: Encrypt them under this instead.
        options: What ``fsspec`` needs besides, such as credentials.
    """

    url: str = attrs.field(repr=False)
    rotation: Rotation = attrs.field(factory=lambda: Rotation(keep_last=50))
    recipients: tuple[str, ...] = ()
    passphrase: str | None = attrs.field(default=None, repr=False)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.url.strip():
            raise InvalidConfiguration("A mirror needs a folder or a URL.")
        self.encryption  # noqa: B018 - refuses keys and a passphrase at once

    @property
    def name(self) -> str:
        """The URL without a user, a password or a query; it names the mirror everywhere."""
        if "://" not in self.url:
            return str(Path(self.url).absolute())
        parts = urlsplit(self.url.rpartition("::")[2])
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def encryption(self) -> Encryption:
        """How its copies are written."""
        return Encryption(recipients=self.recipients, passphrase=self.passphrase)

    def copies(self, tenant: str = "default") -> list[Copy]:
        """The copies of a tenant's backups, newest first.

        Raises:
            MirrorUnavailable: It cannot be read.
            InvalidConfiguration: ``fsspec``, or what it needs for this URL, is missing.
        """
        with self.reached(tenant) as folder:
            return folder.copies()

    def find(self, backup_id: str = "latest", tenant: str = "default") -> Copy:
        """One copy; "latest" is the one of the highest revision that is no safety backup.

        Raises:
            BackupNotFound: There is no such copy.
            ConflictRefused: "latest" may mean copies of several databases.
            MirrorUnavailable: The mirror cannot be read.
        """
        with self.reached(tenant) as folder:
            copies = folder.copies()
            if backup_id == "latest":
                copies = [copy for copy in copies if copy.backup_type not in SAFETY_TYPES]
                # Those that came from an archive are of another database, and no news.
                copies = [copy for copy in copies if copy.backup_type != IMPORTED] or copies
                self._require_one_database(folder, copies)
        for copy in copies:
            if backup_id in ("latest", copy.id):
                return copy
        raise BackupNotFound(f"There is no such backup of tenant {tenant!r} at {self.name}.")

    def _require_one_database(self, folder: Folder, copies: list[Copy]) -> None:
        """Refuse to compare the revisions of databases that do not count together."""
        newest: dict[str, Copy] = {}
        for copy in copies:
            if (epoch := folder.epoch(copy)) is not None:
                newest.setdefault(epoch, copy)
        if len(newest) > 1:
            found = "; ".join(
                f"{copy.id} (revision {copy.revision}, made {iso(copy.created_at)})"
                for copy in newest.values()
            )
            raise ConflictRefused(
                f"The copies at {self.name} are of {len(newest)} databases, so it is not clear "
                f"which one is the latest. Name one; the latest of each: {found}."
            )

    @contextlib.contextmanager
    def open(self, copy: Copy | str = "latest", tenant: str = "default") -> Iterator[OpenedCopy]:
        """The archive of one copy, to read or to hand to ``BackupManager.import_``.

        Args:
            copy: One of :meth:`copies`, or what :meth:`find` understands.
            tenant: Whose it is.

        Raises:
            BackupNotFound: There is no such copy.
            MirrorUnavailable: It cannot be read.
        """
        chosen = self.find(copy, tenant) if isinstance(copy, str) else copy
        with self.reached(tenant) as folder, folder.open(chosen) as file:
            yield OpenedCopy(file, chosen, tenant)

    @contextlib.contextmanager
    def reached(self, tenant: str) -> Iterator[Folder]:
        """The tenant's folder; what goes wrong there is reported as the mirror's failure."""
        try:
            yield Folder.at(self, tenant)
        except ExpressoPersistError:
            raise
        except Exception as error:
            # The text of a foreign error may hold credentials.
            number = error.errno if isinstance(error, OSError) else None
            why = os.strerror(number) if number else type(error).__name__
            raise MirrorUnavailable(f"The mirror {self.name} failed: {why}.") from error


@attrs.frozen
class Folder:
    """One tenant's folder at a mirror. What ``fsspec`` raises passes through as it is."""

    fs: Any
    path: str

    @classmethod
    def at(cls, mirror: Mirror, tenant: str) -> Self:
        """Find the folder of a tenant; it need not be there yet."""
        path = local_path(mirror.url)
        fs, root = _remote(mirror) if path is None else (Disk(), path)
        if _is_local(fs) and not Path(root).is_dir():
            # Never made here: below the empty mount point of a disk it would be on the
            # very disk that the mirror is there to outlive.
            raise MirrorUnavailable(
                f"The mirror {mirror.name} is no folder. Is its disk mounted? Create the "
                "folder if the mirror is new."
            )
        return cls(fs, f"{root.rstrip('/')}/{folder_of(tenant)}")

    def copies(self) -> list[Copy]:
        """What is there, newest first: by revision, as clocks may have been wrong."""
        found = (
            Copy.read(entry["name"].rpartition("/")[2], entry["size"] or 0)
            for entry in self._entries()
        )
        order = operator.attrgetter("revision", "created_at", "id")
        return sorted((copy for copy in found if copy), key=order, reverse=True)

    def copies_by_database(self, epochs: dict[str, str | None]) -> list[Copy]:
        """The same; where a name does not say of which database, the archive is asked once.

        Args:
            epochs: What was found so far, by name.
        """
        copies = self.copies()
        for copy in copies:
            if copy.epoch is None and copy.name not in epochs:
                epochs[copy.name] = self.epoch(copy)
        return [attrs.evolve(copy, epoch=copy.epoch or epochs[copy.name]) for copy in copies]

    def epoch(self, copy: Copy) -> str | None:
        """Which database a copy is of; None if only a key or a check of all of it could tell."""
        if copy.encrypted or copy.epoch is not None:
            return copy.epoch
        try:
            with self.open(copy) as file:
                return ArchiveReader(file).header.backup.epoch
        except (ArchiveRefused, FileNotFoundError):
            return None

    def is_sound(self, copy: Copy, beat: Callable[[], object]) -> bool:
        """Read all of a copy: whether it is what was written.

        An encrypted one whose name does not say what it should be is taken to be.
        """
        try:
            with self.open(copy) as file:
                if copy.digest is None:
                    if not copy.encrypted:
                        ArchiveReader(file).check()
                    return True
                digest = hashlib.sha256()
                while block := file.read(_BLOCK):
                    digest.update(block)
                    beat()
        except (ArchiveRefused, FileNotFoundError):
            return False
        return digest.hexdigest().startswith(copy.digest)

    def put(self, name: str, source: IO[bytes], beat: Callable[[], object]) -> None:
        """Write a file that appears under its name when all of it was read back.

        Args:
            name: Its name.
            source: Its contents.
            beat: Called after each piece; what it raises ends the work.

        Raises:
            MirrorUnavailable: What was read back is not what was written.
        """
        if not self.fs.exists(self.path):
            self._make()
        final = f"{self.path}/{name}"
        unfinished = f"{final}.{secrets.token_hex(8)}{_PARTIAL}"
        written, read = hashlib.sha256(), hashlib.sha256()
        try:
            if _is_local(self.fs):
                # Orders and names are in it, so it is its owner's from the first byte on.
                os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with self.fs.open(unfinished, "wb") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
                    written.update(block)
                    beat()
                if _is_local(self.fs):
                    target.flush()
                    os.fsync(target.fileno())
            with self.fs.open(unfinished, "rb") as back:
                while block := back.read(_BLOCK):
                    read.update(block)
                    beat()
            _require_same(written.digest(), read.digest())
            self.fs.mv(unfinished, final)
        except BaseException:
            with contextlib.suppress(Exception):
                self.fs.rm_file(unfinished)
            raise

    def _make(self) -> None:
        """Make the folder without its parents: a mistyped bucket must not come to be."""
        if _is_local(self.fs):
            os.mkdir(self.path, 0o700)  # noqa: PTH102 - fsspec would leave it open to others
        else:
            self.fs.mkdir(self.path, create_parents=False)

    @contextlib.contextmanager
    def open(self, copy: Copy) -> Iterator[IO[bytes]]:
        """A copy, to read."""
        with self.fs.open(f"{self.path}/{copy.name}", "rb") as file:
            yield file

    def delete(self, copy: Copy) -> None:
        """Remove a copy; one that is gone is no failure."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.path}/{copy.name}")

    def tidy(self) -> None:
        """Remove what writers that were killed left unfinished."""
        for entry in self._entries():
            if entry["name"].endswith(_PARTIAL):
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(entry["name"])

    def _entries(self) -> list[dict[str, Any]]:
        try:
            entries = self.fs.ls(self.path, detail=True)
        except FileNotFoundError:
            return []
        return [entry for entry in entries if entry["type"] == "file"]


def folder_of(tenant: str) -> str:
    """A folder's name for a tenant: no path, no two tenants alike, whatever the file system."""
    if _PLAIN_TENANT.fullmatch(tenant):
        return tenant
    readable = re.sub("[^a-z0-9_-]+", "_", tenant.lower())[:40]
    return f"{readable}~{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


def mirrors_from_environment() -> tuple[Mirror, ...]:
    """The mirrors that ``EXPRESSO_PERSIST_MIRRORS`` names.

    URLs and folders with blanks between them, quoted as a shell would have it;
    ``EXPRESSO_PERSIST_MIRROR_RECIPIENTS`` has the public keys to encrypt the copies for.
    """
    urls = shlex.split(os.environ.get("EXPRESSO_PERSIST_MIRRORS", ""))
    recipients = tuple(os.environ.get("EXPRESSO_PERSIST_MIRROR_RECIPIENTS", "").split())
    return tuple(Mirror(url, recipients=recipients) for url in urls)


def _remote(mirror: Mirror) -> tuple[Any, str]:
    """What ``fsspec`` makes of a mirror's URL: a file system, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # at the top since 2024.3 only
    except ImportError as error:
        raise InvalidConfiguration(
            f"The mirror {mirror.name} is no folder of this machine, and any other place needs "
            'one more package: pip install "expresso-persist[mirrors]".'
        ) from error
    # Listings must be those of now: another process writes there as well.
    options = {"skip_instance_cache": True, "use_listings_cache": False, **mirror.options}
    try:
        fs, root = url_to_fs(mirror.url, **options)
    except (ImportError, ValueError) as error:  # no package for, or no such protocol
        raise InvalidConfiguration(
            f"fsspec cannot open the mirror {mirror.name}: {type(error).__name__}. Is the "
            "URL right, and the package for its protocol installed (such as s3fs)?"
        ) from error
    return fs, str(root)


def _is_local(fs: Any) -> bool:
    return bool(getattr(fs, "local_file", False))


def _require_same(written: bytes, read: bytes) -> None:
    if read != written:
        raise MirrorUnavailable("The mirror gave back other bytes than it was given.")
