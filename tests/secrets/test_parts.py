"""The rule for secrets part by part: what stays, what is taken out, and where it was."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import secret_vectors as vectors
from expresso_persist.errors import InvalidInput
from expresso_persist.model import json_text, secrets
from expresso_persist.model.secrets import Scan

JWT = vectors.jwt()
OPAQUE = "A1b2C3d4E5f6G7h8"


def test_what_is_clean_stays_as_it_is() -> None:
    value = {"a": [1, None, True, "x", [2.5, "y"], {}], "b": {"c": 0, "d": "z"}}
    for clean in (value, [value], "Oat", "", 7, None, False):
        assert secrets.scan(clean, "notes") == Scan(clean)
        assert secrets.findings(clean, "notes") == []


def test_what_is_beside_a_secret_stays_as_it_is() -> None:
    value = {"n": 1, "none": None, "l": [1, None, "x", {"pin": "4711x", "k": 2}, JWT], "b": True}
    scan = secrets.scan(value)
    assert scan.value == {"n": 1, "none": None, "l": [1, None, "x", {"k": 2}], "b": True}
    assert (scan.removed, scan.whole) == (("l[3].pin", "l[4]"), False)
    assert secrets.findings(value) == [("l[3].pin", "4711x"), ("l[4]", JWT)]
    assert value["n"] == 1
    assert len(value["l"]) == 5, "the value that was given is not changed"  # type: ignore[arg-type]


def test_a_text_is_a_secret_as_a_whole() -> None:
    """By what it is, or by what it is called."""
    for text, name in ((JWT, ""), (JWT, "notes"), ("latte", "wifi_password")):
        assert secrets.scan(text, name) == Scan(None, (), whole=True)
        assert secrets.findings(text, name) == [("", text)]
    for text, name in (("latte", "notes"), ("****", "wifi_password"), ("", "wifi_password")):
        assert secrets.scan(text, name) == Scan(text)
        assert secrets.findings(text, name) == []


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"sms": OPAQUE}, ["sms"]),
        ([OPAQUE], ["[0]"]),
        ([[OPAQUE], {"a": [[1, OPAQUE]]}], ["[0][0]", "[1].a[0][1]"]),
        ({"sms": {"key": OPAQUE, "id": "sms_1733022000000"}}, ["sms.key"]),
        # A word with a number is a name; letters or digits alone are none of a key's.
        ({"a": "abcdefghijklmnop1"}, ["a"]),
        ({"a": "A1b2C3d4E5f6_1234"}, ["a"]),
        ({"a": "oat-milk-1733022000"}, []),
        ({"a": "oat-milk_1733022000"}, []),
        ({"a": "oat_milk-1733022000"}, []),
        ({"a": "1234567890123456"}, []),
        ({"a": "abcdefghijklmnopqrst"}, []),
        ({"a": "A1b2C3d4E5f6G7h"}, []),
        ({"a": "A1b2C3d4 E5f6G7h8"}, []),
    ],
)
def test_what_is_under_a_secrets_name_may_not_look_like_a_key(value: Any, paths: list[str]) -> None:
    assert [path for path, _ in secrets.findings(value, "tokens")] == paths
    assert [*secrets.scan(value, "tokens").removed] == paths
    under = [f"tokens{'' if path.startswith('[') else '.'}{path}" for path in paths]
    assert [path for path, _ in secrets.findings({"tokens": value})] == under
    assert [path for path, _ in secrets.findings({"a": [{"tokens": value}]})] == [
        f"a[0].{path}" for path in under
    ]
    assert secrets.findings(value, "notes") == []
    assert secrets.findings({"notes": value}) == []


@pytest.mark.parametrize("length", [58, 63, 64, 65, 66, 300])
def test_names_of_any_length_are_looked_at(length: int) -> None:
    name = "x" * (length - 6) + ".token"
    assert len(name) == length
    assert secrets.is_secret_name(name)
    assert not secrets.is_secret_name("x" * length)
    text = "x" * (length - 22) + " AK" + "IA" + "Q7W2E9R4T6Y1U8I3X"
    assert len(text) == length
    assert secrets.scan({text: 1, "keep": 2}).value == {"keep": 2}


@pytest.mark.parametrize(
    "name",
    ["p\u200bin", "p\u0903in", "p\u20ddin", "p\u0301in", "p\u33cc", "pa-ss", "pin__", "Pin 2"],
)
def test_names_are_read_without_their_dress(name: str) -> None:
    """Invisible characters, marks, one sign for two letters, separators, numbers at the end."""
    assert secrets.is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        'see {"pin":4711X}',
        'pin="12"',
        "password\uff1dhunter2",
        "eyJabcd.efgh.",
        '{"tok\\u0065n": "abc", ',
        "pin=nullX",
        '{"credentials":["' + OPAQUE + '"]}',
        '[{"a": {"tokens": [["' + OPAQUE + '"]]}}]',
    ],
)
def test_text_with_a_secret_in_it(text: str) -> None:
    assert secrets.is_secret_text(text)


@pytest.mark.parametrize(
    "text",
    [
        'see {"pin":4711}',
        'see [{"pin":4711}] and ({"pin":4711})',
        'see {"password":null}',
        'see ({"password":null})',
        "zxlk beans from the roastery",
        '{"layout": {"a": [1, 2], "b": {}}}',
        '[[1, 2], [3], ["a", "b"], [[]]]',
        '["' + OPAQUE + '"]',
        '{"notes": ["' + OPAQUE + '"]}',
    ],
)
def test_text_without_one(text: str) -> None:
    assert not secrets.is_secret_text(text)


def test_text_that_is_nested_too_deep_to_be_looked_through_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = json.dumps(["nothing but words"])
    assert not secrets.is_secret_text(text)

    def too_deep(text: str) -> Any:
        raise RecursionError

    monkeypatch.setattr(json_text, "loads", too_deep)
    assert secrets.is_secret_text(text)


@pytest.mark.parametrize("more", ["", "x", "xy", ".more", "?", "??", "???", ">>>", "~~~", "xX"])
@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_an_encoded_token_is_found_however_it_is_cut_off(more: str, padding: str) -> None:
    """In either alphabet, with any padding, right or not."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode((JWT + more).encode()).decode().rstrip("=")
        for cut in range(9):
            assert secrets.is_secret_text(whole[: len(whole) - cut] + padding)
    assert not secrets.is_secret_text("ZXlK" + "A" * 40 + padding)


def test_places_are_refused_by_name() -> None:
    secrets.refuse([])
    with pytest.raises(InvalidInput, match=r"^first looks like a secret;") as caught:
        secrets.refuse(iter(["first", "second"]))
    assert [(p.path, p.message) for p in caught.value.problems] == [
        ("first", "looks like a secret"),
        ("second", "looks like a secret"),
    ]
    with pytest.raises(InvalidInput) as caught:
        secrets.refuse(f"place {number}" for number in range(150))
    assert [p.path for p in caught.value.problems] == [f"place {number}" for number in range(100)]


def test_texts_are_refused_by_what_they_are_called() -> None:
    secrets.refuse_text(note="a word", actor=None, reason="", password="latte")
    with pytest.raises(InvalidInput) as caught:
        secrets.refuse_text(note=JWT, actor="Anna", reason=f"see {JWT}")
    assert [p.path for p in caught.value.problems] == ["note", "reason"]
    assert JWT not in str(caught.value)
