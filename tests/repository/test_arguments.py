"""Every failure is an error of the library, also where a program gives the wrong things."""

from __future__ import annotations

import datetime as dt
import inspect
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import ConflictRefused, ExpressoPersistError, InvalidInput
from expresso_persist.model.records import (
    RECORD_TYPES,
    Adjust,
    Delete,
    Patch,
    Put,
    RecordKey,
    Setting,
    StationQuantity,
)
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import BATCH_TYPES, read_update

NOT_JSON: dict[str, Any] = {
    "set": {1},
    "frozenset": frozenset(),
    "tuple": (1, 2),
    "bytes": b"x",
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "date": dt.date(2026, 1, 1),
    "decimal": Decimal("1.5"),
    "nan": float("nan"),
    "infinity": float("-inf"),
    "object": object(),
    "complex": 1j,
    "nul": "a\0b",
    "half a pair": "\ud800",
    "number as a name": {1: 2},
    "nul in a name": {"a\0": 1},
}
ODD: list[Any] = [
    None, -1, 1.5, float("nan"), True, b"x", "nope", "", "a\0b", "\ud800", "x" * 10_000,
    [None], {1}, (1, 2), {1: 2}, {"a": {1}}, object(), Decimal(1), 10**30,
    dt.datetime(2026, 1, 1),  # noqa: DTZ001 - without an offset, on purpose
]  # fmt: skip
GIVEN: dict[str, Any] = {
    "actor": "test",
    "as_of": None,
    "before": 1,
    "category": "milk",
    "cursor": "0",
    "delta": 1,
    "dump": {"a": "1"},
    "idempotency_key": None,
    "item": "oat",
    "key": "theme",
    "kind": "setting",
    "name": "till",
    "new": "other",
    "operations": [],
    "permission": "read",
    "quantity": 1,
    "reason": "sour",
    "revision": 1,
    "token": "x",
}
# Calls of the host's own code, files, and what a test cannot wait for.
LEFT_OUT = {"allowed", "connection", "progress", "source", "target", "archive", "timeout", "grace"}
NOT_CALLED = {
    "close",
    "commit_within",
    "delete",
    "start",
    "stop",
    "sync_mirrors",
    "run_once",
    "standby",
}
ROOMS = ("inventory", "importer", "backups", "feed", "tokens", "tenants")


