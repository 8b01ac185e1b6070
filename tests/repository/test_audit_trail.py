"""Whatever somebody edits, deletes, inserts or reorders in the database, verify finds it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import RECORD_TABLES, changes, commits, metadata, tenants
from expresso_persist.errors import ConflictRefused, HistoryForgotten, InvalidInput
from expresso_persist.model.records import Head, Put, Setting
from shorthand import PutQuantity

# What is no part of the history: when a tenant or a row began, and the names of copies.
NOT_COVERED = {"tenant_id", "epoch", "created_at"}
EDITS = [
    pytest.param(table, column.name, id=f"{table.name}.{column.name}")
    for table in (tenants, commits, changes, *RECORD_TABLES.values())
    for column in table.columns
    if column.name not in NOT_COVERED or (table is commits and column.name != "tenant_id")
]


@pytest.fixture
def history(store: Store, put: PutQuantity) -> Store:
    """A store with rows in every table of records and a few commits."""
    store.importer.import_(
        {
            "localStorage": {
                "event_inventory": '{"milk":[{"id":"oat","name":"Oat","enabled":true}]}',
                "event_stock_levels": '{"milk":[{"id":"oat","quantity":5,"unit":"l"}]}',
                "station_inventory_configs": '{"1":{"milk":{"oat":true}}}',
                "station_inventory_quantities": '{"1":{"milk":{"oat":{"quantity":2}}}}',
                "coffee_stock_station_1": '{"milk":[{"id":"oat","amount":1,"capacity":9}]}',
                "event_menu": '{"latte":1}',
                "coffee_broken": '{"latte":',
                "event_branding": '{"name": "Fair"}',
            }
        },
        actor="test",
        idempotency_key="first",
    )
    store.inventory.commit([Put(Setting.of("a", data=1))], actor="test", note="a note")
    put("oat", 3)
    put("oat", 4)
    assert store.inventory.verify().ok
    return store


def other_value(column: sa.Column[Any], value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(column.type, sa.Double) or isinstance(value, int):
        value = value or 0
        return value + 1000
    if isinstance(value, dt.datetime):
        return value + dt.timedelta(seconds=1)
    if column.name in ("data", "before", "after") and value is not None:
        return str(value).replace("1", "2").replace("a", "b")
    return "other" if value is None else f"{value}x"


def edit(history: Store, table: sa.Table, column: str) -> None:
    """Edit a value in the first row of a table."""
    with history.database.engine.begin() as connection:
        row = connection.execute(sa.select(table).order_by(*table.primary_key).limit(1)).first()
        if row is None:
            pytest.fail(f"the history has no row in {table.name}")
        here = sa.and_(*(c == row._mapping[c.name] for c in table.primary_key))
        value = other_value(table.c[column], row._mapping[column])
        connection.execute(sa.update(table).where(here).values({column: value}))


def delete(history: Store, table: sa.Table) -> None:
    """Delete a row of a table."""
    with history.database.engine.begin() as connection:
        row = connection.execute(sa.select(table).limit(1)).first()
        assert row is not None
        here = sa.and_(*(c == row._mapping[c.name] for c in table.primary_key))
        connection.execute(sa.delete(table).where(here))


@pytest.mark.parametrize(("table", "column"), EDITS)
def test_an_edited_value_is_found(history: Store, table: sa.Table, column: str) -> None:
    edit(history, table, column)
    report = history.inventory.verify()
    assert not report.ok
    assert report.problems


@pytest.mark.parametrize("table", [commits, changes, *RECORD_TABLES.values()], ids=str)
def test_a_deleted_row_is_found(history: Store, table: sa.Table) -> None:
    delete(history, table)
    assert not history.inventory.verify().ok


@pytest.mark.parametrize("newest", [1, 2])
def test_cut_off_newest_commits_are_found(history: Store, newest: int) -> None:
    head = history.inventory.head().revision
    with history.database.engine.begin() as connection:
        for table in (changes, commits):
            connection.execute(sa.delete(table).where(table.c.revision > head - newest))
    assert not history.inventory.verify().ok


def test_an_inserted_change_and_an_inserted_record_are_found(history: Store) -> None:
    with history.database.engine.begin() as connection:
        row = connection.execute(sa.select(changes).where(changes.c.revision == 3)).mappings().one()
        connection.execute(sa.insert(changes), {**row, "ordinal": 99})
    assert not history.inventory.verify().ok
    with history.database.engine.begin() as connection:
        connection.execute(sa.delete(changes).where(changes.c.ordinal == 99))
    assert history.inventory.verify().ok
    with history.database.engine.begin() as connection:
        table = metadata.tables["station_inventory_quantities"]
        record = connection.execute(sa.select(table)).mappings().first()
        assert record is not None
        connection.execute(sa.insert(table), {**record, "item_id": "smuggled"})
    assert not history.inventory.verify().ok


def test_swapped_commits_are_found(history: Store) -> None:
    """The newest two change places, with their changes."""
    head = history.inventory.head().revision
    with history.database.engine.begin() as connection:
        for table in (changes, commits):
            for old, new in ((head, 99), (head - 1, head), (99, head - 1)):
                connection.execute(
                    sa.update(table).where(table.c.revision == old).values(revision=new)
                )
    assert not history.inventory.verify().ok


def test_reordered_changes_of_a_commit_are_found(history: Store) -> None:
    with history.database.engine.begin() as connection:
        for old, new in ((0, 99), (1, 0), (99, 1)):
            here = sa.and_(changes.c.revision == 1, changes.c.ordinal == old)
            connection.execute(sa.update(changes).where(here).values(ordinal=new))
    assert not history.inventory.verify().ok


@pytest.mark.parametrize("horizon", [1, 4])
def test_an_edited_place_is_found_even_of_an_only_change(history: Store, horizon: int) -> None:
    history.inventory.forget_history(horizon, actor="test")
    with history.database.engine.begin() as connection:
        here = sa.and_(changes.c.revision == 3, changes.c.ordinal == 0)
        assert connection.execute(sa.update(changes).where(here).values(ordinal=7)).rowcount == 1
    assert not history.inventory.verify().ok


def test_an_anchor_finds_a_cut_off_end(history: Store) -> None:
    """Cut off the end and put everything else back to match: only who noted the hash knows."""
    anchor, cursor = history.inventory.verify().anchor, history.inventory.head().cursor
    head = history.inventory.head().revision
    assert history.inventory.verify(anchors=[anchor, cursor]).ok
    history.inventory.undo(head, actor="test")
    assert history.inventory.verify(anchors=[anchor]).ok
    with history.database.engine.begin() as connection:
        for table in (changes, commits):
            connection.execute(sa.delete(table).where(table.c.revision >= head))
        row = connection.execute(sa.select(commits).where(commits.c.revision == head - 1)).one()
        connection.execute(sa.update(tenants).values(revision=head - 1, head_hash=row.hash))
        table = metadata.tables["station_inventory_quantities"]
        connection.execute(
            sa.update(table)
            .where(table.c.updated_by == "test", table.c.revision >= head)
            .values(revision=head - 1, updated_at=row.created_at)
        )
    assert history.inventory.verify().ok, "a chain alone cannot know"
    for kept in (anchor, cursor):
        report = history.inventory.verify(anchors=[kept])
        assert report.problems == (f"Revision {head}, which the anchor names, is missing.",)
    # Somebody else goes on from there: the revision is there again, with another hash.
    history.inventory.commit([Put(Setting.of("b", data=1))], actor="test")
    report = history.inventory.verify(anchors=[anchor])
    assert report.problems == (f"Revision {head} is not the one that the anchor names.",)
    with pytest.raises(InvalidInput):
        history.inventory.verify(anchors=["yesterday"])


KEPT = [
    pytest.param(table, column.name, id=f"{table.name}.{column.name}")
    for table in (tenants, commits, changes)
    for column in table.columns
    if column.name not in NOT_COVERED or (table is commits and column.name != "tenant_id")
]


@pytest.fixture
def forgotten(history: Store) -> Store:
    """The same store, most of its changes forgotten."""
    history.inventory.forget_history(4, actor="test")
    assert history.inventory.verify().ok
    return history


@pytest.mark.parametrize(("table", "column"), KEPT)
def test_what_was_kept_of_a_forgotten_time_is_covered(
    forgotten: Store, table: sa.Table, column: str
) -> None:
    edit(forgotten, table, column)
    assert not forgotten.inventory.verify().ok


@pytest.mark.parametrize("table", [commits, changes], ids=str)
def test_rows_missing_from_a_forgotten_time_are_found(forgotten: Store, table: sa.Table) -> None:
    delete(forgotten, table)
    assert not forgotten.inventory.verify().ok


def test_the_horizon_cannot_be_moved(forgotten: Store) -> None:
    """Nobody drops more changes than the commit that forgets says."""
    with forgotten.database.engine.begin() as connection:
        connection.execute(sa.delete(changes).where(changes.c.revision == 4))
        connection.execute(sa.update(tenants).values(forgotten_through=4))
    assert not forgotten.inventory.verify().ok


def test_problems_are_not_forgotten(history: Store) -> None:
    with history.database.engine.begin() as connection:
        connection.execute(sa.update(commits).where(commits.c.revision == 2).values(note="x"))
    with pytest.raises(ConflictRefused, match="has problems"):
        history.inventory.forget_history(4, actor="test")
    assert not history.inventory.verify().ok


def test_what_needs_a_forgotten_time_is_refused(forgotten: Store) -> None:
    inventory = forgotten.inventory
    second, third = (
        Head(inventory.head().epoch, commit.revision, commit.hash).cursor
        for commit in inventory.commits(since=1, limit=2)
    )
    assert inventory.changes(second).reset
    assert not inventory.changes(third).reset
    assert inventory.changes(0).reset
    for call in (lambda: inventory.undo(3, actor="test"), lambda: inventory.records(as_of=2)):
        with pytest.raises(HistoryForgotten, match="up to revision 3"):
            call()
    assert [entry.revision for entry in inventory.history().entries] == [5, 4]
    assert inventory.forget_history(4, actor="test").commits == 0
    assert inventory.head().revision == 5
