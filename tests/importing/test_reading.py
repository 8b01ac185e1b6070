"""One key of a dump as records, or the reason why it is left out. No database."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

import secret_vectors as vectors
from expresso_persist.importing.dump import read_dump
from expresso_persist.importing.reading import Document, read_item
from expresso_persist.importing.receipt import KeyReceipt
from expresso_persist.model import json_text
from shapes import FRONT_END, SEED

JWT = vectors.jwt()


def read(key: str, raw: str, *, device: str = "till", caches: bool = False) -> Any:
    (item,) = read_dump({"localStorage": {key: raw}}).items
    return read_item(item, device, caches)


def document(key: str, raw: str, **options: Any) -> Document:
    found = read(key, raw, **options)
    assert isinstance(found, Document), found
    assert found.key == key
    return found


def left_out(key: str, raw: str, **options: Any) -> KeyReceipt:
    found = read(key, raw, **options)
    assert isinstance(found, KeyReceipt), found
    assert (found.layout, found.records, found.removed_secrets) == (None, 0, ())
    return found


def test_a_document_that_no_codec_knows_is_one_record() -> None:
    found = document("event_menu", '{"a":[1,"x"]}')
    (record,) = found.records
    assert (record.kind, record.parts) == ("document", ("event_menu", ""))
    assert (record.text, record.raw, record.position) == ('{"a":[1,"x"]}', None, 0)
    assert (found.layout, found.codec, found.raw, found.reason) == ("document", None, None, None)
    assert not found.quarantined
    spaced = document("event_menu", '{ "a": 1 }')
    assert (spaced.records[0].text, spaced.records[0].raw) == ('{"a":1}', '{ "a": 1 }')
    assert spaced.raw == '{ "a": 1 }'


def test_a_text_is_kept_to_the_letter() -> None:
    found = document("greeting", "hello, {you}")
    (record,) = found.records
    assert (record.data, record.raw, found.layout) == ("hello, {you}", "hello, {you}", "text")
    assert (found.raw, record.parts) == ("hello, {you}", ("greeting", ""))


def test_settings_are_settings() -> None:
    found = document("branding_settings", '{"name": "Fair"}')
    (record,) = found.records
    assert (record.kind, record.parts, found.layout) == (
        "setting",
        ("branding_settings",),
        "setting",
    )
    assert (record.text, record.raw) == ('{"name":"Fair"}', '{"name": "Fair"}')
    plain = document("system_settings", "on and off")
    assert (plain.records[0].kind, plain.records[0].data) == ("setting", "on and off")


def test_a_document_in_rows_is_proved_to_come_back() -> None:
    raw = '{"milk":{"Oat":{"enabled":true},"Soy":{"enabled":false}}}'
    found = document("event_inventory", raw)
    assert [record.key for record in found.records] == [
        ("event_inventory", ("milk", "Oat")),
        ("event_inventory", ("milk", "Soy")),
    ]
    assert found.codec is not None
    assert found.decoded is not None
    assert (found.text, found.raw, found.layout) == (raw, None, found.decoded.layout)
    spaced = document("event_inventory", raw.replace(":", ": "))
    assert (spaced.text, spaced.raw) == (raw, raw.replace(":", ": "))


@pytest.mark.parametrize("raw", ['"a text"', "7", '[["a",["b"]]]'])
def test_a_shape_that_no_rows_have_is_stored_whole_and_says_so(raw: str) -> None:
    found = document("event_inventory", raw)
    (record,) = found.records
    assert (record.kind, record.parts, record.text) == ("document", ("event_inventory", ""), raw)
    assert (found.layout, found.codec, found.quarantined) == ("whole", None, False)
    assert found.reason is not None
    assert found.reason.startswith("Stored whole: its shape is not one that is kept in rows (")
    assert "None" not in found.reason
    assert record.raw is None
    spaced = document("event_inventory", f" {raw} ")
    assert (spaced.records[0].text, spaced.records[0].raw) == (raw, f" {raw} ")


def test_the_shapes_of_both_front_ends_are_kept_in_rows() -> None:
    for dump in (FRONT_END, SEED):
        for key, value in dump.items():
            found = document(key, json.dumps(value))
            assert found.codec is not None, key
            assert len(found.records) > 0


def test_a_codec_that_would_lose_something_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are put together again before they are believed."""
    from expresso_persist.documents.codec import Codec

    encode = Codec.encode
    monkeypatch.setattr(Codec, "encode", lambda *given: encode(*given) + " ")
    found = document("event_inventory", '{"milk":{"Oat":{"enabled":true}}}')
    assert found.layout == "whole"
    assert found.reason is not None
    assert found.reason.endswith("(did not come back equal).")


@pytest.mark.parametrize("key", ["currentStationId", "user"])
def test_preferences_are_a_devices(key: str) -> None:
    for device in ("till", ""):
        found = document(key, "2", device=device)
        assert found.records[0].parts == (key, device)
    assert document("event_menu", "2").records[0].parts == ("event_menu", "")


