"""A host with an Alembic of its own, in the same database: what its autogenerate does to ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import CommandLine

from expresso_persist import TABLE_NAMES, Adjust, Put, RecordKey, Store
from expresso_persist.db.database import Database
from expresso_persist.errors import TablesDropped
from expresso_persist.model.records import Setting, StockLevel

ENV = """
from alembic import context
import sqlalchemy as sa
import expresso_persist

metadata = sa.MetaData()
sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))
{more}
def ordered(context, revision, directives):
    # Alembic takes tables in the order in which PostgreSQL happens to list them.
    ops = directives[0].upgrade_ops.ops
    ops.sort(key=lambda op: getattr(op, "table_name", "") == "tenants")
    ops = directives[0].downgrade_ops.ops
    ops.sort(key=lambda op: getattr(op, "table_name", "") != "tenants")
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection, connection.begin():
    context.configure(
        connection=connection, target_metadata=metadata,
        process_revision_directives=ordered{options}
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
MAKO = (
    "from alembic import op\nimport sqlalchemy as sa\nimport expresso_persist.db.tables\n"
    "${imports or ''}\n"
    "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n"
    "def upgrade():\n    ${upgrades}\ndef downgrade():\n    ${downgrades}\n"
)


class Host:
    """An application with Alembic, as `alembic init` makes it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url.replace("postgresql://", "postgresql+psycopg://")
        (folder / "versions").mkdir(parents=True)
        (folder / "script.py.mako").write_text(MAKO)
        (folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {folder}\nsqlalchemy.url = {self.url}\n".replace(
                "%", "%%"
            )
        )

    def alembic(self, *arguments: str, options: str = "", more: str = "") -> None:
        (self.folder / "env.py").write_text(ENV.format(options=options, more=more))
        CommandLine().main(["-c", str(self.folder / "alembic.ini"), *arguments])

    def autogenerate(self, **how: str) -> str:
        """Write a revision, run it, and give its text."""
        known = {*(self.folder / "versions").glob("*.py")}
        self.alembic("revision", "--autogenerate", "-m", "more", **how)
        (new,) = {*(self.folder / "versions").glob("*.py")} - known
        self.alembic("upgrade", "head", **how)
        return new.read_text()


@pytest.fixture
def host(tmp_path: Path, database_url: str) -> Host:
    return Host(tmp_path / "alembic", database_url)


def filled(url: str, **options: object) -> None:
    with Store(url, migrate=True) as store:
        store.inventory.commit(
            [
                Put(Setting.of("theme", data={"dark": True})),
                Put(StockLevel.of("milk", "oat", data={"quantity": 10})),
            ],
            actor="anna",
        )
        store.inventory.commit(
            [Adjust(RecordKey("event_stock", ("milk", "oat")), "quantity", -1)], actor="barista"
        )
        store.backups.create("manual")


def tables(url: str) -> set[str]:
    database = Database(url)
    try:
        with database.read() as connection:
            return {*sa.inspect(connection).get_table_names()}
    finally:
        database.close()


HELPERS = {
    "include_object": ", include_object=expresso_persist.alembic_include_object",
    "include_name": ", include_name=expresso_persist.alembic_include_name",
    "both, all schemas": (
        ", include_object=expresso_persist.alembic_include_object"
        ", include_name=expresso_persist.alembic_include_name, include_schemas=False"
    ),
}


@pytest.mark.parametrize("helper", HELPERS)
def test_with_the_helper_nothing_of_ours_is_touched(
    host: Host, database_url: str, helper: str
) -> None:
    """Neither by a new revision nor by one that is taken back; legacy tables included."""
    filled(database_url)
    engine = sa.create_engine(host.url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE legacy_event_inventory (id INTEGER)"))
    engine.dispose()
    options = HELPERS[helper]
    first = host.autogenerate(options=options)
    assert "create_table('orders'" in first
    more = "sa.Table('guests', metadata, sa.Column('id', sa.Integer, primary_key=True))"
    second = host.autogenerate(options=options, more=more)
    assert "create_table('guests'" in second
    for text in (first, second):
        assert not [name for name in TABLE_NAMES if f"'{name}'" in text]
    host.alembic("downgrade", "base", options=options)
    with Store(database_url) as store:
        assert store.inventory.verify().ok
        assert store.inventory.settings() == {"theme": {"dark": True}}
        assert store.backups.verify(store.backups.list()[0].id).ok


def test_the_list_has_every_table(database_url: str) -> None:
    """Also the version table, which the metadata does not have."""
    Store(database_url, migrate=True).close()
    assert tables(database_url) <= TABLE_NAMES


def test_without_the_helper_the_loss_is_said_and_nothing_is_made(
    host: Host, database_url: str
) -> None:
    """Dropped by `upgrade`, made again empty by `downgrade`: neither is taken for a new store."""
    filled(database_url)
    assert "drop_table('tenants'" in host.autogenerate()
    for how in ("dropped", "made again, empty"):
        before = tables(database_url)
        assert ("tenants" in before) == (how != "dropped")
        for migrate in (False, True):
            with pytest.raises(TablesDropped, match="init --fresh") as refused:
                Store(database_url, migrate=migrate)
            assert "alembic_include_object" in refused.value.message
        assert tables(database_url) == before
        host.alembic("downgrade", "base")
