"""Every read of a tenant's data now and as it was, and what a commit leaves in every column."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import attrs
import msgspec
import pytest
import sqlalchemy as sa

import secret_vectors as vectors
from expresso_persist import Store
from expresso_persist.commits.decision import Decision
from expresso_persist.commits.hash_chain import GENESIS
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State
from expresso_persist.commits.trail import ChangePage, read_cursor
from expresso_persist.db.tables import changes, commits, tenants
from expresso_persist.errors import (
    ExpressoPersistError,
    IdempotencyMismatch,
    InvalidInput,
    RevisionConflict,
)
from expresso_persist.model.records import (
    Delete,
    EventItem,
    Head,
    Put,
    Record,
    RecordKey,
    Setting,
    StationConfig,
    StationQuantity,
    StationStock,
    StockLevel,
    StoredDocument,
)

TAB = "coffee_cue_active_tab"


def put(store: Store, *records: Record, **options: Any) -> Any:
    own = {name: options.pop(name) for name in ("receipt", "keep_empty") if name in options}
    decision = Decision([Put(record) for record in records], **own)
    return store.inventory.commit(decision, actor="anna", **options)


@pytest.fixture
def used(store: Store) -> Store:
    """Two revisions of a bit of everything, and another tenant that holds something else."""
    item = EventItem.of("milk", "oat", data={"name": "Oat", "enabled": True})
    put(store, item, Setting.of("a", data=1), StoredDocument.of(TAB, "till", data="one"),
        StoredDocument.of("menu", "", data={"a": 1}))  # fmt: skip
    put(
        store,
        Setting.of("a", data=2),
        Setting.of("b", data={"x": [1]}),
        StoredDocument.of(TAB, "till", data="two"),
        StoredDocument.of(TAB, "bar", data="three", position=1),
        StoredDocument.of("menu", "", data={"a": 2}),
        EventItem.of("milk", "soy", data={"name": "Soy"}, position=1),
        StockLevel.of("milk", "oat", data={"quantity": 3}),
        StationConfig.of("1", data={"c": 1}),
        StationQuantity.of("1", "milk", "oat", data=1),
        StationStock.of("1", "milk", "oat", data={"amount": 2}),
    )
    south = store.for_tenant("south").inventory
    south.commit([Put(Setting.of("s", data=1)), Put(Setting.of("a", data=9))], actor="bert")
    return store


def test_one_record_now_and_as_it_was(used: Store) -> None:
    get = used.inventory.get
    assert [(r and r.data) for r in (get("setting", "a"), get("setting", "a", as_of=1))] == [2, 1]
    assert get("setting", "b", as_of=1) is None
    assert get("setting", "s") is None
    with pytest.raises(InvalidInput):
        get("setting", "a", "b")
    with pytest.raises(InvalidInput):
        get("nothing", "a")


def test_records_of_a_kind_or_all_now_and_as_they_were(used: Store) -> None:
    read = used.inventory.records
    assert [r.data for r in read("setting")] == [2, {"x": [1]}]
    assert [r.data for r in read("setting", as_of=1)] == [1]
    assert len(read()) == 11
    assert {r.kind for r in read(as_of=1)} == {"event_inventory", "setting", "document"}
    with pytest.raises(InvalidInput):
        read("nothing")
    assert used.inventory.settings() == {"a": 2, "b": {"x": [1]}}


def test_a_snapshot_is_all_of_one_tenant_at_one_revision(used: Store) -> None:
    snapshot = used.inventory.snapshot()
    assert snapshot.head == used.inventory.head()
    assert [record.key for record in snapshot.records] == sorted(
        record.key for record in used.inventory.records()
    )
    assert {r.data for r in used.for_tenant("south").inventory.snapshot().records} == {1, 9}
    with used.database.read() as connection:
        assert used.inventory.snapshot(connection) == snapshot
        nothing = InventoryRepository(used.database, "west").snapshot(connection)
    assert (nothing.head, nothing.records) == (Head("", 0, GENESIS), ())
    assert used.for_tenant("west").inventory.snapshot().head.epoch != ""


def test_the_inventory_now_and_as_it_was(used: Store) -> None:
    head, text = used.inventory.inventory_json()
    assert head == used.inventory.head()
    assert sorted(msgspec.json.decode(text)["event_inventory"]["milk"]) == ["oat", "soy"]
    head, text = used.inventory.inventory_json(as_of=1)
    assert head.revision == 1
    assert sorted(msgspec.json.decode(text)["event_inventory"]["milk"]) == ["oat"]


def test_a_document_of_a_device_now_and_as_it_was(used: Store) -> None:
    def value(*arguments: str, **options: Any) -> Any:
        found = used.inventory.document(*arguments, **options)
        return None if found is None else found.value

    assert [value("menu"), value("menu", as_of=1)] == [{"a": 2}, {"a": 1}]
    assert [value(TAB, "till"), value(TAB, "bar"), value(TAB)] == ["two", "three", None]
    assert [value(TAB, "till", as_of=1), value(TAB, "bar", as_of=1)] == ["one", None]
    assert [value(""), value("nothing")] == [None, None]
    for bad in (("a\0b",), ("menu", "a\0b")):
        with pytest.raises(InvalidInput):
            value(*bad)


def test_a_dump_of_a_device_now_and_as_it_was(used: Store) -> None:
    dump = used.inventory.dump()
    head = used.inventory.head()
    assert (dump["epoch"], dump["revision"]) == (head.epoch, 2)
    assert dump["from_devices"] == {TAB: "bar"}
    assert used.inventory.dump("till")["from_devices"] == {TAB: "till"}
    earlier = used.inventory.dump(as_of=1)
    assert (earlier["revision"], earlier["from_devices"]) == (1, {TAB: "till"})
    assert earlier["localStorage"]["menu"] == '{"a":1}'
    with pytest.raises(InvalidInput):
        used.inventory.dump("a\0b")


def test_devices_now_and_as_they_were(used: Store) -> None:
    assert [d.device_id for d in used.inventory.devices()] == ["bar", "till"]
    assert [d.device_id for d in used.inventory.devices(as_of=1)] == ["till"]
    assert used.for_tenant("south").inventory.devices() == []


def test_counts_are_of_one_tenant(used: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last change in UTC, wherever the machine is."""
    for number in range(2):  # of a tenant that comes before it, at the same revisions
        put(used.for_tenant("a"), Setting.of("s", data=number))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
        time.tzset()
        stats = used.inventory.stats()
    time.tzset()
    last = stats.pop("last_update")
    assert stats == {
        "event_inventory_items": 2,
        "stock_items": 1,
        "station_configs": 1,
        "station_quantities": 1,
        "station_stock_items": 1,
        "settings": 2,
        "documents": 3,
        "quarantined": 0,
        "revision": 2,
    }
    assert last.endswith("Z")
    assert dt.datetime.fromisoformat(last) == used.inventory.commits()[1].created_at
    south = used.for_tenant("south").inventory
    at = dt.datetime.fromisoformat(south.stats()["last_update"])
    assert at == south.commits()[0].created_at
    empty = used.for_tenant("west").inventory.stats()
    assert (empty["last_update"], empty["revision"], empty["settings"]) == (None, 0, 0)


