"""Commits and changes as text: what is stored, what is hashed, how it is read back.

Each commit's hash covers the hash before it and everything that it says, so that an
edited, deleted, inserted or reordered change is found by walking the chain.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from expresso_persist.model import json_text
from expresso_persist.model.records import Change, Commit, Record, RecordKey, record_from

__all__ = ["ChangeRow", "change_rows", "commit_hash", "commit_to_json", "read_change", "read_key"]

GENESIS = "0" * 64
"""The hash before the first commit."""


@attrs.frozen
class ChangeRow:
    """A change as it is stored: kind, key, before and after, all text."""

    kind: str
    record_key: str
    before: str | None
    after: str | None


def change_rows(changes: Iterable[Change]) -> list[ChangeRow]:
    """Write changes as text."""
    return [
        ChangeRow(
            change.key.kind,
            json_text.dumps(list(change.key.parts)),
            _state_text(change.before),
            _state_text(change.after),
        )
        for change in changes
    ]


def _state_text(record: Record | None) -> str | None:
    if record is None:
        return None
    raw = "" if record.raw is None else f',"raw":{json_text.dumps(record.raw)}'
    return f'{{"data":{record.text},"position":{record.position}{raw}}}'


def read_key(kind: str, text: str) -> RecordKey:
    """Read the key of a change back."""
    parts = json_text.loads(text)
    assert isinstance(parts, list)
    return RecordKey(kind, tuple(str(part) for part in parts))


def read_change(row: ChangeRow) -> Change:
    """Read a change back."""
    key = read_key(row.kind, row.record_key)
    return Change(key, _read_state(key, row.before), _read_state(key, row.after))


def _read_state(key: RecordKey, text: str | None) -> Record | None:
    if text is None:
        return None
    state = json_text.loads(text, max_depth=json_text.MAX_DEPTH + 2)
    assert isinstance(state, dict)
    position, raw = state["position"], state.get("raw")
    assert isinstance(position, int)
    return record_from(
        key, json_text.dumps(state["data"]), position, raw if isinstance(raw, str) else None
    )


def commit_hash(
    previous: str,
    *,
    tenant: str,
    revision: int,
    actor: str,
    source: str,
    note: str,
    created_at: dt.datetime,
    idempotency_key: str | None,
    fingerprint: str | None,
    receipt: str | None,
    rows: Iterable[ChangeRow],
) -> str:
    """SHA-256, hexadecimal, over the previous hash and the commit's canonical JSON lines."""
    digest = hashlib.sha256()
    moment = created_at.astimezone(dt.UTC).isoformat(timespec="microseconds")
    header: list[json_text.Json] = [previous, tenant, revision, actor, source, note, moment]
    lines = [json_text.dumps([*header, idempotency_key, fingerprint, receipt])]
    lines.extend(json_text.dumps([row.kind, row.record_key, row.before, row.after]) for row in rows)
    digest.update("\n".join(lines).encode())
    return digest.hexdigest()


def commit_to_json(commit: Commit) -> Mapping[str, Any]:
    """A commit as the feed and the audit show it."""
    return {
        "revision": commit.revision,
        "actor": commit.actor,
        "source": commit.source,
        "note": commit.note,
        "created_at": commit.created_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
        "hash": commit.hash,
        "changes": [change_to_json(change) for change in commit.changes],
    }


def change_to_json(change: Change) -> dict[str, Any]:
    """A change as the feed and the history show it."""
    return {
        "kind": change.key.kind,
        "key": list(change.key.parts),
        "before": None if change.before is None else change.before.data,
        "after": None if change.after is None else change.after.data,
    }
