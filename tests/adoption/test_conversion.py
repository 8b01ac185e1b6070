"""Any row becomes one thing, and nothing of it is lost or told that must not be."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expresso_persist.adoption.conversion import Carried, Converter, Quarantined, Refused, Row
from expresso_persist.adoption.legacy import BACKUPS, TABLES
from expresso_persist.model import json_text, secrets

KEYS = {
    "event_inventory": ("category", "item_name"),
    "event_stock_levels": ("item_name",),
    "station_inventory_configs": ("station_id",),
    "station_inventory_quantities": ("station_id", "item_name"),
    "system_settings": ("setting_key",),
    "user_preferences": ("user_id",),
    "app_state": ("state_key",),
}
tables = st.sampled_from([name for name in TABLES if name != BACKUPS])

texts = st.text(st.characters(exclude_categories=()), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
times = st.datetimes(timezones=st.just(dt.UTC))
cells: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(),
    st.decimals(allow_nan=True),
    texts,
    st.sampled_from(["true", "F", "1", "12.50", " 3 ", "1e999", "NaN", "\x00", "\ud800", "{"]),
    st.binary(max_size=8).filter(lambda raw: not raw.isascii()),
    times,
    json_values.map(json.dumps),
)


@st.composite
def rows(draw: Any, name: str) -> dict[str, Any]:
    """Some columns that the table always has, some that it may have, some of the host's."""
    table = TABLES[name]
    columns = sorted(table.required) + draw(
        st.lists(
            st.sampled_from([*sorted(table.optional), "grinder", "quantity", "name", "available"]),
            unique=True,
        )
    )
    return {column: draw(cells) for column in columns}


def convert(name: str, *given_rows: dict[str, Any]) -> list[Any]:
    converter = Converter(TABLES[name], given_rows[0])
    return [
        converter.convert(Row(str(number), values)) for number, values in enumerate(given_rows, 1)
    ]


@given(data=st.data(), name=tables)
def test_any_row_ends_in_one_class(data: st.DataObject, name: str) -> None:
    """Whatever a database gives: a record that can be stored, or the text kept aside."""
    row = data.draw(rows(name))
    (outcome,) = convert(name, row)
    assert isinstance(outcome, (Carried, Quarantined, Refused))
    if isinstance(outcome, Refused):
        return
    record = outcome.record
    text = json_text.dumps(json_text.loads(record.text))
    assert text == record.text, "what is stored is read back as it is"
    assert record.columns() is not None
    assert all(json_text.find_unstorable(part) is None for part in (*record.parts, text))
    if isinstance(outcome, Quarantined):
        kept = json.loads(json.loads(record.data["raw_json"]))
        assert {*row} == {*kept}
        for column, value in row.items():
            if isinstance(value, (str, bool, int)) or value is None:
                assert kept[column] == value


@given(data=st.data(), name=tables)
def test_what_a_fit_row_says_is_in_its_record(data: st.DataObject, name: str) -> None:
    """The names in its key, every number and text in its data."""
    table = TABLES[name]
    names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
    numbers = st.integers(-(10**12), 10**12) | st.integers(-(10**9), 10**9).map(lambda n: n / 8)
    row: dict[str, Any] = {}
    for column in sorted(table.required):
        if column in ("total_quantity", "quantity"):
            row[column] = data.draw(numbers)
        elif column in ("config_data", "setting_value", "preferences", "state_value"):
            row[column] = json.dumps(data.draw(st.dictionaries(names, numbers, max_size=3)))
        else:
            row[column] = data.draw(names)
    row["grinder"] = data.draw(names)
    assume(not any(secrets.is_secret_text(str(value)) for value in row.values()))
    assume(all(secrets.scan({value: 1}).value for value in row.values() if isinstance(value, str)))
    (outcome,) = convert(name, row)
    assume(not isinstance(outcome, Refused) and not getattr(outcome, "removed", ()))
    assert isinstance(outcome, Carried), outcome
    held = [*outcome.record.parts, *_leaves(outcome.record.data)]
    for column, value in row.items():
        if column == "grinder" and name == "system_settings":
            continue  # kept in the document of details
        if column in ("config_data", "setting_value", "preferences", "state_value"):
            assert all(leaf in held for leaf in _leaves(json.loads(value)))
        elif column in KEYS[name]:
            assert any(str(value) in str(part) for part in held)
        else:
            assert value in held, column


@given(data=st.data(), name=tables)
def test_of_two_rows_of_a_name_the_first_one_stays(data: st.DataObject, name: str) -> None:
    row = data.draw(rows(name))
    first, second = convert(name, row, dict(row))
    if isinstance(first, Carried) and row[KEYS[name][0]] is not None:
        assert isinstance(second, Quarantined)
        assert "same name" in second.reason
    else:
        assert type(first) is type(second) or row[KEYS[name][0]] is None


@given(data=st.data(), name=tables)
def test_a_secret_is_told_nowhere(data: st.DataObject, name: str) -> None:
    """Neither in what is carried over, nor in what is kept aside, nor in the report."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiIsImV4cCI6MX0.c2lnbmF0dXJlc2lnbmF0dXJl"
    row = data.draw(rows(name))
    column = data.draw(st.sampled_from(sorted(row)))
    wrapped = data.draw(
        st.sampled_from([token, json.dumps(token), json.dumps({"a": [token]}), f"Bearer {token}"])
    )
    row[column] = wrapped
    converter = Converter(TABLES[name], row)
    outcome = converter.convert(Row("1", row))
    told = [repr(outcome), repr(converter.details), *converter.removed]
    if not isinstance(outcome, Refused):
        told += [*outcome.record.parts, outcome.record.text]
    for text in told:
        assert "eyJhbGci" not in text


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


@pytest.mark.parametrize("name", sorted(KEYS))
def test_every_table_has_a_conversion(name: str) -> None:
    assert callable(getattr(Converter, f"_{name}"))
