"""Archives travel between databases and lose nothing; others can read them by their page."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archives
from backed_up import change, contents, give_a_past
from expresso_persist import Store
from expresso_persist.backups import Rotation
from expresso_persist.db.tables import backup_chunks, data_backups
from expresso_persist.errors import ArchiveRefused
from expresso_persist.model.records import (
    EventItem,
    Put,
    Record,
    Setting,
    StationConfig,
    StationQuantity,
    StationStock,
    StockLevel,
    StoredDocument,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"


def exported(store: Store, backup_id: str, **options: Any) -> bytes:
    file = io.BytesIO()
    store.backups.export(backup_id, file, **options)
    return file.getvalue()


# -- any state ------------------------------------------------------------------------------

# What PostgreSQL cannot store never gets into a state; see the tests of imports.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
record_types = st.sampled_from(
    [EventItem, StockLevel, StationConfig, StationQuantity, StationStock, Setting, StoredDocument]
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    record_type = draw(record_types)
    parts = draw(st.tuples(*[names] * len(record_type.key_columns)))
    if record_type is StationStock:  # its document is named for the station
        parts = (f"s{parts[0]}", *parts[1:])
    position = draw(st.integers(0, 5) | st.integers(-(2**31), 2**31 - 1))
    raw = draw(st.none() | names)
    return record_type.of(*parts, data=draw(values), position=position, raw=raw)


def nested(depth: int, value: Any) -> Any:
    return [nested(depth - 1, value)] if depth else value


states = st.lists(records(), max_size=12, unique_by=lambda record: record.key)
dumps = st.fixed_dictionaries(
    {},
    optional={
        "event_inventory": st.dictionaries(names, st.lists(values, max_size=3), max_size=3),
        "event_stock_levels": values,
        "station_inventory_quantities": st.dictionaries(
            names, st.builds(nested, st.integers(0, 62), names), max_size=2
        ),
        "coffee_stock_station_1": values,
        "event_menu": values | st.text(max_size=8),
        "something_new": st.text(max_size=8),
    },
)


@pytest.fixture
def tenants(request: pytest.FixtureRequest) -> Iterator[tuple[Store, Store, Store, Any]]:
    """SQLite, PostgreSQL and SQLite again; a tenant for each example."""
    url = request.getfixturevalue("postgresql_url")
    with (
        Store("sqlite://", migrate=True) as first,
        Store(url, migrate=True) as second,
        Store("sqlite://", migrate=True) as third,
    ):
        yield first, second, third, itertools.count()


@pytest.mark.postgresql
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states, dump=dumps)
def test_any_state_travels_to_postgresql_and_back(
    tenants: tuple[Store, Store, Store, Any], state: list[Record], dump: dict[str, Any]
) -> None:
    name = f"t{next(tenants[3])}"
    first, second, third = (store.for_tenant(name) for store in tenants[:3])
    if state:
        first.inventory.commit([Put(record) for record in state], actor="test")
    first.importer.import_({k: json.dumps(v) for k, v in dump.items()}, actor="test")
    made = first.backups.create(notes="Zoë's", actor="anna")
    archive = exported(first, made.id)
    assert exported(first, made.id) == archive, "the same backup gives the same bytes"
    read = archives.read(archive)
    assert read.header["payload_sha256"] == made.payload_sha256
    for other in (second, third):
        stored = other.backups.import_(io.BytesIO(archive))
        assert (stored.id, stored.backup_type) == (made.id, "imported")
        assert (stored.notes, stored.actor, stored.revision) == ("Zoë's", "anna", made.revision)
        assert stored.verified_at is not None
        other.backups.restore(stored.id, actor="test")
        assert sorted(contents(other)) == sorted(contents(first))
        assert other.inventory.dump()["localStorage"] == first.inventory.dump()["localStorage"]
        assert other.backups.create().payload_sha256 == made.payload_sha256
        archive = exported(other, stored.id)
        again = archives.read(archive)
        assert again.sections == read.sections
        read.header["backup"]["backup_type"] = "imported"
        assert again.header == read.header, "only the type tells that it travelled"


def test_a_shape_around_deep_values_travels(store: Store) -> None:
    """A document of 64 levels has a layout of more."""
    document = json.dumps({"milk": nested(63, "oat")})
    store.importer.import_({"station_inventory_quantities": document}, actor="test")
    archive = exported(store, store.backups.create().id)
    with Store("sqlite://", migrate=True) as other:
        other.backups.restore(other.backups.import_(io.BytesIO(archive)).id, actor="test")
        assert contents(other) == contents(store)
        assert other.inventory.dump()["localStorage"] == store.inventory.dump()["localStorage"]


def test_rows_of_the_host_travel_too(store: Store) -> None:
    """Also those that are nested deeper than any document of ours, in their order."""
    deep = json.dumps(nested(200, "ü"))
    with store.database.write() as connection:
        connection.execute(sa.text("CREATE TABLE stations (id INTEGER PRIMARY KEY, data JSON)"))
        for number in (10, 9):
            row = {"id": number, "data": deep}
            connection.execute(sa.text("INSERT INTO stations VALUES (:id, :data)"), row)
    archive = exported(store, store.backups.create().id)
    lines = archives.read(archive).sections["host:stations"]
    assert [json.loads(line)["id"] for line in lines] == [9, 10]
    with Store("sqlite://", migrate=True) as other:
        stored = other.backups.import_(io.BytesIO(archive))
        assert stored.record_counts["host:stations"] == 2
        assert stored.record_counts["host:orders"] == "absent"
        assert archives.read(exported(other, stored.id)).sections["host:stations"] == lines


# -- readers of others, and of later years --------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("localstorage-*.json")), ids=lambda path: path.name
)
def test_a_reader_made_from_the_page_reads_everything(path: Path) -> None:
    """With zstandard, json and hashlib only, and it finds what was imported."""
    with Store("sqlite://", migrate=True) as store:
        store.importer.import_(path.read_bytes(), actor="test")
        archive = archives.read(exported(store, store.backups.create().id))
        found = {
            (kind, *record["key"]): (record["text"], record["position"], record["raw"])
            for kind, lines in archive.sections.items()
            if not kind.startswith("host:")
            for record in map(json.loads, lines)
        }
        assert found == {
            (record.kind, *record.parts): (record.text, record.position, record.raw)
            for record in store.inventory.snapshot().records
        }
        assert found


KEY = (FIXTURES / "archive-v1.key").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("archive-v1.expresso.zst", {}),
        ("archive-v1.expresso.zst.age", {"identities": [KEY]}),
    ],
)
def test_archives_of_version_1_stay_readable(
    store: Store, name: str, options: dict[str, Any]
) -> None:
    """These files were written by version 0.1 and are never written again."""
    reads_version_1(store, name, options)


def test_a_passphrase_of_version_1_stays_good() -> None:
    """Once only: scrypt costs a second and a gigabyte, as it should."""
    with Store("sqlite://", migrate=True) as store:
        name = "archive-v1-passphrase.expresso.zst.age"
        reads_version_1(store, name, {"passphrase": "only for this test"})


def reads_version_1(store: Store, name: str, options: dict[str, Any]) -> None:
    stored = store.backups.import_(FIXTURES / name, **options)
    assert (
        stored.payload_sha256 == "713fd76e93827c57b86c17b0502aa58bab53863a368a7ef33db774cd43f2b90a"
    )
    store.backups.restore(stored.id, actor="test")
    expected = json.loads((FIXTURES / "archive-v1.json").read_text())
    assert store.inventory.dump()["localStorage"] == expected
    assert stored.record_counts["host:stations"] == 2


# -- what an imported backup is -------------------------------------------------------------


def test_an_archive_of_a_backup_that_is_here_makes_no_second_one(store: Store) -> None:
    give_a_past(store)
    made = store.backups.create(notes="by hand")
    witness = archives.Witness(store.database.engine)
    assert store.backups.import_(io.BytesIO(exported(store, made.id))) == made
    witness.assert_nothing_written()


def test_an_imported_backup_neither_rotates_nor_counts_as_newest(store: Store) -> None:
    """It is of another database: its revision and its clock say nothing about this one."""
    with Store("sqlite://", migrate=True) as elsewhere:
        give_a_past(elsewhere)
        archive = exported(elsewhere, elsewhere.backups.create("automatic").id)
        wanted = contents(elsewhere)
    stored = store.backups.import_(io.BytesIO(archive))
    store.backups.rotation = Rotation(keep_last=1)
    status = store.backups.status()
    assert (status["latest_backup"], status["last_success_at"]) == (None, None)
    assert not store.backups.health()["ok"]
    store.backups.restore(stored.id, actor="test")
    assert contents(store) == wanted
    made = store.backups.create("automatic")
    assert made.id != stored.id, "an equal state elsewhere confirms nothing here"
    assert store.backups.get(stored.id) == stored
    for number in range(3):
        store.inventory.commit([Put(Setting.of("n", data=number))], actor="test")
        store.backups.create("automatic")
    reasons = {d.backup_id: (d.keep, d.reason) for d in store.backups.rotate()}
    assert reasons[stored.id] == (True, "of type imported, which does not rotate")
    assert reasons[made.id][0] is False
    assert store.backups.verify(stored.id).ok


def test_an_archive_mends_what_has_rotted(store: Store) -> None:
    """It may be the last good copy of a piece that the database thinks it has."""
    give_a_past(store)
    made = store.backups.create()
    archive = exported(store, made.id)
    change(store, 99, random.Random(2))  # the live state mends what it has
    with store.database.write() as connection:
        data = backup_chunks.c.data
        for row in connection.execute(sa.select(backup_chunks.c.sha256, data)).all():
            rotten = row.data[:-1] + bytes([row.data[-1] ^ 1])
            connection.execute(
                sa.update(backup_chunks)
                .where(backup_chunks.c.sha256 == row.sha256)
                .values(data=rotten)
            )
    assert not store.backups.verify(made.id).ok
    stored = store.backups.import_(io.BytesIO(archive))
    assert stored.id != made.id
    assert stored.verified_at is not None
    assert store.backups.verify(made.id).ok


def test_an_id_that_is_taken_makes_place(store: Store) -> None:
    """Ids are unguessable, but the writer of an archive chose one."""
    give_a_past(store)
    made = store.backups.create()
    archive = archives.read(exported(store, made.id))
    archive.sections["setting"].pop()
    stored = store.backups.import_(io.BytesIO(archive.describe().write()))
    assert stored.id != made.id
    assert store.backups.verify(made.id).ok


def test_another_tenants_archive_is_let_in_by_name_only(store: Store) -> None:
    give_a_past(store)
    archive = exported(store, store.backups.create().id)
    other = store.for_tenant("other")
    witness = archives.Witness(store.database.engine)
    for options in ({}, {"from_tenant": "third"}):
        with pytest.raises(ArchiveRefused, match="another tenant"):
            other.backups.import_(io.BytesIO(archive), **options)
    witness.assert_nothing_written()
    stored = other.backups.import_(io.BytesIO(archive), from_tenant="default")
    other.backups.restore(stored.id, actor="test")
    assert contents(other) == contents(store)
    with store.database.read() as connection:
        count = sa.select(sa.func.count()).select_from(data_backups)
        assert connection.scalar(count.where(data_backups.c.tenant_id == "other")) == 2