def calls(store: Store) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every argument of every public method, as a call with something else in its place."""
    given = {**GIVEN, "backup_id": store.backups.create().id, "a": None}
    for room in ROOMS:
        for name, method in inspect.getmembers(getattr(store, room), inspect.ismethod):
            if name.startswith("_") or name in NOT_CALLED:
                continue
            parameters = inspect.signature(method).parameters
            for place in parameters:
                if place not in LEFT_OUT:
                    yield f"{room}.{name}({place})", _call(method, parameters, place, given)


def _call(method: Any, parameters: Any, place: str, given: dict[str, Any]) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        arguments: list[Any] = []
        options: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if name == place:
                chosen = value
            elif parameter.kind is parameter.VAR_POSITIONAL:
                chosen = "theme"
            elif parameter.default is not parameter.empty:
                continue
            else:
                chosen = given.get(name, io.BytesIO() if name in LEFT_OUT else "x")
            if parameter.kind is parameter.KEYWORD_ONLY:
                options[name] = chosen
            else:
                arguments.append(chosen)
        return method(*arguments, **options)

    return call


# Lists of options that are none.
NO_LISTS = {
    "backups.export(recipients)", "backups.import_(identities)", "backups.import_once(identities)",
}  # fmt: skip


def test_no_argument_is_a_crash(store: Store) -> None:
    wrong: list[str] = []
    for name, call in calls(store):
        for value in ODD:
            try:
                result = call(value)
                if name.startswith("feed.subscribe"):
                    result.close()
            except ExpressoPersistError:
                continue
            except Exception as error:
                if name not in NO_LISTS:
                    wrong.append(f"{name} of {value!r:.40}: {error!r:.100}")
    assert not wrong, "\n".join(wrong)
    assert store.inventory.verify().ok


@pytest.mark.parametrize("kind", ["event_stok", "", None, 5, ["setting"]])
def test_a_kind_that_is_none_is_named(store: Store, kind: Any) -> None:
    inventory = store.inventory
    for ask in (
        lambda: inventory.get(kind, "milk", "oat"),
        lambda: inventory.history(key=(kind, ["milk", "oat"])),
        lambda: inventory.commit([Delete(RecordKey(kind, ("milk", "oat")))], actor="test"),
        lambda: inventory.commit([Patch(RecordKey(kind, ("a",)), {})], actor="test"),
        lambda: inventory.records(kind or ""),
    ):
        with pytest.raises(InvalidInput, match="There is no kind") as refused:
            ask()
        assert "event_stock" in str(refused.value)
        assert refused.value.problems[0].path == "kind"


@pytest.mark.parametrize("kind", RECORD_TYPES)
def test_a_key_has_the_parts_of_its_kind(store: Store, kind: str) -> None:
    columns = RECORD_TYPES[kind].key_columns
    for parts in (
        (),
        ("x",) * (len(columns) - 1),
        ("x",) * (len(columns) + 1),
        (1,) * len(columns),
    ):
        for ask in (
            lambda: store.inventory.get(kind, *parts),  # noqa: B023
            lambda: store.inventory.history(key=(kind, list(parts))),  # noqa: B023
            lambda: store.inventory.commit([Delete(RecordKey(kind, parts))], actor="test"),  # noqa: B023
        ):
            with pytest.raises(InvalidInput, match=f"A key of {kind} has") as refused:
                ask()
            assert ", ".join(columns) in str(refused.value)
    assert store.inventory.get(kind, *("x" for _ in columns)) is None


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_json_does_not_have_is_not_stored_as_something_else(store: Store, value: Any) -> None:
    nested = {"a": [1, {"b": value}]}
    inventory = store.inventory
    inventory.commit([Put(Setting.of("theme", data={"dark": True}))], actor="test")
    theme = RecordKey("setting", ("theme",))
    # The name at fault may be one of the members' own.
    for ask, place in (
        (lambda: read_update("setting", {"key": "k", "value": nested}), r"value\.a\[1\]\.b"),
        (
            lambda: read_update(
                "station_config", {"station_id": 1, "config_data": nested}, "u.data"
            ),
            r"u\.data\.config_data\.a\[1\]\.b",
        ),
        (lambda: Setting.of("k", data=nested), r"data\.a\[1\]\.b"),
        (lambda: inventory.commit([Patch(theme, {"x": nested})], actor="test"), r"x\.a\[1\]\.b"),
    ):
        with pytest.raises(InvalidInput, match=place):
            ask()
    if not isinstance(value, str) and value != {"a\0": 1}:  # a dump quarantines what is not stored
        with pytest.raises(InvalidInput, match=r"event_menu\.a\[1\]\.b"):
            store.importer.import_({"event_menu": nested}, actor="test")
    if not isinstance(value, (dict, str)):
        for ask in (
            lambda: inventory.count("milk", "oat", value, actor="test"),
            lambda: inventory.commit([Adjust(theme, "dark", value)], actor="test"),
        ):
            with pytest.raises(InvalidInput):
                ask()
    assert inventory.head().revision == 1


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidInput, match="deeper than 64"):
        Setting.of("k", data=value)


def test_text_that_is_no_json_is_not_stored(store: Store) -> None:
    for record in (Setting(("k",), "{"), Setting(("k",), 5), StationQuantity(("1", "", "a"), "")):  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"is not JSON; \w+\.of"):
            store.inventory.commit([Put(record)], actor="test")
    for nothing in (None, 5, ["x"], [None], [Setting.of("k", data=1)], [Put("x")]):  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            store.inventory.commit(nothing, actor="test")  # type: ignore[arg-type]
    assert store.inventory.head().revision == 0


def test_a_count_is_not_below_zero(store: Store) -> None:
    """Nobody counts that; what was sold too often is below zero by itself."""
    store.importer.import_({"event_stock_levels": {"milk": {"oat": {"quantity": 3}}}}, actor="t")
    for quantity in (-5, -0.001, -1e-300):
        with pytest.raises(InvalidInput, match="quantity"):
            store.inventory.count("milk", "oat", quantity, actor="test")
    assert store.inventory.count("milk", "oat", 0, actor="test").stock[0]["quantity"] == 0
    assert store.inventory.adjust("milk", "oat", -5, actor="test").stock[0]["quantity"] == -5


def test_an_id_that_is_there_twice_means_neither(store: Store) -> None:
    twice = [{"id": "a", "name": "A", "enabled": True}, {"id": "a", "name": "B", "enabled": True}]
    live = [{**item, "amount": 5} for item in twice]
    dump = {"event_inventory": {"milk": twice}, "coffee_stock_station_1": {"milk": live}}
    store.importer.import_(dump, actor="test")

    def update(kind: str, **data: Any) -> None:
        wanted = update_operations([read_update(kind, data, types=BATCH_TYPES)])
        store.inventory.commit(wanted, actor="test")

    for change in (
        lambda: update("event_inventory", category="milk", item_id="a", enabled=False),
        lambda: update("event_inventory", category="milk", item_name="a", enabled=False),
        lambda: update("adjust", station_id=1, category="milk", item="a", delta=-1),
        lambda: store.inventory.adjust("milk", "a", -1, station_id="1", actor="test"),
        lambda: store.inventory.transfer("milk", "a", 1, from_station="1", actor="test"),
    ):
        with pytest.raises(ConflictRefused, match="means several items") as refused:
            change()
        assert len(refused.value.context["keys"]) == 2
        assert refused.value.status == 409
    update("event_inventory", category="milk", item_name="B", enabled=False)
    shown = store.inventory.document("event_inventory")
    assert shown is not None
    assert [item["enabled"] for item in shown.value["milk"]] == [True, False]  # type: ignore[index,call-overload]
    assert store.inventory.head().revision == 2
