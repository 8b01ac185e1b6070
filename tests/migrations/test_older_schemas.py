"""What an older version left in a database goes on working in this one."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from expresso_persist import Store
from expresso_persist.errors import SchemaMismatch
from expresso_persist.model.records import Record

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def first_schema(tmp_path: Path) -> str:
    """A database of the first migration: an event, three commits, two backups between them."""
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress((FIXTURES / "schema-0001.sqlite.gz").read_bytes()))
    return f"sqlite:///{path}"


def state(store: Store) -> list[Record]:
    return sorted(store.inventory.snapshot().records, key=lambda record: record.key)


def test_backups_of_an_older_schema_restore(first_schema: str, database_url: str) -> None:
    """In the database they were made in, and in another one."""
    with pytest.raises(SchemaMismatch):
        Store(first_schema)
    with Store(first_schema, migrate=True) as old:
        assert old.inventory.verify().ok
        newest, oldest = old.backups.list()
        assert old.backups.verify(oldest.id).ok
        assert old.backups.verify(newest.id).ok
        now = state(old)
        done = old.backups.restore(oldest.id, actor="anna")
        assert (len(done.plan.added), len(done.plan.changed), len(done.plan.removed)) == (1, 1, 1)
        assert [commit.actor for commit in done.undone] == ["barista", "barista"]
        archive = io.BytesIO()
        old.backups.export(oldest.id, archive)
        restored = state(old)
        old.backups.restore(str(done.safety_backup_id), actor="anna")
        assert state(old) == now
    archive.seek(0)
    with Store(database_url, migrate=True) as new:
        new.backups.restore(new.backups.import_(archive).id, actor="anna")
        assert state(new) == restored != now
