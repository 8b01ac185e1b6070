"""Which records a restore or a comparison is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from expresso_persist.backups.manifest import HOST_PREFIX
from expresso_persist.commits.state import State
from expresso_persist.documents.codec import DOCUMENT_KEYS, STATION_STOCK_PREFIX
from expresso_persist.errors import InvalidInput
from expresso_persist.model.json_text import check_storable
from expresso_persist.model.records import RECORD_TYPES, Record, RecordKey

__all__ = ["Scope"]

_STATION_KINDS = frozenset(
    kind for kind, of in RECORD_TYPES.items() if of.key_columns[0] == "station_id"
)


@attrs.frozen
class Scope:
    """Which records are meant.

    Attributes:
        kinds: The kinds of record that were asked for.
        stations: Only what belongs to these stations…
        keys: …and the records at or below these keys, written ``kind:part/part``. When both
            are empty, all records of the kinds are meant.
        whole: True when nothing was left out.
    """

    kinds: tuple[str, ...]
    stations: frozenset[str]
    keys: frozenset[str]
    whole: bool

    @classmethod
    def of(
        cls,
        kinds: Iterable[str] | None = None,
        stations: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
    ) -> Scope:
        """Check what was asked for; None is everything.

        Raises:
            InvalidInput: One of the names is not a kind of record, or a list is empty.
        """
        known = tuple(sorted(RECORD_TYPES))
        wanted = {*known} if kinds is None else _some("kind", kinds)
        of_stations = frozenset() if stations is None else _some("station", stations)
        at_keys = frozenset() if keys is None else _some("key", keys)
        for name in sorted(wanted - {*known}):
            if name.startswith(HOST_PREFIX):
                raise InvalidInput(
                    f"{name} belongs to the host application, which a restore never writes."
                )
            raise InvalidInput(f"{name!r} is not a kind of record; use {', '.join(known)}.")
        if not {key.partition(":")[0] for key in at_keys} <= wanted:
            raise InvalidInput(
                "A key is written kind:part/part, as `backup diff --records` shows it, such as "
                f"event_inventory:milk/Oat; the kinds here are {', '.join(sorted(wanted))}."
            )
        return cls(
            tuple(name for name in known if name in wanted),
            of_stations,
            at_keys,
            whole=wanted == {*known} and not of_stations and not at_keys,
        )

    @property
    def narrowed(self) -> bool:
        """Whether only some records of the kinds are meant."""
        return bool(self.stations or self.keys)

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds to read: those asked for, and the layouts that go with them."""
        return self.kinds if "layout" in self.kinds else (*self.kinds, "layout")

    def holds(self, key: RecordKey) -> bool:
        """Whether a record is meant: a document's shape goes with its records."""
        if key.kind not in self.kinds and not self._goes_along(key):
            return False
        return not self.narrowed or _station(key) in self.stations or self._named(key)

    def filter(self, records: Iterable[Record]) -> list[Record]:
        """The records that are meant."""
        if self.whole:
            return list(records)
        return [record for record in records if self.holds(record.key)]

    def current(self, state: State) -> list[Record]:
        """What is stored now of it."""
        return self.filter(record for kind in self.reads for record in state.all(kind))

    def unmatched(self, records: Iterable[Record]) -> list[str]:
        """The stations and keys that none of these records belongs to."""
        stations, keys = {*self.stations}, {*self.keys}
        for record in records:
            if not (stations or keys):
                break
            stations.discard(_station(record.key) or "")
            keys.difference_update(_and_above(record.key))
        return [*(f"station {name}" for name in sorted(stations)), *sorted(keys)]

    def _goes_along(self, key: RecordKey) -> bool:
        if key.kind != "layout":
            return False
        document = key.parts[0]
        return any(DOCUMENT_KEYS.get(kind) == document for kind in self.kinds) or (
            "station_stock" in self.kinds and document.startswith(STATION_STOCK_PREFIX)
        )

    def _named(self, key: RecordKey) -> bool:
        return not self.keys.isdisjoint(_and_above(key))


def _some(what: str, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise InvalidInput(f"What to restore is a list of {what}s.")
    found = frozenset(names)
    for name in found:
        if not isinstance(name, str):
            raise InvalidInput(f"What to restore is a list of {what}s, each a text.")
        check_storable(**{what: name})
    if not found:
        raise InvalidInput(f"Name at least one {what} to restore.")
    return found


def _station(key: RecordKey) -> str | None:
    """The station that a record belongs to, if it belongs to one."""
    if key.kind in _STATION_KINDS:
        return key.parts[0]
    if key.kind == "layout" and key.parts[0].startswith(STATION_STOCK_PREFIX):
        return key.parts[0].removeprefix(STATION_STOCK_PREFIX)
    return None


def _and_above(key: RecordKey) -> Iterator[str]:
    """A key as text, and what it lies below: ``kind:a/b``, ``kind:a``."""
    return (str(RecordKey(key.kind, key.parts[:end])) for end in range(len(key.parts), 0, -1))
