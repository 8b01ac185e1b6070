"""A process that the tests start and kill: ``run URL`` works on, ``crash URL PLACE`` dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.backups.catalog import Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.making import Writer
from expresso_persist.backups.restore import Restorer
from expresso_persist.backups.verification import Verifier
from expresso_persist.commits.writing import CommitWriter
from expresso_persist.model.records import Put, Setting

PLACES: dict[str, tuple[type, str]] = {
    "before reading": (Writer, "read"),
    "before packing": (Writer, "pack"),
    "before storing": (ChunkStore, "put"),
    "between chunks and row": (Catalog, "insert"),
    "before verifying": (Verifier, "verify"),
    "before noting the result": (Verifier, "note"),
    "before confirming": (Catalog, "newest"),
    "in the rotation": (Catalog, "delete"),
    "in the collection": (ChunkStore, "collect"),
    "before the restore": (Restorer, "_commit"),
    "in the restore": (CommitWriter, "_write_log"),
    "after the restore": (Restorer, "_prove"),
}


def manager(store: Store, interval: float) -> BackupManager:
    return BackupManager(
        store.database, store.inventory, interval=interval, rotation=Rotation(keep_last=4)
    )


def run(store: Store) -> None:
    backups = manager(store, 1)
    backups.start()
    while True:  # until it is killed
        store.inventory.commit(
            [Put(Setting.of(f"n{os.getpid()}", data=time.time()))], actor="worker"
        )
        time.sleep(0.1)


def crash(store: Store, place: str) -> None:
    backups = manager(store, 300)
    oldest = backups.list()[-1].id
    owner, name = PLACES[place]
    if "restore" in place:
        _die_in(owner, name, skip=0)
        backups.restore(oldest, actor="worker")
    else:
        _die_in(owner, name, skip=2 if place == "before confirming" else 0)
        backups.run_once()


def _die_in(owner: type, name: str, skip: int) -> None:
    """End the process without any clean-up, right before ``name`` does its work."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def die(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > skip:
            os._exit(9)
        return original(*arguments, **options)

    setattr(owner, name, die)


if __name__ == "__main__":
    verb, url, *rest = sys.argv[1:]
    opened = Store(url)
    if verb == "run":
        run(opened)
    else:
        crash(opened, *rest)
