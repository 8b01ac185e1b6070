"""Imports of random dumps, one after the other, in every mode."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from expresso_persist import LocalStorageImporter, Store
from expresso_persist.documents.merge import is_empty
from expresso_persist.errors import ConflictRefused, InvalidInput
from expresso_persist.model import json_text

names = st.sampled_from(["milk", "coffee", "1", "2", "oat", "soy", "Müller"])
items = st.fixed_dictionaries(
    {"id": names, "name": names},
    optional={"quantity": st.integers(0, 9), "enabled": st.booleans(), "note": st.none()},
)
inventories = st.dictionaries(names, st.lists(items, max_size=3, unique_by=lambda i: i["id"]))
stocks = st.dictionaries(names, st.dictionaries(names, items, max_size=3), max_size=3)
dumps = st.fixed_dictionaries(
    {},
    optional={
        "event_inventory": inventories,
        "event_stock_levels": inventories | stocks,
        "station_inventory_quantities": st.dictionaries(names, stocks, max_size=2),
        "coffee_stock_station_1": inventories,
        "event_menu": st.dictionaries(names, st.integers(0, 3), max_size=3),
        "coffee_cue_selected_station": st.integers(1, 3),
        "coffee_system_token": st.just("a-token-that-is-refused"),
        "something_new": items,
    },
)
modes = st.sampled_from(["merge", "replace"])
sides = st.sampled_from(["incoming", "existing", "fail"])


def exported(store: Store) -> dict[str, Any]:
    found = store.inventory.dump()["localStorage"]
    return {key: json.loads(raw) for key, raw in found.items()}


@settings(max_examples=80)
@given(steps=st.lists(st.tuples(dumps, modes, sides), min_size=1, max_size=4))
def test_receipts_add_up_and_plans_come_true(
    steps: list[tuple[dict[str, Any], Any, Any]],
) -> None:
    with Store("sqlite://", migrate=True) as store:
        for dump, mode, side in steps:
            options = {"mode": mode, "on_conflict": side}
            before = store.inventory.snapshot()
            importer = LocalStorageImporter(store.inventory)  # without safety backups: fast
            try:
                plan = importer.plan(dump, **options)
                receipt = importer.import_(dump, actor="test", **options)
            except (ConflictRefused, InvalidInput):
                assert store.inventory.snapshot() == before
                continue
            after = store.inventory.snapshot()
            assert plan.dry_run
            assert plan.totals == receipt.totals
            assert plan.records == receipt.records
            totals = receipt.totals
            assert totals["keys"] == len(dump) == sum(totals.values()) - totals["keys"]
            counts = receipt.records
            assert len(after.records) - len(before.records) == counts.added - counts.removed
            assert receipt.committed == bool(counts.added + counts.changed + counts.removed)
            assert after.head.revision == before.head.revision + receipt.committed
            if side == "incoming":
                again = importer.import_(dump, actor="test", **options)
                assert not again.committed
            if mode == "replace" and side == "incoming":
                kept = {k: v for k, v in dump.items() if k != "coffee_system_token"}
                business = {k: v for k, v in exported(store).items() if k in dump}
                assert json_text.dumps(business) == json_text.dumps({k: kept[k] for k in business})
        assert store.inventory.verify().ok


@settings(max_examples=60)
@given(first=dumps, second=dumps)
def test_existing_wins_and_incoming_wins(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Merged values are the chosen side's wherever both have one."""
    with Store("sqlite://", migrate=True) as store:
        for name, side in (("incoming", second), ("existing", first)):
            tenant = store.for_tenant(name)
            importer = LocalStorageImporter(tenant.inventory)
            importer.import_(first, actor="test")
            importer.import_(second, actor="test", on_conflict=name)  # type: ignore[arg-type]
            found = exported(tenant)
            for key in ("event_menu", "something_new"):
                chosen = {m: v for m, v in side.get(key, {}).items() if not is_empty(v)}
                assert {**found.get(key, {}), **chosen} == found.get(key, {})
            assert set(found) >= (set(first) | set(second)) - {"coffee_system_token"}


SECRET = "hunter2-correct-horse"
secret_names = st.sampled_from(
    ["password", "PassWord", "api_key", "apiKey", "clientSecret", "access_token", "refreshToken"]
)
wrappers = st.lists(
    st.sampled_from(
        [
            lambda v: {"nested": v},
            lambda v: [1, v],
            lambda v: {"text": json.dumps(v)},
            lambda v: {"a": {"b": [v]}},
        ]
    ),
    max_size=3,
)


@settings(max_examples=150)
@given(name=secret_names, wrap=wrappers, key=st.sampled_from(["event_menu", "staff", "new_key"]))
def test_a_secret_is_found_at_any_depth(name: str, wrap: list[Any], key: str) -> None:
    value: Any = {name: SECRET, "kept": 1}
    for wrapper in wrap:
        value = wrapper(value)
    with Store("sqlite://", migrate=True) as store:
        receipt = store.importer.import_({key: value}, actor="test")
        told = json.dumps([receipt.to_json(), store.inventory.dump()])
        assert SECRET not in told
        snapshot = store.inventory.snapshot()
        assert not any(SECRET in record.text for record in snapshot.records)
        assert not any(SECRET in (commit.receipt or "") for commit in store.inventory.commits())
        (told_key,) = receipt.keys
        assert told_key.outcome == "refused" or told_key.removed_secrets
