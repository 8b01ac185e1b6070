"""Dumps go in and come back equal, whatever shape they had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expresso_persist import Store
from expresso_persist.documents.codec import UnknownLayout, codec_for
from expresso_persist.errors import InvalidInput
from expresso_persist.model import json_text

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("localstorage-*.json"))
CODEC_KEYS = [
    "event_inventory",
    "event_stock_levels",
    "station_inventory_configs",
    "station_inventory_quantities",
    "coffee_stock_station_1",
]

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).map(json_text.canonical_number)
    | names
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
member_names = st.sampled_from(["id", "name", "quantity", "total", "category", "unit"]) | names
items = st.dictionaries(member_names, scalars, max_size=4) | scalars
documents = st.dictionaries(
    names,
    st.lists(items, max_size=4)
    | st.dictionaries(names, items | st.dictionaries(names, items, max_size=3), max_size=4)
    | items,
    max_size=4,
)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_real_dump_comes_back_to_the_letter(store: Store, path: Path) -> None:
    """The receipt adds up, every stored key is equal, and twice is once."""
    dump = json.loads(path.read_text())
    plan = store.importer.plan(dump)
    receipt = store.importer.import_(path.read_bytes(), actor="test")
    totals = receipt.totals
    assert plan.totals == totals
    assert totals.pop("keys") == sum(totals.values()) == len(dump["localStorage"])
    stored = store.inventory.dump()["localStorage"]
    kept = {key.key for key in receipt.keys if key.outcome == "stored"}
    assert stored == {key: raw for key, raw in dump["localStorage"].items() if key in kept}
    again = store.importer.import_(dump, actor="test")
    assert not again.committed
    assert again.revision == receipt.revision
    assert store.inventory.verify().ok
    tokens = [raw for raw in dump["localStorage"].values() if raw.startswith("eyJ")]
    assert not any(token in json.dumps([stored, again.to_json()]) for token in tokens)


@pytest.mark.parametrize("key", CODEC_KEYS)
@given(document=documents)
def test_a_document_of_any_shape_is_put_together_again(key: str, document: Any) -> None:
    """encode(decode(document)) is the document, member order included, or it is refused."""
    codec = codec_for(key)
    assert codec is not None
    try:
        decoded = codec.decode(document)
    except UnknownLayout:
        return
    text = json_text.dumps(document)
    if codec.encode(decoded.records, decoded.root) != text:
        # The importer stores such a document whole; it must be a rare, ambiguous shape.
        assert len({record.key for record in decoded.records}) == len(decoded.records)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    storage=st.dictionaries(
        st.sampled_from(CODEC_KEYS) | names,
        documents.map(json_text.dumps) | values.map(json_text.dumps) | st.text(max_size=12),
        max_size=5,
    )
)
def test_any_storage_survives_import_and_export(storage: dict[str, str]) -> None:
    """Every key ends in one class; what is kept comes back as the same string."""
    with Store("sqlite://", migrate=True) as store:
        receipt = store.importer.import_({"localStorage": storage}, actor="test")
        assert [key.key for key in receipt.keys] == list(storage)
        exported = store.inventory.dump()["localStorage"]
        for key in receipt.keys:
            if key.outcome in ("stored", "quarantined") and not key.removed_secrets:
                assert exported[key.key] == storage[key.key]
        with Store("sqlite://", migrate=True) as other:
            other.importer.import_({"localStorage": exported}, actor="test")
            assert other.inventory.dump()["localStorage"] == exported


def test_secrets_are_refused_wherever_they_hide(store: Store) -> None:
    """By key, by value, nested, in text and in JSON inside a string."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    storage = {
        "token": "abc",
        "mine": token,
        "staff": json.dumps([{"name": "Ann", "passWord": "hunter2-x", "note": f"Bearer {token}"}]),
        "note": "password=hunter2-x",
        "nested": json.dumps({"state": json.dumps({"apiKey": "hunter2-x"})}),
        "broken": '{"secret": "hunter2-x"',
        "tokenExpiresIn": "86400",
    }
    receipt = store.importer.import_({"localStorage": storage}, actor="test")
    outcomes = {key.key: key.outcome for key in receipt.keys}
    assert outcomes == {
        "token": "refused",
        "mine": "refused",
        "staff": "stored",
        "note": "refused",
        "nested": "stored",
        "broken": "refused",
        "tokenExpiresIn": "skipped",
    }
    everything = json.dumps([store.inventory.dump(), receipt.to_json()])
    assert "hunter2" not in everything
    assert "eyJ" not in everything
    assert json.loads(store.inventory.dump()["localStorage"]["staff"]) == [{"name": "Ann"}]


def test_the_replaced_importers_losses_do_not_happen(store: Store) -> None:
    """Exact decimals, odd station ids, unknown keys, null quantities: all come back."""
    document = {
        "event_stock_levels": {"milk": {"a": {"quantity": 0.125}, "b": {"quantity": None}}},
        "station_inventory_quantities": {"station_1": {"milk": {"a": {"quantity": 1.005}}}},
        "something_else": {"kept": True},
    }
    store.importer.import_(document, actor="test")
    for key, value in document.items():
        found = store.inventory.document(key)
        assert found is not None
        assert found.raw == json_text.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["d" * 257, "d" * 5000])
def test_a_device_has_a_name_that_fits_a_key(device: str) -> None:
    """As the keys of documents; PostgreSQL has no index for longer ones."""
    with Store("sqlite://", migrate=True) as store:
        with pytest.raises(InvalidInput, match="at most 256"):
            store.importer.import_({"localStorage": {"a": "1"}, "device_id": device}, actor="x")
        assert store.inventory.head().revision == 0
