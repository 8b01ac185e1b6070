"""One import: its options, and what its dump does to what is stored.

Nothing is written here; the importer commits what :meth:`Request.decide` finds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import attrs

from expresso_persist.commits.state import State
from expresso_persist.documents import codec, render
from expresso_persist.documents.codec import Codec, codec_for
from expresso_persist.documents.merge import Side, is_empty, merge
from expresso_persist.errors import ConflictRefused, InvalidInput, Problem
from expresso_persist.importing.alignment import Names
from expresso_persist.importing.dump import Dump, read_dump
from expresso_persist.importing.lookalikes import lookalikes
from expresso_persist.importing.reading import Document, read_item
from expresso_persist.importing.receipt import (
    Cause,
    Conflict,
    KeyOutcome,
    KeyReceipt,
    Lookalikes,
    Match,
    Receipt,
    Removal,
    Resolution,
)
from expresso_persist.importing.union import United, unite
from expresso_persist.model import json_text, secrets
from expresso_persist.model.json_text import Json
from expresso_persist.model.plan import Plan, diff
from expresso_persist.model.records import Record, RecordKey, Setting

__all__ = ["Mode", "OnConflict", "Outcome", "Request"]

Mode: TypeAlias = Literal["merge", "replace"]
OnConflict: TypeAlias = Literal["incoming", "existing", "fail"]

# Kinds that a dump speaks for; what is quarantined is only ever added.
_NOTHING_TO_STORE = ("", "undefined", "null", "NaN", "[object Object]")
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
_OTHER_SHAPE = "the dump has this document in another shape"
_OTHER_ADDRESS = "stored under the address that the dump's shape of the document gives it"


@attrs.frozen
class Outcome:
    """What an import does.

    Attributes:
        plan: The difference to what is stored.
        keys: What becomes of each key of the dump.
        conflicts: Where the dump and the database differ.
        matched: Items of the dump that are stored under another name.
        alike: Items that look like one thing, for a person to decide.
        removals: Stored records that go, with the reason.
        replaces: It changes or removes something that is stored.
    """

    plan: Plan
    keys: tuple[KeyReceipt, ...]
    conflicts: tuple[Conflict, ...]
    matched: tuple[Match, ...]
    alike: tuple[Lookalikes, ...]
    removals: tuple[Removal, ...]
    replaces: bool


class Request:
    """One import's options, and its dump turned into records."""

    def __init__(
        self,
        source: bytes | str | Mapping[str, Any],
        mode: str,
        on_conflict: str,
        include: Sequence[str],
        device_id: str | None,
    ) -> None:
        """Read the dump.

        Raises:
            MalformedJson: The dump is not a JSON object.
            InvalidInput: It is not a dump, or an option has no meaning.
        """
        _check_option("mode", mode, get_args(Mode))
        _check_option("on_conflict", on_conflict, get_args(OnConflict))
        if isinstance(include, str) or not isinstance(include, Iterable):
            raise InvalidInput('include is a list of names, such as ["caches"].')
        include = [*include]
        for name in include:
            _check_option("include", name, ("caches",))
        self.dump: Dump = read_dump(source)
        self.mode = mode
        self.on_conflict = on_conflict
        self.include = sorted(set(include))
        self.device_id = device_id if device_id is not None else (self.dump.device_id or "")
        json_text.check_storable(device_id=self.device_id)
        secrets.refuse_text(origin=self.dump.origin)
        for name in {self.device_id, *self.dump.from_devices.values()}:
            secrets.refuse_text(device_id=name)
            if len(name) > codec.MAX_NAME:
                raise InvalidInput(
                    f"A device's name has at most {codec.MAX_NAME} characters.",
                    problems=[Problem("device_id", f"at most {codec.MAX_NAME} characters")],
                )
        self.left_out: dict[str, KeyReceipt] = {}
        self.documents: list[Document] = []
        for item in self.dump.items:
            # Another device named for the whole dump counts for all of it.
            device = self.device_id or self.dump.from_devices.get(item.key, "")
            read = read_item(item, device, "caches" in include)
            if isinstance(read, KeyReceipt):
                self.left_out[item.key] = read
            else:
                self.documents.append(read)
        if mode == "replace" and not any(not d.quarantined for d in self.documents):
            raise InvalidInput(
                "The dump holds nothing to store, so mode=replace would remove everything; "
                "use mode=merge."
            )

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides what the import does, to know its repetition."""
        digest = hashlib.sha256()
        for item in self.dump.items:
            digest.update(json.dumps([item.key, item.raw]).encode())
        options: list[Json] = [self.mode, self.on_conflict, self.device_id, *self.include]
        if self.dump.from_devices:
            options.append({**self.dump.from_devices})
        digest.update(json.dumps(options).encode())
        return digest.hexdigest()

    def decide(self, state: State) -> Outcome:
        """Compare the dump with what is stored.

        Raises:
            ConflictRefused: There are conflicts and ``on_conflict`` is ``fail``.
        """
        decision = _Decision(self, state)
        # The inventory first: the others name its items.
        for document in sorted(self.documents, key=lambda d: d.key != "event_inventory"):
            decision.take(document)
        conflicts = decision.conflicts
        if conflicts and self.on_conflict == "fail":
            raise ConflictRefused(
                f"{len(conflicts)} values differ from what is stored (the first is "
                f"{conflicts[0].kind}:{'/'.join(conflicts[0].key)}); choose which side wins.",
                context={"conflict_count": len(conflicts)},
            )
        plan = self._compare(state, decision.wanted, decision.dropped)
        return Outcome(
            plan,
            self._keys(decision, plan),
            tuple(conflicts),
            tuple(decision.matched),
            tuple(lookalikes(decision.unions, state.all, decision.after)),
            tuple(
                Removal(
                    r.kind, r.parts, decision.dropped.get(r.key, "not in the dump (mode=replace)")
                )
                for r in plan.removed
            ),
            replaces=bool(plan.changed or plan.removed)
            or (self.mode == "replace" and bool(plan.added and plan.unchanged)),
        )

    def _keys(self, decision: _Decision, plan: Plan) -> tuple[KeyReceipt, ...]:
        touched = {
            record.key
            for record in (*plan.added, *(after for _, after in plan.changed), *plan.removed)
        }
        kept = Counter(c.document for c in decision.conflicts if c.resolution == "existing")
        receipts = {
            document.key: _key_receipt(
                document,
                changed=bool(decision.owned[document.key] & touched),
                exact=decision.exact[document.key],
                kept=kept[document.key],
            )
            for document in self.documents
        }
        return tuple({**self.left_out, **receipts}[item.key] for item in self.dump.items)

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
        return diff(current.values(), [render.ranked(state, r) for r in wanted.values()])

    def receipt(
        self,
        outcome: Outcome,
        *,
        dry_run: bool,
        revision: int,
        safety_backup_id: str | None = None,
    ) -> Receipt:
        """The receipt for an outcome."""
        return Receipt(
            dry_run=dry_run,
            mode=self.mode,
            on_conflict=self.on_conflict,
            origin=self.dump.origin,
            device_id=self.device_id,
            committed=not dry_run and not outcome.plan.empty,
            revision=revision,
            keys=outcome.keys,
            records=outcome.plan.counts,
            by_kind=outcome.plan.counts_by_kind(),
            conflicts=outcome.conflicts,
            matched=outcome.matched,
            alike=outcome.alike,
            removals=outcome.removals,
            safety_backup_id=safety_backup_id,
        )


class _Decision:
    """What the documents of one dump, taken one by one, do to a state."""

    def __init__(self, request: Request, state: State) -> None:
        self.state = state
        self.replace = request.mode == "replace"
        self.prefer: Side = "existing" if request.on_conflict == "existing" else "incoming"
        self.names = Names(event_inventory=lambda: state.all("event_inventory"))
        self.wanted: dict[RecordKey, Record] = {}
        self.dropped: dict[RecordKey, str] = {}
        self.owned: dict[str, set[RecordKey]] = {}
        self.exact: dict[str, bool] = {}
        self.conflicts: list[Conflict] = []
        self.matched: list[Match] = []
        self.unions: list[tuple[str, United]] = []

    def take(self, document: Document) -> None:
        if document.codec is not None:
            records, current, exact = self._taken_apart(document, document.codec)
        else:
            records, current = self._whole(document)
            exact = records == list(document.records)
        self.owned[document.key] = {record.key for record in (*records, *current)}
        self.exact[document.key] = exact
        self.wanted.update((record.key, record) for record in records)

    def after(self, kind: str) -> list[Record]:
        """The records of a kind that the import leaves."""
        stored = () if self.replace else self.state.all(kind)
        left = {record.key: record for record in stored if record.key not in self.dropped}
        wanted = {key: record for key, record in self.wanted.items() if key.kind == kind}
        return [*{**left, **wanted}.values()]

    def _note(
        self,
        document: Document,
        record: Record,
        existing: Json,
        incoming: Json,
        *,
        cause: Cause = "different",
        resolution: Resolution | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        side = resolution or self.prefer
        self.conflicts.append(
            Conflict(record.kind, record.parts, document.key, side, existing, incoming, path, cause)
        )

    # -- documents in rows ----------------------------------------------------------------

    def _taken_apart(
        self, document: Document, codec: Codec
    ) -> tuple[list[Record], list[Record], bool]:
        """What a document's rows should be, what they are, and if they are the dump's."""
        assert document.decoded is not None
        stored = render.records_of(self.state, codec)
        layout = self.state.get("layout", document.key)
        current = [*stored, *([layout] if layout is not None else [])]
        whole = self.state.get("document", document.key, "")
        if whole is not None and not current:
            if not self._changes_shape(document, whole, whole.data, json_text.loads(document.text)):
                return [whole], [whole], False
            self.dropped[whole.key] = _OTHER_SHAPE
            current = [whole]
        root = render.root_of(layout)
        united = self._replaced(document, stored) if self.replace else unite(
            codec, stored, root, document.decoded, prefer=self.prefer, names=self.names
        )  # fmt: skip
        self.conflicts += united.conflicts
        self.matched += united.matched
        self.unions.append((document.key, united))
        text = codec.encode(united.records, united.root)
        exact = text == document.text
        if (
            layout is not None
            and (not exact or self.prefer == "existing")
            and text == codec.encode(stored, root)
        ):
            return [*stored, layout], current, exact
        keys = {record.key for record in united.records}
        self.dropped.update(
            (r.key, _OTHER_ADDRESS) for r in stored if r.key not in keys and not self.replace
        )
        if document.key == "event_inventory":
            self.names = self.names.replaced("event_inventory", united.records)
        decoded = attrs.evolve(
            document.decoded,
            records=united.records,
            root=united.root,
            layout=codec.layout_name(united.root),
        )
        row = render.layout_record(document.key, decoded, document.raw if exact else None, text)
        return [*united.records, row], current, exact

    def _replaced(self, document: Document, stored: Sequence[Record]) -> United:
        """The dump's document; with ``on_conflict=existing`` the stored values in it."""
        assert document.decoded is not None
        values = {record.key: record for record in stored}
        records: list[Record] = []
        for record in document.decoded.records:
            existing = values.get(record.key)
            if existing is not None and existing.text != record.text:
                self._note(document, record, existing.data, record.data)
                if self.prefer == "existing":
                    record = attrs.evolve(record, text=existing.text)  # noqa: PLW2901
            records.append(record)
        return United(tuple(records), document.decoded.root, theirs=tuple(records))

    # -- documents that are one row ---------------------------------------------------------

    def _whole(self, document: Document) -> tuple[list[Record], list[Record]]:
        """A document that is one row; a shape that no codec knows takes the rows' place."""
        (record,) = document.records
        if record.kind == "document" and self.state.get("setting", document.key) is not None:
            record = Setting((document.key,), record.text, raw=record.raw)
        existing = self.state.get(record.kind, *record.parts)
        if document.quarantined:
            return [existing or record], []
        codec = codec_for(document.key)
        rows: list[Record] = []
        if codec is not None:
            layout = self.state.get("layout", document.key)
            rows = [
                *render.records_of(self.state, codec),
                *([layout] if layout is not None else []),
            ]
        if rows:
            stored = render.read(self.state, document.key)
            value = stored.value if stored is not None else None
            if not self._changes_shape(document, record, value, record.data):
                return rows, rows
            self.dropped.update((row.key, _OTHER_SHAPE) for row in rows)
            return [record], rows
        if existing is None:
            return [record], []
        return [self._one(document, existing, record)], [existing]

    def _one(self, document: Document, existing: Record, record: Record) -> Record:
        """A stored document and an incoming one as one."""
        if (existing.text, existing.raw) == (record.text, record.raw):
            return existing
        if existing.text == record.text:
            self._note(
                document,
                record,
                existing.text if existing.raw is None else existing.raw,
                record.text if record.raw is None else record.raw,
                cause="text",
            )
            return existing if self.prefer == "existing" else record
        if self.replace:
            self._note(document, record, existing.data, record.data)
            return existing if self.prefer == "existing" else record
        if _says_nothing(record.data) and not is_empty(existing.data):
            self._note(
                document, record, existing.data, record.data, cause="empty", resolution="existing"
            )
            return existing
        value, differences = merge(existing.data, record.data, self.prefer)
        for found in differences:
            self._note(
                document,
                record,
                found.existing,
                found.incoming,
                cause=found.cause,
                resolution=found.resolution,
                path=found.path,
            )
        text = json_text.dumps(value)
        for side in (record, existing):
            if side.text == text:
                return side
        return attrs.evolve(existing, text=text, raw=None)

    def _changes_shape(
        self, document: Document, record: Record, existing: Json, incoming: Json
    ) -> bool:
        """Whether a document that is stored in rows becomes one that is not, or back."""
        if not self.replace and is_empty(existing):
            return True
        if not self.replace and is_empty(incoming):
            self._note(document, record, existing, incoming, cause="empty", resolution="existing")
            return False
        full = isinstance(existing, (dict, list)) and not isinstance(incoming, (dict, list))
        if full and not self.replace:
            # A number or a word is no inventory: a merge loses none for it.
            self._note(document, record, existing, incoming, cause="shape", resolution="existing")
            return False
        self._note(document, record, existing, incoming, cause="shape")
        return self.prefer == "incoming"


def _says_nothing(value: Json) -> bool:
    """Whether a value is what JavaScript leaves where there was none to store."""
    return isinstance(value, str) and value.strip() in _NOTHING_TO_STORE


def _check_option(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidInput(
            f"{name} is one of {', '.join(allowed)}, not {str(value)[:50]!r}.",
            problems=[Problem(name, f"one of {', '.join(allowed)}")],
        )


def _key_receipt(document: Document, *, changed: bool, exact: bool, kept: int) -> KeyReceipt:
    outcome: KeyOutcome = "stored" if changed else "kept" if kept else "unchanged"
    reason = document.reason
    if document.quarantined:
        outcome = "quarantined"
    elif outcome == "kept":
        reason = reason or "What was stored stays; the dump's value was not taken."
    elif not exact:
        reason = reason or "Merged with what was stored."
    return KeyReceipt(
        document.key,
        outcome,
        reason,
        document.layout,
        len(document.records),
        document.removed_secrets,
        exact,
        kept,
    )
