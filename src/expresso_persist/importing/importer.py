"""LocalStorageImporter: from a dump to the operations that store it, and the receipt.

An import is a diff: the dump is turned into the records it would give, those are compared
with what is stored, and the difference is committed. A dry run stops before the commit.
Before a document is taken apart into rows it is put together again and compared; one that
does not come back equal is stored whole, and the receipt says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import attrs

from expresso_persist import documents, jsontext, layouts, secrets
from expresso_persist.errors import ConflictRefused, InvalidInput, Problem
from expresso_persist.importing.catalog import SETTING_KEYS, KeyClass, classify
from expresso_persist.importing.dump import Dump, Item, read_dump
from expresso_persist.importing.receipt import Conflict, KeyReceipt, Receipt, Removal
from expresso_persist.jsontext import Json
from expresso_persist.layouts import Codec, Decoded, UnknownLayout, codec_for
from expresso_persist.leases import exclusive
from expresso_persist.plan import Plan, diff
from expresso_persist.records import (
    QuarantinedValue,
    Record,
    RecordKey,
    Setting,
    StoredDocument,
)
from expresso_persist.repository import InventoryRepository
from expresso_persist.state import State

__all__ = ["LocalStorageImporter", "Mode", "OnConflict"]

Mode: TypeAlias = Literal["merge", "replace"]
OnConflict: TypeAlias = Literal["incoming", "existing", "fail"]

# Kinds that a dump speaks for; what is quarantined is only ever added.
_TTL = 15.0  # seconds for which an import whose process died keeps others out
_BUSINESS_KINDS = (
    "event_inventory",
    "event_stock",
    "station_config",
    "station_quantity",
    "station_stock",
    "setting",
    "document",
    "layout",
)


@attrs.frozen
class _Document:
    """A key of the dump, ready to be compared with what is stored."""

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


@attrs.frozen
class _Outcome:
    plan: Plan
    keys: tuple[KeyReceipt, ...]
    conflicts: tuple[Conflict, ...]
    removals: tuple[Removal, ...]


class LocalStorageImporter:
    """Takes localStorage dumps into a repository.

    Attributes:
        repository: Where they go.
    """

    def __init__(self, repository: InventoryRepository) -> None:
        """Import into ``repository``."""
        self.repository = repository

    def plan(
        self,
        dump: bytes | str | Mapping[str, Any],
        *,
        mode: Mode = "merge",
        on_conflict: OnConflict = "incoming",
        include: Sequence[str] = (),
        device_id: str | None = None,
    ) -> Receipt:
        """Say what :meth:`import_` would do, and do nothing.

        Raises:
            MalformedJson: The dump is not a JSON object.
            InvalidInput: It is not a dump, or an option has no meaning.
        """
        request = _Request(dump, mode, on_conflict, include, device_id)
        head = self.repository.head()
        with self.repository.database.read() as connection:
            outcome = request.decide(State(connection, self.repository.tenant))
        return request.receipt(outcome, dry_run=True, revision=head.revision, committed=False)

    def import_(
        self,
        dump: bytes | str | Mapping[str, Any],
        *,
        actor: str,
        mode: Mode = "merge",
        on_conflict: OnConflict = "incoming",
        include: Sequence[str] = (),
        device_id: str | None = None,
        idempotency_key: str | None = None,
        note: str = "",
    ) -> Receipt:
        """Store a dump in one commit.

        Args:
            dump: The dump, in any of the forms of :func:`~.dump.read_dump`.
            actor: Who imports it.
            mode: ``merge`` keeps what the dump does not have; ``replace`` makes the
                business data equal to the dump.
            on_conflict: Whose value stays where both have one: the ``incoming`` or the
                ``existing``; ``fail`` refuses the import.
            include: ``("caches",)`` also takes caches and interface state.
            device_id: Whose preferences the dump holds; that of the dump when left out.
            idempotency_key: The client's name for this import, see
                :meth:`InventoryRepository.commit`.
            note: Free text for people, kept with the commit.

        Raises:
            MalformedJson: The dump is not a JSON object.
            InvalidInput: It is not a dump, or an option has no meaning.
            ConflictRefused: There are conflicts and ``on_conflict`` is ``fail``.
            Busy: Another import or a restore is running.
        """
        request = _Request(dump, mode, on_conflict, include, device_id)
        outcome: list[_Outcome] = []

        def decide(state: State) -> Iterable[Any]:
            outcome[:] = [request.decide(state)]
            return outcome[0].plan.operations()

        def text(revision: int) -> str:
            receipt = request.receipt(outcome[0], dry_run=False, revision=revision, committed=True)
            # ASCII: a damaged key may hold half of a surrogate pair.
            return json.dumps(receipt.to_json(), separators=(",", ":"))

        database, tenant = self.repository.database, self.repository.tenant
        with exclusive(database, tenant, actor=actor, work="importing", ttl=_TTL):
            commit = self.repository.commit(
                decide,
                actor=actor,
                source="import",
                note=note,
                idempotency_key=idempotency_key,
                request=request.fingerprint,
                receipt=text,
                scanned=True,
            )
        if not outcome:  # the repetition of an earlier request: tell what that one did
            with self.repository.database.read() as connection:
                repeated = request.decide(State(connection, self.repository.tenant))
            return attrs.evolve(
                request.receipt(repeated, dry_run=False, revision=commit.revision, committed=True),
                replayed=True,
            )
        return request.receipt(
            outcome[0],
            dry_run=False,
            revision=commit.revision,
            committed=commit.stored,
        )


class _Request:
    """One import's options, and its dump turned into records."""

    def __init__(
        self,
        source: bytes | str | Mapping[str, Any],
        mode: str,
        on_conflict: str,
        include: Sequence[str],
        device_id: str | None,
    ) -> None:
        _check_option("mode", mode, get_args(Mode))
        _check_option("on_conflict", on_conflict, get_args(OnConflict))
        for name in include:
            _check_option("include", name, ("caches",))
        self.dump: Dump = read_dump(source)
        self.mode = mode
        self.on_conflict = on_conflict
        self.device_id = device_id if device_id is not None else (self.dump.device_id or "")
        secrets.refuse_text(device_id=self.device_id, origin=self.dump.origin)
        if len(self.device_id) > layouts.MAX_NAME:
            raise InvalidInput(
                f"A device's name has at most {layouts.MAX_NAME} characters.",
                problems=[Problem("device_id", f"at most {layouts.MAX_NAME} characters")],
            )
        self._left_out: dict[str, KeyReceipt] = {}
        self._documents: list[_Document] = []
        for item in self.dump.items:
            read = _read_item(item, self.device_id, "caches" in include)
            if isinstance(read, KeyReceipt):
                self._left_out[item.key] = read
            else:
                self._documents.append(read)
        if mode == "replace" and not any(not d.quarantined for d in self._documents):
            raise InvalidInput(
                "The dump holds nothing to store, so mode=replace would remove everything; "
                "use mode=merge."
            )

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for item in self.dump.items:
            digest.update(json.dumps([item.key, item.raw]).encode())
        digest.update(f"{self.mode} {self.on_conflict} {self.device_id}".encode())
        return digest.hexdigest()

    def decide(self, state: State) -> _Outcome:
        """Compare the dump with what is stored."""
        wanted: dict[RecordKey, Record] = {}
        conflicts: list[Conflict] = []
        owned: dict[str, set[RecordKey]] = {}
        exact: dict[str, bool] = {}
        dropped: dict[RecordKey, str] = {}
        for document in self._documents:
            if document.codec is not None:
                records, current, is_exact = self._united(
                    state, document, document.codec, conflicts
                )
            else:
                records, current = self._whole(state, document, conflicts, dropped)
                is_exact = records == list(document.records)
            owned[document.key] = {record.key for record in (*records, *current)}
            exact[document.key] = is_exact
            wanted.update((record.key, record) for record in records)
        if conflicts and self.on_conflict == "fail":
            raise ConflictRefused(
                f"{len(conflicts)} values differ from what is stored (the first is "
                f"{conflicts[0].kind}:{'/'.join(conflicts[0].key)}); choose which side wins.",
                context={"conflict_count": len(conflicts)},
            )
        plan = self._compare(state, wanted, dropped)
        touched = {
            record.key
            for record in (*plan.added, *(after for _, after in plan.changed), *plan.removed)
        }
        keys = [self._left_out.get(item.key) for item in self.dump.items]
        documents_by_key = {document.key: document for document in self._documents}
        receipts = tuple(
            known
            if known is not None
            else _key_receipt(
                documents_by_key[item.key],
                changed=bool(owned[item.key] & touched),
                exact=exact[item.key],
            )
            for item, known in zip(self.dump.items, keys, strict=True)
        )
        removals = tuple(
            Removal(r.kind, r.parts, dropped.get(r.key, "not in the dump (mode=replace)"))
            for r in plan.removed
        )
        return _Outcome(plan, receipts, tuple(conflicts), removals)

    def _united(
        self,
        state: State,
        document: _Document,
        codec: Codec,
        conflicts: list[Conflict],
    ) -> tuple[list[Record], list[Record], bool]:
        """What a document's rows should be, what they are, and if they are the dump's."""
        assert document.decoded is not None
        stored = documents.records_of(state, codec)
        layout = state.get("layout", document.key)
        values = {record.key: record for record in stored}
        decoded = document.decoded
        if self.on_conflict == "existing" and values:
            decoded = attrs.evolve(
                decoded,
                records=tuple(
                    attrs.evolve(record, text=values[record.key].text)
                    if record.key in values
                    else record
                    for record in decoded.records
                ),
            )
        for record in document.decoded.records:
            existing = values.get(record.key)
            if existing is not None and existing.text != record.text:
                conflicts.append(self._conflict(document.key, existing, record))
        if self.mode == "replace":
            records, root = list(decoded.records), decoded.root
        else:
            records, root = layouts.merge(codec, stored, documents.root_of(layout), decoded)
        united = attrs.evolve(decoded, records=tuple(records), root=root)
        united = attrs.evolve(united, layout=codec.layout_name(root))
        text = codec.encode(records, root)
        exact = text == document.text
        raw = document.raw if exact else None
        row = documents.layout_record(document.key, united, raw, text)
        current = [*stored, *([layout] if layout is not None else [])]
        return [*records, row], current, exact

    def _whole(
        self,
        state: State,
        document: _Document,
        conflicts: list[Conflict],
        dropped: dict[RecordKey, str],
    ) -> tuple[list[Record], list[Record]]:
        """A document that is one row; a shape that no codec knows takes the rows' place."""
        (record,) = document.records
        if record.kind == "document" and state.get("setting", document.key) is not None:
            record = Setting((document.key,), record.text, raw=record.raw)
        existing = state.get(record.kind, *record.parts)
        if document.quarantined:
            return [existing or record], []
        codec = codec_for(document.key)
        replaced: list[Record] = []
        if codec is not None:
            layout = state.get("layout", document.key)
            replaced = [
                *documents.records_of(state, codec),
                *([layout] if layout is not None else []),
            ]
        if replaced:
            stored = documents.read(state, document.key)
            shown = attrs.evolve(record, text=jsontext.dumps(stored.value if stored else None))
            conflicts.append(self._conflict(document.key, shown, record))
            if self.on_conflict == "existing":
                return replaced, replaced
            reason = "the dump has this document in a shape that is stored whole"
            dropped.update((old.key, reason) for old in replaced)
            return [record], replaced
        if existing is not None and (existing.text, existing.raw) != (record.text, record.raw):
            conflicts.append(self._conflict(document.key, existing, record))
            if self.on_conflict == "existing":
                return [existing], [existing]
        return [record], [existing] if existing is not None else []

    def _conflict(self, key: str, existing: Record, incoming: Record) -> Conflict:
        return Conflict(
            incoming.kind,
            incoming.parts,
            key,
            "existing" if self.on_conflict == "existing" else "incoming",
            existing.data,
            incoming.data,
        )

    def _compare(
        self,
        state: State,
        wanted: Mapping[RecordKey, Record],
        dropped: Mapping[RecordKey, str],
    ) -> Plan:
        current: dict[RecordKey, Record] = {}
        state.load(wanted)
        for key in (*wanted, *dropped):
            stored = state.at(key)
            if stored is not None:
                current[key] = stored
        if self.mode == "replace":
            for kind in _BUSINESS_KINDS:
                for record in state.records(kind):
                    if kind != "document" or record.parts[1] in ("", self.device_id):
                        current[record.key] = record
        return diff(current.values(), wanted.values())

    def receipt(
        self, outcome: _Outcome, *, dry_run: bool, revision: int, committed: bool
    ) -> Receipt:
        """The receipt for an outcome."""
        return Receipt(
            dry_run=dry_run,
            mode=self.mode,
            on_conflict=self.on_conflict,
            origin=self.dump.origin,
            device_id=self.device_id,
            committed=committed,
            revision=revision,
            keys=outcome.keys,
            records=outcome.plan.counts,
            by_kind=outcome.plan.counts_by_kind(),
            conflicts=outcome.conflicts,
            removals=outcome.removals,
        )


