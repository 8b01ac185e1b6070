"""One key of a dump, ready to be compared with what is stored.

Pure. Before a document is taken apart into rows it is put together again and compared; one
that does not come back equal is stored whole, and the receipt says so.
"""

from __future__ import annotations

import hashlib
import json

import attrs

from expresso_persist.documents import codec
from expresso_persist.documents.codec import Codec, Decoded, UnknownLayout, codec_for
from expresso_persist.importing.catalog import SETTING_KEYS, KeyClass, classify
from expresso_persist.importing.dump import Item
from expresso_persist.importing.receipt import KeyReceipt
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.records import QuarantinedValue, Record, Setting, StoredDocument

__all__ = ["Document", "read_item"]


@attrs.frozen
class Document:
    """A key of the dump as records; with a codec it is taken apart, else it is one record."""

    key: str
    records: tuple[Record, ...]
    codec: Codec | None = None
    decoded: Decoded | None = None
    raw: str | None = None
    text: str = ""
    layout: str | None = None
    reason: str | None = None
    removed_secrets: tuple[str, ...] = ()
    quarantined: bool = False


def read_item(item: Item, device_id: str, include_caches: bool) -> Document | KeyReceipt:
    """Turn a key into records, or say why it is left out.

    Args:
        item: The key and its value.
        device_id: Whose preferences the dump holds.
        include_caches: Also take caches and interface state.
    """
    entry = classify(item.key)
    if entry.key_class is KeyClass.SECRET:
        return KeyReceipt(item.key, "refused", entry.reason)
    own_device = entry.key_class is KeyClass.PREFERENCE
    if entry.key_class in (KeyClass.CACHE, KeyClass.TRANSIENT):
        if not include_caches:
            return KeyReceipt(item.key, "skipped", entry.reason)
        own_device = True
    if secrets.is_secret_text(item.key):
        return KeyReceipt("<name>", "refused", "The key itself is, or holds, a secret.")
    fault = item.fault
    if fault is None and len(item.key) > codec.MAX_NAME:
        fault = f"The key is longer than {codec.MAX_NAME} characters."
    device = device_id if own_device else ""
    if fault is not None:
        return _read_fault(item, device, fault)
    if item.is_text:
        if secrets.is_secret_text(item.raw, item.key):
            return KeyReceipt(item.key, "refused", "The text is, or holds, a secret.")
        return _whole_document(item.key, device, item.raw, item.raw, "text")
    return _read_json(item, device, None if own_device else codec_for(item.key))


def _read_fault(item: Item, device: str, fault: str) -> Document | KeyReceipt:
    if secrets.is_secret_text(item.raw, item.key):
        return KeyReceipt(
            item.key, "refused", "Not valid JSON, and something in it looks like a secret."
        )
    return _quarantined(item, device, fault)


def _read_json(item: Item, device: str, codec: Codec | None) -> Document | KeyReceipt:
    text = json_text.dumps(item.value)
    scan = secrets.scan(item.value, item.key)
    if scan.whole or (_is_number(item.value) and secrets.is_secret_name(item.key)):
        return KeyReceipt(item.key, "refused", "The value is a secret.")
    reason = None
    if scan.removed:
        text, reason = json_text.dumps(scan.value), "Secrets were taken out of it."
    elif item.duplicates and secrets.is_secret_text(item.raw):
        # A member that is hidden behind its twin must not slip in with the raw text.
        return KeyReceipt(
            item.key, "refused", "Something in a repeated member looks like a secret."
        )
    raw = None if scan.removed or text == item.raw else item.raw
    if codec is None:
        document = _whole_document(item.key, device, text, raw, "document")
    else:
        document = _taken_apart(item.key, codec, scan.value, text, raw)
    return attrs.evolve(document, reason=document.reason or reason, removed_secrets=scan.removed)


def _is_number(value: Json) -> bool:
    """A key's text that reads as a number: of ``admin_password`` it is the password."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _taken_apart(key: str, codec: Codec, value: Json, text: str, raw: str | None) -> Document:
    decoded, why = None, "did not come back equal"
    try:
        decoded = codec.decode(value)
        proved = codec.encode(decoded.records, decoded.root) == text
    except UnknownLayout as error:
        why, proved = str(error), False
    if decoded is None or not proved:
        return attrs.evolve(
            _whole_document(key, "", text, raw, "whole"),
            reason=f"Stored whole: its shape is not one that is kept in rows ({why}).",
        )
    return Document(key, decoded.records, codec, decoded, raw, text, decoded.layout)


def _whole_document(key: str, device_id: str, text: str, raw: str | None, layout: str) -> Document:
    if layout == "text":
        text = json_text.dumps(text)
    record: Record
    if key in SETTING_KEYS:
        record, layout = Setting((key,), text, raw=raw), "setting"
    else:
        record = StoredDocument((key, device_id), text, raw=raw)
    return Document(key, (record,), raw=raw, layout=layout)


def _quarantined(item: Item, device_id: str, fault: str) -> Document:
    # JSON text in pure ASCII: whatever the browser held, any database can store it.
    key_json, raw_json = json.dumps(item.key), json.dumps(item.raw)
    name = hashlib.sha256(f"{key_json} {device_id} {raw_json}".encode()).hexdigest()[:32]
    record = QuarantinedValue.of(
        name,
        data={
            "key": item.key.encode("ascii", "backslashreplace").decode().replace("\0", "\\x00"),
            "device_id": device_id,
            "reason": fault,
            "key_json": key_json,
            "raw_json": raw_json,
        },
    )
    return Document(item.key, (record,), layout=None, reason=fault, quarantined=True)