def test_looking_whether_a_tenant_is_there_does_not_make_it(used: Store) -> None:
    west = used.for_tenant("west").inventory
    assert (west.exists(), west.exists(), used.inventory.exists()) == (False, False, True)
    assert west.head().revision == 0
    assert west.exists()


def test_a_tenant_is_made_once(store: Store) -> None:
    west = store.for_tenant("west").inventory
    first = west._ensure_tenant()
    assert (first.revision, first.hash, len(bytes.fromhex(first.epoch))) == (0, GENESIS, 8)
    assert west._ensure_tenant() == first, "another process was faster"
    assert west.head() == first
    assert store.for_tenant("east").inventory._ensure_tenant().epoch != first.epoch


def test_no_tenant_is_made_under_an_old_name_or_a_secret(store: Store) -> None:
    store.for_tenant("south").inventory.head()
    store.tenants.rename("south", "north", actor="anna")
    for name in ("south", vectors.jwt()):
        repository = InventoryRepository(store.database, name)
        with pytest.raises(ExpressoPersistError):
            repository.head()
        with pytest.raises(ExpressoPersistError):
            repository.commit([Put(Setting.of("a", data=1))], actor="anna")
        assert not repository.exists()


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0b"])
def test_a_tenant_has_a_name(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput):
        InventoryRepository(store.database, name)
    assert InventoryRepository(store.database, "x" * 256).tenant == "x" * 256


