"""backup diff: what became of the records between two backups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import click

from expresso_persist.cli.base import Target, Terminal, plain, resolve, table, verb
from expresso_persist.model.json_text import Json, dumps
from expresso_persist.model.plan import Plan
from expresso_persist.model.records import Record
from expresso_persist.store import Store

__all__ = ["diff"]

_LONGEST = 40


@attrs.frozen
class Difference:
    """One member of a record that changed; what is not there is no JSON value at all."""

    name: str
    before: tuple[Json, ...]
    after: tuple[Json, ...]

    def __str__(self) -> str:
        return f"{self.name} {_short(self.before)} → {_short(self.after)}"

    def to_json(self) -> dict[str, Any]:
        """The member as a JSON object, without what is not there."""
        sides = {"before": self.before, "after": self.after}
        return {"name": self.name, **{side: values[0] for side, values in sides.items() if values}}


@click.command
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", default="now")
@click.option("--records", is_flag=True, help="List the records and what changed in them.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="List at most this many records.",
)
@click.option("--kind", "kinds", multiple=True, help="Compare only this kind of record.")
@verb
def diff(
    target: Target,
    terminal: Terminal,
    first: str,
    second: str,
    records: bool,
    limit: int,
    kinds: tuple[str, ...],
) -> None:
    """Show what became of the records between backups A and B.

    "latest" is the newest backup that is no safety backup, "now" the data as it is; B is
    "now" when left out.
    """
    with target.open() as store, terminal.working("Comparing"):
        a, b = (_resolve(store, name) for name in (first, second))
        plan = store.backups.diff(a, b, kinds or None)
    data: dict[str, Any] = {
        "from": a or "now",
        "to": b or "now",
        "records": plan.counts.to_json(),
        "by_kind": {kind: counts.to_json() for kind, counts in plan.counts_by_kind().items()},
    }
    lines = _counts(plan)
    if records:
        pairs = _changes(plan)
        shown = [RecordChange.of(*pair) for pair in pairs[:limit]]
        data["changes"] = [change.to_json() for change in shown]
        data["more"] = len(pairs) - len(shown)
        lines += [plain(change) for change in shown]
        lines += [f"… and {data['more']} more; see --limit."] * bool(data["more"])
    terminal.result(data, *lines)


def _resolve(store: Store, name: str) -> str | None:
    return None if name == "now" else resolve(store, name)


def _counts(plan: Plan) -> list[str]:
    if plan.empty:
        return [f"The two are equal: {plan.counts.unchanged} records."]
    rows: list[tuple[object, ...]] = [("KIND", "ADDED", "CHANGED", "REMOVED", "UNCHANGED")]
    totals = [*plan.counts_by_kind().items(), ("all", plan.counts)]
    rows += [(kind, n.added, n.changed, n.removed, n.unchanged) for kind, n in totals]
    return table(rows)


def _changes(plan: Plan) -> list[tuple[Record | None, Record | None]]:
    """Every record that differs, before and after, by kind and key."""
    pairs: list[tuple[Record | None, Record | None]] = [
        *((None, record) for record in plan.added),
        *plan.changed,
        *((record, None) for record in plan.removed),
    ]
    return sorted(pairs, key=lambda pair: (pair[1] or pair[0]).key)  # type: ignore[union-attr]


@attrs.frozen
class RecordChange:
    """What became of one record.

    Attributes:
        what: ``added``, ``changed`` or ``removed``.
        kind: The record's kind.
        key: The record's key.
        members: What changed in it; the name "" is the whole value.
    """

    what: str
    kind: str
    key: tuple[str, ...]
    members: list[Difference]

    @classmethod
    def of(cls, before: Record | None, after: Record | None) -> RecordChange:
        """Compare the two; None where there is no record."""
        if before is not None and after is not None:
            return cls("changed", after.kind, after.parts, differences(before, after))
        if after is not None:
            return cls("added", after.kind, after.parts, [Difference("", (), (after.data,))])
        assert before is not None
        return cls("removed", before.kind, before.parts, [Difference("", (before.data,), ())])

    def __str__(self) -> str:
        whole = self.members[0]
        rest = {"added": _short(whole.after), "removed": _short(whole.before)}.get(
            self.what, ", ".join(str(member).strip() for member in self.members)
        )
        return f"{self.what:7}  {self.kind} {'/'.join(self.key)}: {rest}"

    def to_json(self) -> dict[str, Any]:
        """The change as a JSON object."""
        return {
            "change": self.what,
            "kind": self.kind,
            "key": list(self.key),
            "members": [member.to_json() for member in self.members],
        }


def differences(before: Record, after: Record) -> list[Difference]:
    """What makes two records with one key differ; the name "" is the whole value."""
    found = list(_members("", before.data, after.data))
    if before.position != after.position:
        found.append(Difference("(position)", (before.position,), (after.position,)))
    if not found and before.text != after.text:  # such as the order of the members
        found.append(Difference("(spelling)", (before.text,), (after.text,)))
    if not found:
        found.append(Difference("(raw text)", _raw(before), _raw(after)))
    return found


def _raw(record: Record) -> tuple[Json, ...]:
    return () if record.raw is None else (record.raw,)


def _members(name: str, before: Json, after: Json) -> Iterator[Difference]:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if dumps(before) != dumps(after):
            yield Difference(name, (before,), (after,))
        return
    for member in [*before, *(new for new in after if new not in before)]:
        path = f"{name}.{member}" if name else member
        if member in before and member in after:
            yield from _members(path, before[member], after[member])
        else:
            yield Difference(
                path,
                (before[member],) if member in before else (),
                (after[member],) if member in after else (),
            )


def _short(values: tuple[Json, ...]) -> str:
    if not values:
        return "(none)"
    text = dumps(values[0])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
