"""What operations do to records, without a database: every branch, to the last digit."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import secret_vectors as vectors
from expresso_persist.errors import InvalidInput, NotFound, RevisionConflict
from expresso_persist.model.operations import adjusted, apply, check, refuse_new_secrets
from expresso_persist.model.records import (
    Adjust,
    Change,
    Delete,
    EventItem,
    Patch,
    Put,
    Record,
    RecordKey,
    Setting,
    StationQuantity,
    StoredDocument,
)

OAT = RecordKey("station_quantity", ("1", "milk", "oat"))
SOY = RecordKey("station_quantity", ("1", "milk", "soy"))
NAME = RecordKey("setting", ("name",))
SECRET = vectors.jwt()
OTHER_SECRET = vectors.credentials()["aws"]


def oat(value: Any, **more: Any) -> StationQuantity:
    return StationQuantity.of(*OAT.parts, data=value, **more)


def at_revision(record: StationQuantity, revision: int) -> StationQuantity:
    return attrs.evolve(record, revision=revision)


def done(operations: list[Any], *stored: Record) -> list[Change]:
    return apply(operations, {record.key: record for record in stored}.get)


def after(operation: Any, *stored: Record) -> Record:
    (change,) = done([operation], *stored)
    assert change.after is not None
    return change.after


def test_changes_are_in_the_order_in_which_records_were_touched() -> None:
    """And say what was stored, not what an earlier operation of the same commit made."""
    soy = StationQuantity.of(*SOY.parts, data=1)
    found = done([Put(oat(2)), Delete(SOY), Put(oat(3))], soy, oat(1))
    assert found == [Change(OAT, oat(1), oat(3)), Change(SOY, soy, None)]
    assert [change.key for change in done([Delete(SOY), Put(oat(2))], soy, oat(1))] == [SOY, OAT]
    assert done([Put(oat(2)), Put(oat(1))], oat(1)) == []
    assert done([Delete(OAT)]) == []
    assert done([]) == []


def test_an_expected_revision_is_that_of_the_stored_record() -> None:
    """What an earlier operation of the same commit did to it has no revision yet."""
    stored = at_revision(oat({"quantity": 1}), 7)
    operations = [
        Put(oat({"quantity": 2}), expected_revision=7),
        Patch(OAT, {"unit": "l"}, expected_revision=7),
        Adjust(OAT, "quantity", 1, expected_revision=7),
        Delete(OAT, expected_revision=7),
    ]
    assert done(operations, stored) == [Change(OAT, stored, None)]
    for operation in operations:
        for revision in (0, 6, 8):
            expecting = _expecting(operation, revision)
            with pytest.raises(RevisionConflict, match="is at revision 7, not") as caught:
                done([expecting], stored)
            assert caught.value.context == {
                "kind": "station_quantity",
                "key": ["1", "milk", "oat"],
                "revision": 7,
                "value": {"quantity": 1},
            }


def test_what_is_not_stored_is_at_revision_0() -> None:
    for operation in (Put(oat(1)), Patch(OAT, {"a": 1}), Adjust(OAT, "a", 1), Delete(OAT)):
        for revision in (1, 7):
            with pytest.raises(RevisionConflict, match=f"at revision 0, not {revision}:") as caught:
                done([_expecting(operation, revision)])
            assert (caught.value.context["revision"], caught.value.context["value"]) == (0, None)
    assert done([Put(oat(1), expected_revision=0)]) == [Change(OAT, None, oat(1))]
    assert done([Delete(OAT, expected_revision=0)]) == []


def _expecting(operation: Any, revision: int) -> Any:
    return attrs.evolve(operation, expected_revision=revision)


def test_members_are_set_one_by_one() -> None:
    stored = oat({"quantity": 1, "unit": "l"}, position=3, raw='{"quantity": 1}')
    patched = after(Patch(OAT, {"quantity": 2, "low": True}), stored)
    assert patched.text == '{"quantity":2,"unit":"l","low":true}'
    assert (patched.position, patched.raw) == (3, None), "the raw text is that of the old value"
    made = after(Patch(OAT, {"quantity": 2}))
    assert (made.text, made.position, type(made)) == ('{"quantity":2}', 0, StationQuantity)
    for value in (1, "x", [], None):
        with pytest.raises(InvalidInput, match="is not an object"):
            done([Patch(OAT, {"a": 1})], oat(value))


def test_numbers_are_adjusted_where_they_are() -> None:
    stored = oat({"quantity": 2, "unit": "l"}, position=4, raw="{}")
    moved = after(Adjust(OAT, "quantity", -0.5), stored)
    assert (moved.text, moved.position, moved.raw) == ('{"quantity":1.5,"unit":"l"}', 4, None)
    assert after(Adjust(OAT, "low", 3), stored).data == {"quantity": 2, "unit": "l", "low": 3}
    assert after(Adjust(OAT, "quantity", 3), oat({"quantity": None})).data == {"quantity": 3}
    bare = after(Adjust(OAT, "quantity", 3), oat(2, position=5))
    assert (bare.text, bare.position) == ("5", 5)
    with pytest.raises(NotFound, match="nothing to adjust"):
        done([Adjust(OAT, "quantity", 1)])
    for value in ({"quantity": True}, {"quantity": "2"}, {"quantity": []}, "2", True, None, []):
        with pytest.raises(InvalidInput, match=r"quantity of .* is not a number") as caught:
            done([Adjust(OAT, "quantity", 1)], oat(value))
        assert [(p.path, p.message) for p in caught.value.problems] == [
            ("quantity", "not a number")
        ]


def test_a_floor_is_the_last_number_that_is_allowed() -> None:
    assert after(Adjust(OAT, "quantity", -2, floor=0), oat(2)).data == 0
    assert after(Adjust(OAT, "quantity", -50), oat(2)).data == -48, "without a floor, any number"
    with pytest.raises(InvalidInput, match=r"would fall to -0.1, below 0") as caught:
        done([Adjust(OAT, "quantity", -0.4, floor=0)], oat(0.3))
    assert [(p.path, p.message) for p in caught.value.problems] == [("delta", "at least -0.3")]
    assert caught.value.context == {"value": 0.3, "floor": 0}


@pytest.mark.parametrize("sign", [1, -1])
def test_quantities_stay_within_what_a_double_counts(sign: int) -> None:
    assert after(Adjust(OAT, "quantity", sign), oat(sign * (10**15 - 1))).data == sign * 10**15
    with pytest.raises(InvalidInput, match="leave the range"):
        done([Adjust(OAT, "quantity", sign)], oat(sign * 10**15))


def test_sums_are_those_of_the_decimals_that_people_see() -> None:
    assert adjusted(0.1, 0.2) == 0.3
    assert adjusted(0.3, -0.1) == 0.2
    assert (adjusted(1.5, 0.5), type(adjusted(1.5, 0.5))) == (2, int)


def test_operations_are_looked_at_before_they_are_carried_out() -> None:
    good = [Put(oat(1)), Patch(OAT, {"a": 1}), Adjust(OAT, "a", 1, floor=0), Delete(OAT)]
    check(good)
    bad: list[tuple[Any, str]] = [
        ("a text", "made of Put, Patch, Adjust and Delete, not str"),
        (oat(1), "made of Put, Patch, Adjust and Delete, not StationQuantity"),
        (Put({"a": 1}), "Put stores a record, such as .*, not dict"),  # type: ignore[arg-type]
        (Put(Setting(("",), "{")), "is not JSON; Setting.of"),
        (Put(Setting(("name", "more"), "1")), "."),
        (Delete("name"), "is a RecordKey: a kind and its parts"),  # type: ignore[arg-type]
        (Delete(("setting",)), "is a RecordKey: a kind and its parts"),  # type: ignore[arg-type]
        (Delete(["setting", ("name",)]), "is a RecordKey"),  # type: ignore[arg-type]
        (Delete(RecordKey("setting", ("a", "b"))), "."),
        (Delete(RecordKey("nothing", ("a",))), "nothing"),
        (Patch(NAME, {"a": float("nan")}), "."),
        (Patch(NAME, {"a": {1, 2}}), "."),
        (Adjust(NAME, "a", float("nan")), "delta"),
        (Adjust(NAME, "a", "1"), "delta"),  # type: ignore[arg-type]
        (Adjust(NAME, "a", 1, floor=float("inf")), "floor"),
    ]
    for operation, message in bad:
        with pytest.raises(InvalidInput, match=message):
            check([*good, operation])
    with pytest.raises(InvalidInput, match=r"setting:name"):
        check([Patch(NAME, {"a": float("nan")})])


def refused(*changes: Change) -> list[str]:
    with pytest.raises(InvalidInput, match="looks like a secret") as caught:
        refuse_new_secrets(changes)
    assert SECRET not in str(caught.value)
    return [problem.path for problem in caught.value.problems]


def test_places_of_new_secrets_are_named() -> None:
    def made(record: Record) -> Change:
        return Change(record.key, None, record)

    item = EventItem.of("milk", SECRET, data={"name": "Oat", "notes": [OTHER_SECRET]})
    assert refused(made(item)) == ["event_inventory: <name>", "event_inventory: <name>: notes[0]"]
    assert refused(made(Setting.of("a", data=SECRET))) == ["setting:a"]
    assert refused(made(Setting.of("a", data={"b": {"pin": "4711x"}}))) == ["setting:a: b.pin"]
    # Settings and documents are called by their key; items and stations are not.
    assert refused(made(Setting.of("wifi_password", data="latte"))) == ["setting:wifi_password"]
    document = StoredDocument.of("wifi_password", "", data="latte")
    assert refused(made(document)) == ["document:wifi_password/"]
    refuse_new_secrets([made(EventItem.of("password", "pin", data="latte"))])
    # Behind a member of the same name, which the value no longer has.
    raw = f'{{"a": "{SECRET}", "a": "x"}}'
    hidden = StoredDocument.of("notes", "", data={"a": "x"}, raw=raw)
    assert refused(made(hidden)) == ["document:notes/"]
    twice = StoredDocument.of("notes", "", data={"a": SECRET}, raw=f'{{"a": "{SECRET}"}}')
    assert refused(made(twice)) == ["document:notes/: a"], "once, and at its place"
    refuse_new_secrets([made(StoredDocument.of("notes", "", data={"a": 1}, raw='{"a": 1}'))])


def test_a_secret_that_is_stored_already_may_stay_and_go() -> None:
    before = oat({"note": SECRET, "quantity": 1})
    moved = oat({"other": SECRET, "quantity": 2})
    refuse_new_secrets([Change(OAT, before, moved), Change(OAT, before, None)])
    refuse_new_secrets([Change(OAT, oat(1), oat(2))])
    both = oat({"note": SECRET, "more": OTHER_SECRET})
    soy = StationQuantity.of(*SOY.parts, data={"note": SECRET})
    # What one record holds is no leave for another.
    assert refused(Change(OAT, before, both), Change(SOY, None, soy)) == [
        "station_quantity:1/milk/oat: more",
        "station_quantity:1/milk/soy: note",
    ]
    assert refused(Change(OAT, oat(1), before)) == ["station_quantity:1/milk/oat: note"]
