"""A process that the tests measure and kill: ``measure FOLDER MIB KEY`` or ``die URL ID FILE``."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from expresso_persist import Store
from expresso_persist.backups.archive import write_archive
from expresso_persist.backups.encryption import Encryption
from expresso_persist.backups.manifest import Manifest, Section, new_id, record_line
from expresso_persist.model.records import Setting

RECORD = 16 * 1024


def lines(count: int) -> Iterator[bytes]:
    """A state that compresses to half of its size, never held whole."""
    chance = random.Random(5)
    for number in range(count):
        yield record_line(
            Setting.of(f"n{number:08}", data=chance.randbytes(RECORD // 2).hex())
        ).data


def manifest(count: int) -> Manifest:
    digest, size = hashlib.sha256(), 0
    for line in lines(count):
        digest.update(line)
        size += len(line)
    return Manifest(
        id=new_id(),
        tenant="default",
        backup_type="manual",
        created_at=dt.datetime(2026, 1, 31, tzinfo=dt.UTC),
        actor="test",
        notes="",
        epoch="",
        revision=1,
        head_hash="",
        sections=(Section("setting", count, size, digest.hexdigest()),),
    )


def peak() -> int:
    """Bytes of memory that the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, mib: int, identity: str) -> dict[str, int]:
    import pyrage

    recipient = str(pyrage.x25519.Identity.from_str(identity).to_public())
    count = mib * 1024**2 // RECORD
    backup = manifest(count)
    with Store(f"sqlite:///{folder / 'big.db'}", migrate=True) as store:
        store.backups.create()
        before = peak()
        with (folder / "big.zst").open("wb") as file:
            file.writelines(write_archive(backup, lambda section: lines(count)))
        with (folder / "big.zst").open("rb") as file, (folder / "big.age").open("wb") as target:
            Encryption(recipients=[recipient]).encrypt(file, target)
        stored = store.backups.import_(folder / "big.age", identities=[identity])
        assert stored.verified_at is not None
        store.backups.export(stored.id, folder / "out.zst")
        store.backups.export(stored.id, folder / "out.age", recipients=[recipient])
        return {"size": backup.size, "before": before, "after": peak()}


def die(url: str, backup_id: str, path: Path) -> None:
    """Export, and be killed when half of it is written."""

    def progress(done: int, total: int) -> None:
        if done * 2 >= total:
            os.kill(os.getpid(), signal.SIGKILL)

    with Store(url) as store:
        store.backups.export(backup_id, path, progress=progress)


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
    else:
        die(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