@pytest.mark.parametrize("key", ["html_etag", "orders_all", "tokenExpiry"])
def test_caches_are_skipped_unless_asked_for(key: str) -> None:
    found = left_out(key, "7")
    assert (found.key, found.outcome) == (key, "skipped")
    assert found.reason is not None
    taken = document(key, "7", caches=True)
    assert taken.records[0].parts == (key, "till"), "and then they are a device's"
    whole = document("orders_all", '{"milk":{"Oat":{"enabled":true}}}', caches=True)
    assert whole.layout == "document"


def test_sign_ins_are_refused_by_their_key() -> None:
    for caches in (False, True):
        found = left_out("refresh_token", "whatever", caches=caches)
        assert (found.key, found.outcome) == ("refresh_token", "refused")
        assert found.reason == "A secret (a token or password): never stored."


@pytest.mark.parametrize(
    ("key", "raw", "shown", "reason"),
    [
        (JWT, '{"a":1}', "<name>", "The key itself is"),
        (JWT, "{broken", "<name>", "The key itself is"),
        ("note", f"see {JWT}", "note", "The text is, or holds"),
        ("wifi_password", "latte", "wifi_password", "The text is, or holds"),
        ("note", json.dumps(f"see {JWT}"), "note", "The value is a secret"),
        ("wifi_password", '"latte"', "wifi_password", "The value is a secret"),
        ("wifi_password", "4711", "wifi_password", "The value is a secret"),
        ("wifi_password", "47.5", "wifi_password", "The value is a secret"),
        ("note", f'{{"a": "{JWT}"', "note", "Not valid JSON"),
        ("wifi_password", "{latte", "wifi_password", "Not valid JSON"),
        ("note", f'{{"a":"{JWT}","a":"x"}}', "note", "Something in a repeated member"),
    ],
)
def test_secrets_are_refused(key: str, raw: str, shown: str, reason: str) -> None:
    found = left_out(key, raw)
    assert (found.key, found.outcome) == (shown, "refused")
    assert found.reason is not None
    assert found.reason.startswith(reason)
    assert JWT not in found.reason


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("wifi_password", "true"),
        ("wifi_password", "null"),
        ("guests", "4711"),
        ("note", '{"a":"x","a":"y"}'),
        ("wifi_password", '"****"'),
    ],
)
def test_what_is_no_secret_is_not_refused(key: str, raw: str) -> None:
    assert document(key, raw).removed_secrets == ()


def test_members_that_are_secrets_are_taken_out_and_the_raw_text_with_them() -> None:
    found = document("event_menu", f'{{"a": 1, "token": "x1", "b": "{JWT}"}}')
    (record,) = found.records
    assert (record.text, record.raw, found.raw) == ('{"a":1}', None, None)
    assert (found.removed_secrets, found.reason) == (
        ("token", "b"),
        "Secrets were taken out of it.",
    )
    rows = document("event_inventory", f'{{"milk":{{"Oat":{{"enabled":true,"n":"{JWT}"}}}}}}')
    assert rows.text == '{"milk":{"Oat":{"enabled":true}}}'
    assert (rows.removed_secrets, rows.raw) == (("milk.Oat.n",), None)
    assert rows.reason == "Secrets were taken out of it."
    whole = document("event_inventory", f'[["a"],"{JWT}"]')
    assert whole.removed_secrets == ("[1]",)
    assert whole.reason is not None
    assert whole.reason.startswith("Stored whole")
    # One behind another of the same name, where a member was taken out: the raw text goes.
    twice = document("event_menu", f'{{"a":"{JWT}","a":"x","token":"x1"}}')
    assert (twice.records[0].text, twice.records[0].raw) == ('{"a":"x"}', None)


@pytest.mark.parametrize(
    ("key", "raw", "reason"),
    [
        ("menu", '{"a":1', None),
        ("menu", '{"a":"\\u0000"}', "A NUL character or half of a surrogate pair at a."),
        ("menu", "a\0b", "A NUL character or half of a surrogate pair."),
        ("me\0nü", "1", "A NUL character or half of a surrogate pair."),
        ("k" * 257, "1", "The key is longer than 256 characters."),
        ("user", "[1", None),
    ],
)
def test_what_cannot_be_read_is_kept_aside(key: str, raw: str, reason: str | None) -> None:
    found = document(key, raw)
    (record,) = found.records
    device = "till" if key == "user" else ""
    assert (found.quarantined, found.layout, found.codec) == (True, None, None)
    assert record.kind == "quarantined"
    name = f"{json.dumps(key)} {device} {json.dumps(raw)}"
    assert record.parts == (hashlib.sha256(name.encode()).hexdigest()[:32],)
    assert record.data == {
        "key": key.replace("\0", "\\x00").replace("ü", "\\xfc"),
        "device_id": device,
        "reason": found.reason,
        "key_json": json.dumps(key),
        "raw_json": json.dumps(raw),
    }
    assert found.reason
    assert reason is None or found.reason == reason
    json_text.check_storable(text=record.text)


def test_a_key_of_the_greatest_length_is_read() -> None:
    assert document("k" * 256, "1").layout == "document"