def test_what_an_earlier_request_did_is_found_by_its_key(used: Store) -> None:
    made = put(used, Setting.of("c", data=1), idempotency_key="k", request=b"x")
    replay = used.inventory.replay
    found = replay("anna", "k", b"x")
    assert found is not None
    assert (found.revision, found.replayed, found.changes) == (3, True, made.changes)
    again = put(used, Setting.of("c", data=1), idempotency_key="k", request=b"x")
    assert (again.replayed, again.epoch, again.cursor) == (True, made.epoch, made.cursor)
    assert [replay("anna", None, b"x"), replay("bert", "k", b"x"), replay("anna", "l", b"x")] == [
        None
    ] * 3
    assert used.for_tenant("south").inventory.replay("anna", "k", b"x") is None
    with pytest.raises(IdempotencyMismatch):
        replay("anna", "k", b"y")
    for actor, key in (("a\0b", "k"), ("anna", "a\0b")):
        with pytest.raises(InvalidInput):
            replay(actor, key, b"x")
    used.backups.create(actor="anna", idempotency_key="m")
    with pytest.raises(IdempotencyMismatch):
        replay("anna", "m", b"x")


def test_a_commit_says_everything_that_it_was_given(used: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    commit = put(
        used, Setting.of("c", data=1), source="import", note="for the fair",
        idempotency_key="k", request=b"x", receipt=lambda revision: f'{{"r":{revision}}}',
    )  # fmt: skip
    assert before <= commit.created_at <= dt.datetime.now(dt.UTC)
    stored = used.inventory.commits(since=2)[0]
    assert attrs.evolve(commit, epoch="", previous=None) == attrs.evolve(stored, epoch="")
    assert commit.previous == used.inventory.commits(since=1)[0].hash
    assert (commit.revision, commit.actor, commit.source, commit.note) == (
        3, "anna", "import", "for the fair",
    )  # fmt: skip
    assert (commit.idempotency_key, commit.receipt) == ("k", '{"r":3}')
    assert (commit.stored, commit.replayed) == (True, False)
    head = used.inventory.head()
    assert (head.revision, head.hash, head.epoch) == (3, commit.hash, commit.epoch)
    with used.database.read() as connection:
        row = connection.execute(sa.select(commits).where(commits.c.revision == 3)).one()
        assert row.tenant_id == "default"
        assert len(row.request_fingerprint) == 64
        others = connection.scalars(
            sa.select(tenants.c.revision).where(tenants.c.tenant_id != "default")
        )
        assert [*others] == [1]
    assert used.inventory.verify().ok
    plain = put(used, Setting.of("c", data=2), receipt='{"a":1}')
    assert (plain.source, plain.note, plain.receipt) == ("api", "", '{"a":1}')


def test_a_commit_that_changes_nothing(used: Store) -> None:
    same = Setting.of("a", data=2)
    nothing = put(used, same, note="again")
    head = used.inventory.head()
    assert (nothing.stored, nothing.revision, nothing.hash, nothing.epoch) == (
        False, 2, head.hash, head.epoch,
    )  # fmt: skip
    assert (nothing.actor, nothing.note, nothing.replayed, nothing.changes) == (
        "anna", "again", False, (),
    )  # fmt: skip
    assert put(used, same, keep_empty=True).revision == 3
    assert put(used, same, idempotency_key="k").revision == 4
    imported = put(used, same, source="import", idempotency_key="i", receipt='{"a":1}')
    assert not imported.stored
    again = put(used, same, source="import", idempotency_key="i", receipt='{"b":1}')
    assert (again.stored, again.replayed, again.receipt) == (False, True, '{"a":1}')
    called = put(used, same, source="import", idempotency_key="j", receipt=lambda n: f'{{"r":{n}}}')
    assert not called.stored
    again = put(used, same, source="import", idempotency_key="j")
    assert (again.receipt, again.revision) == ('{"r":4}', 4)
    assert used.inventory.head().revision == 4


def test_a_commit_may_insist_on_the_tenants_revision(used: Store) -> None:
    for revision in (0, 1, 3):
        with pytest.raises(RevisionConflict) as caught:
            put(used, Setting.of("a", data=3), expected_revision=revision)
        assert caught.value.context == {"revision": 2}
    assert put(used, Setting.of("a", data=3), expected_revision=2).revision == 3


@pytest.mark.parametrize(
    "options",
    [{"actor": "a\0"}, {"note": "a\0"}, {"idempotency_key": "a\0"}, {"standing": "x"}],
)
def test_what_cannot_be_stored_is_refused(used: Store, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        used.inventory.commit([], **{"actor": "anna", **options})
    bad: Any = 7
    with pytest.raises(InvalidInput, match="a list of operations"):
        used.inventory.commit(bad, actor="anna")
    assert used.inventory.head().revision == 2


def test_a_commit_brings_the_value_of_its_decision(used: Store) -> None:
    def decide(state: State) -> Decision:
        stored = state.get("setting", "a")
        return Decision([Put(Setting.of("a", data=5))], value=stored and stored.data)

    options: dict[str, Any] = {"actor": "anna", "idempotency_key": "v", "request": b"x"}
    assert used.inventory.commit(decide, **options).value == 2
    repeated = used.inventory.commit(decide, **options)
    assert (repeated.replayed, repeated.value) == (True, None)
    unchanged = used.inventory.commit(decide, actor="anna")
    assert (unchanged.stored, unchanged.value) == (False, 5)
    assert used.inventory.commit(Decision(value="x"), actor="anna").value == "x"


def test_records_are_added_changed_and_removed_in_one_commit(used: Store) -> None:
    """Of several kinds; what another tenant has under the same keys stays."""
    created = {r.parts[0]: r for r in used.inventory.records("setting")}["a"]
    used.inventory.commit(
        [
            Put(Setting.of("a", data=5)),
            Delete(RecordKey("setting", ("b",))),
            Put(Setting.of("c", data=6, raw="6.0")),
            Delete(RecordKey("event_inventory", ("milk", "oat"))),
            Put(EventItem.of("milk", "pea", data={"name": "Pea"}, position=2)),
        ],
        actor="bert",
    )
    found = {r.parts[0]: r for r in used.inventory.records("setting")}
    assert {name: r.data for name, r in found.items()} == {"a": 5, "c": 6}
    assert (found["c"].raw, found["c"].revision, found["c"].updated_by) == ("6.0", 3, "bert")
    assert (found["a"].revision, found["a"].updated_by, created.updated_by) == (3, "bert", "anna")
    names = [r.parts[1] for r in used.inventory.records("event_inventory")]
    assert names == ["soy", "pea"]
    assert used.for_tenant("south").inventory.settings() == {"a": 9, "s": 1}
    with used.database.read() as connection:
        rows = connection.execute(
            sa.select(changes.c.ordinal, changes.c.kind, changes.c.record_key)
            .where(changes.c.tenant_id == "default", changes.c.revision == 3)
            .order_by(changes.c.ordinal)
        ).all()
    assert [row.ordinal for row in rows] == [0, 1, 2, 3, 4]
    assert used.inventory.verify().ok


def test_commits_come_in_pages_with_their_changes(used: Store) -> None:
    for number in range(3, 6):
        put(used, Setting.of("a", data=number))
    pages = used.inventory.commits
    assert [c.revision for c in pages(0, 2)] == [1, 2]
    assert [c.revision for c in pages(2, 2)] == [3, 4]
    assert [c.revision for c in pages(4)] == [5]
    assert pages(5) == []
    assert [c.changes[0].after.data for c in pages(2)] == [3, 4, 5]
    assert [c.changes[0].before.data for c in pages(2)] == [2, 3, 4]
    assert [len(c.changes) for c in pages(0, 2)] == [4, 10]
    for bad in ({"since": -1}, {"limit": "x"}):
        with pytest.raises(InvalidInput):
            pages(**bad)  # type: ignore[arg-type]


def test_a_page_of_the_feed_says_where_it_ends(used: Store) -> None:
    put(used, Setting.of("a", data=3))
    page = used.inventory.changes(0, 2)
    assert (page.reset, page.has_more, [c.revision for c in page.commits]) == (False, True, [1, 2])
    epoch, revision, prefix = page.cursor.split(".")
    assert (epoch, revision) == (used.inventory.head().epoch, "2")
    assert page.commits[1].hash.startswith(prefix)
    rest = used.inventory.changes(page.cursor)
    assert (rest.has_more, rest.reset, [c.revision for c in rest.commits]) == (False, False, [3])
    assert rest.cursor == used.inventory.head().cursor
    over = used.inventory.changes(rest.cursor)
    assert (over.commits, over.cursor, over.reset, over.has_more) == ((), rest.cursor, False, False)


def test_a_cursor_is_an_epoch_a_revision_and_a_hash() -> None:
    assert read_cursor(0) == read_cursor("0") == (None, 0, "")
    assert read_cursor("e.7.abc") == ("e", 7, "abc")
    assert read_cursor("e.7.abc.d") == ("e", 7, "abc.d")
    assert read_cursor(f"e.{'9' * 18}.abc") == ("e", int("9" * 18), "abc")
    for text in ("", ".7.abc", "e..abc", "e.7.", "e.7", "e", f"e.{'9' * 19}.a", "e.\u0667.a",
                 "\u0667", "e.-1.a", "e.x.a"):  # fmt: skip
        with pytest.raises(InvalidInput, match=r"^The cursor cannot be read; send the") as caught:
            read_cursor(text)
        assert [problem.path for problem in caught.value.problems] == ["since"]
    for alone in (7, "7", "00"):
        with pytest.raises(
            InvalidInput, match=r"^A revision alone does not say .* send the cursor"
        ):
            read_cursor(alone)


def test_a_position_that_this_history_does_not_have_begins_it_again(used: Store) -> None:
    """Another copy, another future, another commit of this number, a part of its hash."""
    first = used.for_tenant("a").inventory  # comes before the others in every table
    first.commit([Put(Setting.of("s", data=1))], actor="bert")
    head = used.inventory.head()
    for tenant in (used, used.for_tenant("a"), used.for_tenant("south")):
        own = tenant.inventory.head()
        assert not tenant.inventory.changes(own.cursor).reset
    prefix = head.cursor.split(".")[2]
    for cursor in (
        f"other.2.{prefix}",
        f"{head.epoch}.3.{prefix}",
        f"{head.epoch}.1.{prefix}",
        f"{head.epoch}.2.{'f' * 12}",
        f"{head.epoch}.2.{prefix[:-1]}",
    ):
        page = used.inventory.changes(cursor)
        assert page == ChangePage((), head.cursor, reset=True, has_more=False), cursor


def test_what_was_forgotten_cannot_be_followed(used: Store) -> None:
    early = used.inventory.changes(0, 1).cursor
    put(used, Setting.of("a", data=3))
    assert len(used.inventory.changes(early).commits) == 2
    used.inventory.forget_history(3, actor="anna")
    head = used.inventory.head()
    for cursor in (0, early):
        page = used.inventory.changes(cursor)
        assert page == ChangePage((), head.cursor, reset=True, has_more=False)
    assert not used.for_tenant("south").inventory.changes(0).reset


def test_the_trail_is_checked_against_anchors(used: Store) -> None:
    report = used.inventory.verify()
    assert report.ok
    put(used, Setting.of("a", data=3))
    assert used.inventory.verify(anchors=[report.anchor]).ok
    assert used.inventory.verify(anchors=(used.inventory.head().cursor,)).ok
    bad: Any = "text"
    with pytest.raises(InvalidInput, match="anchors is a list"):
        used.inventory.verify(anchors=bad)
    wrong = "f" * 64
    assert not used.inventory.verify(anchors=[f"1.{wrong}"]).ok
