"""Restore drills: proof that a copy at a mirror brings the data back without the database."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.mirrors import Copy, Mirror
from expresso_persist.backups.verification import Verification
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.errors import ArchiveRefused, BackupCorrupted
from expresso_persist.store import Store

__all__ = ["drill"]


def drill(
    mirror: Mirror,
    copy: Copy,
    *,
    tenant: str = "default",
    identities: Iterable[str] = (),
    passphrase: str | None = None,
) -> Verification:
    """Restore a copy into a new database of its own, which is thrown away afterwards.

    Args:
        mirror: Where the copy is.
        copy: One of ``mirror.copies(tenant)``.
        tenant: Whose it is.
        identities: Private keys of age to decrypt it with.
        passphrase: Decrypt it with this instead.

    Returns:
        Whether it restores, and what is wrong with it otherwise.

    Raises:
        BackupNotFound: The copy is gone.
        MirrorUnavailable: The mirror cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="expresso-drill-") as folder,
        Store(_made_in(folder), tenant=tenant) as store,
        mirror.open(copy, tenant) as archive,
    ):
        backups = BackupManager(store.database, store.inventory)
        try:
            stored = backups.import_(archive, identities=identities, passphrase=passphrase)
            backups.restore(stored.id, actor="drill")
        except (ArchiveRefused, BackupCorrupted) as error:
            return Verification(copy.id, ok=False, problems=(error.message,))
    return Verification(copy.id, ok=True, problems=())


def _made_in(folder: str) -> str:
    """The URL of a new database; not made by a store, which looks for what the mirrors have."""
    url = f"sqlite:///{Path(folder) / 'drill.db'}"
    with contextlib.closing(Database(url)) as database:
        migrations.upgrade(database)
    return url