def _check_option(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidInput(
            f"{name} is one of {', '.join(allowed)}, not {value[:50]!r}.",
            problems=[Problem(name, f"one of {', '.join(allowed)}")],
        )


def _key_receipt(document: _Document, *, changed: bool, exact: bool) -> KeyReceipt:
    reason = document.reason
    if not document.quarantined and not exact and reason is None:
        reason = "Merged with what was stored."
    return KeyReceipt(
        document.key,
        "quarantined" if document.quarantined else "stored" if changed else "unchanged",
        reason,
        document.layout,
        len(document.records),
        document.removed_secrets,
        exact,
    )


# -- one key of the dump --------------------------------------------------------------------


def _read_item(item: Item, device_id: str, include_caches: bool) -> _Document | KeyReceipt:
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
    if fault is None and len(item.key) > layouts.MAX_NAME:
        fault = f"The key is longer than {layouts.MAX_NAME} characters."
    device = device_id if own_device else ""
    if fault is not None:
        return _read_fault(item, device, fault)
    if item.is_text:
        if secrets.is_secret_text(item.raw, item.key):
            return KeyReceipt(item.key, "refused", "The text is, or holds, a secret.")
        return _whole_document(item.key, device, item.raw, item.raw, "text")
    return _read_json(item, device, None if own_device else codec_for(item.key))


def _read_fault(item: Item, device: str, fault: str) -> _Document | KeyReceipt:
    if secrets.is_secret_text(item.raw, item.key):
        return KeyReceipt(
            item.key, "refused", "Not valid JSON, and something in it looks like a secret."
        )
    return _quarantined(item, device, fault)


def _read_json(item: Item, device: str, codec: Codec | None) -> _Document | KeyReceipt:
    text = jsontext.dumps(item.value)
    scan = secrets.scan(item.value, item.key)
    if scan.whole or (_is_number(item.value) and secrets.is_secret_name(item.key)):
        return KeyReceipt(item.key, "refused", "The value is a secret.")
    reason = None
    if scan.removed:
        text, reason = jsontext.dumps(scan.value), "Secrets were taken out of it."
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


def _taken_apart(key: str, codec: Codec, value: Json, text: str, raw: str | None) -> _Document:
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
    return _Document(key, decoded.records, codec, decoded, raw, text, decoded.layout)


def _whole_document(key: str, device_id: str, text: str, raw: str | None, layout: str) -> _Document:
    if layout == "text":
        text = jsontext.dumps(text)
    record: Record
    if key in SETTING_KEYS:
        record, layout = Setting((key,), text, raw=raw), "setting"
    else:
        record = StoredDocument((key, device_id), text, raw=raw)
    return _Document(key, (record,), raw=raw, layout=layout)


def _quarantined(item: Item, device_id: str, fault: str) -> _Document:
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
    return _Document(item.key, (record,), layout=None, reason=fault, quarantined=True)
