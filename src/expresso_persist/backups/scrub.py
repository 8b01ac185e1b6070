"""The check of everything that backups are stored in, once an interval, and mending it.

Nothing is unpacked while all is well: stored checksums are compared with the stored bytes, and
the two copies of each row with each other. What is damaged is written again from the other copy,
or from the live state where that has it. What remains is noted in the rows of the backups that
cannot be restored, and what was found in a row of its own, for every process to tell.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog, iso
from expresso_persist.backups.chunks import ChunkStore, Inspection
from expresso_persist.backups.manifest import Manifest
from expresso_persist.backups.packing import Packed, pack
from expresso_persist.backups.rotation import Decision, Rotation, plan
from expresso_persist.backups.verification import Verification, Verifier
from expresso_persist.db import raw
from expresso_persist.db.database import Database
from expresso_persist.db.tables import backup_checks, backup_chunks
from expresso_persist.errors import BackupNotFound, InvalidInput

__all__ = ["Checked", "Scrubber", "last_check"]

logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_VERIFY_AGAIN = dt.timedelta(days=1)  # an unchanged state makes no new backup to be verified
_AT_ONCE = 64  # chunks mended per transaction, so that writers do not wait long
_NAMED = 5  # of the backups that a finding concerns
_findings = msgspec.json.Decoder(list[str])


@attrs.frozen
class Checked:
    """What a check of the stored backups found.

    Attributes:
        rows: How many rows of chunks were compared with their checksums.
        found: What was wrong and what became of it, a sentence each.
        mended: How many chunks and rows were written again.
        damaged: Ids of the backups that cannot be restored.
    """

    rows: int
    found: tuple[str, ...] = ()
    mended: int = 0
    damaged: tuple[str, ...] = ()


@attrs.frozen
class Scrubber:
    """Checks and mends the stored backups of one tenant.

    Attributes:
        live: Reads the contents of the chunks that a backup made now would have.
    """

    database: Database
    catalog: Catalog
    chunks: ChunkStore
    verifier: Verifier
    live: Callable[[], Mapping[str, bytes]]

    def run(self, contents: Mapping[str, bytes] | None = None) -> Checked:
        """Check everything once, and mend what can be mended.

        Args:
            contents: Contents of chunks that are known; read from the live state when needed
                and left out.
        """
        found = self._mend_rows()
        inspection, manifests, backups = self._look()
        rows = inspection.rows
        mended = len(found)
        if inspection.faulty or _lost(inspection, manifests):
            sentences, count = self._mend_chunks(inspection, manifests, contents)
            found += sentences
            mended += count
            inspection, manifests, backups = self._look()
        damaged = self._judge(inspection, manifests, backups)
        found += [f"Backup {name} cannot be restored: {why}" for name, why in damaged.items()]
        found = [sentence.encode("utf-8", "replace").decode() for sentence in found]
        self._note(found)
        for sentence in found:
            logger.warning("%s", sentence)
        return Checked(rows, tuple(found), mended, tuple(damaged))

    def _look(self) -> tuple[Inspection, dict[str, Manifest | None], list[Backup]]:
        """Chunks, manifests and rows of one moment: a backup that is made meanwhile is in none."""
        with self.database.read() as connection:
            return (
                self.chunks.inspect(connection),
                self.catalog.manifests(connection),
                self.catalog.all(connection),
            )

    def verify_newest(self) -> None:
        """Check the newest backup if its maker died before it could, or if that is long ago."""
        with self.database.read() as connection:
            newest = self.catalog.newest(connection)
            now = self.database.now(connection)
        if newest is not None and (
            newest.verified_at is None or abs(now - newest.verified_at) > _VERIFY_AGAIN
        ):
            self.verifier.verify(newest.id)

    def rotate(
        self, rule: Rotation, *, only: str | None = None, dry_run: bool = False
    ) -> tuple[Decision, ...]:
        """Drop the backups that a rule does not keep, and the chunks that only they need.

        Args:
            rule: The rule.
            only: Drop backups of this type only, where another process has the rule.
            dry_run: Drop nothing.
        """

        def decide(connection: Connection, backups: list[Backup]) -> tuple[Decision, ...]:
            return plan(backups, rule, now=self.database.now(connection))

        def drop(connection: Connection) -> tuple[Decision, ...]:
            self.chunks.lock(connection)
            backups = self.catalog.all(connection)
            decisions = decide(connection, backups)
            mine = {b.id for b in backups if only in (None, b.backup_type)}
            dropped = [d.backup_id for d in decisions if not d.keep and d.backup_id in mine]
            if dropped:
                self.catalog.delete(connection, dropped)
                self.sweep(connection)
            return decisions

        if dry_run:
            with self.database.read() as connection:
                return decide(connection, self.catalog.all(connection))
        return self.database.transact(drop)

    def sweep(self, connection: Connection) -> None:
        """Remove the chunks that no backup needs, in a transaction that holds their lock.

        While a manifest cannot be read, what it refers to is unknown, and everything stays.
        """
        manifests = self.catalog.manifests(connection)
        if None not in manifests.values():
            self.chunks.collect(connection, _referenced(manifests))

    def _mend_rows(self) -> list[str]:
        """Make rows, manifests and types of values right; what was wrong."""
        with self.database.read() as connection:
            if not self._mend_rows_within(connection, dry_run=True):
                return []

        def mend(connection: Connection) -> list[str]:
            self.chunks.lock(connection)
            return self._mend_rows_within(connection, dry_run=False)

        return self.database.transact(mend)

    def _mend_rows_within(self, connection: Connection, *, dry_run: bool) -> list[str]:
        tenant = self.catalog.tenant
        wrong = raw.mend_types(connection, backup_chunks, tenant, dry_run=dry_run)
        found = [f"{wrong} values of {backup_chunks.name} had another type."] if wrong else []
        return found + self.catalog.mend(connection, dry_run=dry_run)

    def _mend_chunks(
        self,
        inspection: Inspection,
        manifests: Mapping[str, Manifest | None],
        contents: Mapping[str, bytes] | None,
    ) -> tuple[list[str], int]:
        """Write damaged chunks again; what was wrong, and how many were written."""
        mended: list[str] = []
        # A name that is no text any more is nothing that a backup needs.
        for names in _batches(filter(str.isascii, inspection.faulty)):
            mended += self._repack(names)
        lost = self._lost_now(manifests)
        if lost:
            known = self.live() if contents is None else contents
            for names in _batches(lost & known.keys()):
                mended += self._write({name: pack(known[name]) for name in names})
        if lost or set(inspection.faulty) - set(mended):

            def sweep(connection: Connection) -> None:
                self.chunks.lock(connection)
                self.sweep(connection)  # what is damaged and of no use to any backup

            self.database.transact(sweep)
        return _sentences(inspection, mended, manifests), len(mended)

    def _repack(self, names: list[str]) -> list[str]:
        """Write both copies of chunks again from the sound one; the names of those written."""

        def write(connection: Connection) -> list[str]:
            self.chunks.lock(connection)  # what they are based on stays as it is until the end
            packed, _ = self.chunks.repack(connection, names)
            present = self.chunks.present(connection, packed.keys())
            self.chunks.replace(connection, {name: packed[name] for name in present})
            return [*present]

        return self.database.transact(write)

    def _write(self, packed: Mapping[str, Packed]) -> list[str]:
        """Write both copies of chunks again from known contents; their names."""

        def write(connection: Connection) -> list[str]:
            self.chunks.lock(connection)
            self.chunks.replace(connection, packed)
            return [*packed]

        return self.database.transact(write)

    def _lost_now(self, manifests: Mapping[str, Manifest | None]) -> set[str]:
        """Chunks that backups need and that cannot be read from any copy."""
        with self.database.read() as connection:
            inspection = self.chunks.inspect(connection)
            lost = _lost(inspection, manifests)
            # A checksum of the stored bytes says nothing about a base that is the wrong one.
            doubtful = _referenced(manifests) & set(inspection.faulty)
            return lost | set(self.chunks.damaged(connection, doubtful))

    def _judge(
        self,
        inspection: Inspection,
        manifests: Mapping[str, Manifest | None],
        backups: Iterable[Backup],
    ) -> dict[str, str]:
        """Note in the rows which backups cannot be restored, and which can again."""
        with self.database.read() as connection:
            now = self.database.now(connection)
        known: dict[str, bool] = dict.fromkeys(inspection.faulty, False)
        damaged: dict[str, str] = {}
        for backup in backups:
            if not _holds(backup, manifests):
                continue
            why = _problem(manifests.get(backup.id), inspection, known)
            # Rotated away meanwhile, or called by what is no name any more.
            with contextlib.suppress(BackupNotFound, InvalidInput):
                if why is None and _needs_proof(backup, now):
                    result = self.verifier.verify(backup.id)
                    why = None if result.ok else " ".join(result.problems)
                elif why is not None and not _says_so(backup, why):
                    if self.verifier.verify(backup.id).ok:  # it was mended since the look
                        continue
                    self.verifier.note(Verification(backup.id, ok=False, problems=(why,)))
                if why is not None:
                    damaged[backup.id] = why
        return damaged

    def _note(self, found: list[str]) -> None:
        table = backup_checks

        def write(connection: Connection) -> None:
            now = self.database.now(connection)
            before = last_check(connection, self.catalog.tenant)
            values: dict[str, Any] = {"checked_at": now}
            if found:
                values |= {"found_at": now, "findings": msgspec.json.encode(found).decode()}
            elif before is None:
                values |= {"found_at": None, "findings": "[]"}
            row = {"tenant_id": self.catalog.tenant, "findings": "[]", **values}
            if not self.database.insert_if_absent(connection, table, row):
                connection.execute(
                    sa.update(table)
                    .where(table.c.tenant_id == self.catalog.tenant)
                    .values(**values)
                )

        self.database.transact(write)


def last_check(connection: Connection, tenant: str) -> dict[str, Any] | None:
    """What the last check found and when, as JSON; None when there was none that can be read."""
    columns = raw.columns(connection, list(backup_checks.c))
    row = connection.execute(sa.select(*columns).where(backup_checks.c.tenant_id == tenant)).first()
    if row is None or (checked := raw.time(row.checked_at)) is None:
        return None
    try:
        findings = _findings.decode(raw.text(row.findings) or "")
    except msgspec.MsgspecError:
        return None
    return {
        "checked_at": iso(checked),
        "found_at": iso(raw.time(row.found_at)),
        "findings": findings,
    }


def _holds(backup: Backup, manifests: Mapping[str, Manifest | None]) -> bool:
    """False for the trace of a failure, which holds nothing."""
    return backup.id in manifests or bool(backup.payload_sha256)


def _needs_proof(backup: Backup, now: dt.datetime) -> bool:
    return (
        backup.backup_status != "completed"
        or backup.verified_at is None
        or backup.verified_at > now + dt.timedelta(days=1)  # no time that it was verified at
    )


def _says_so(backup: Backup, why: str) -> bool:
    return (backup.backup_status, backup.error, backup.verified_at) == ("failed", why, None)


def _problem(
    manifest: Manifest | None, inspection: Inspection, known: dict[str, bool]
) -> str | None:
    if manifest is None:
        return "Both copies of its manifest are damaged."
    bad = inspection.unreadable(manifest.chunk_ids, known)
    if not bad:
        return None
    return f"{len(bad)} of its pieces cannot be read from either copy."


def _referenced(manifests: Mapping[str, Manifest | None]) -> set[str]:
    return {name for manifest in manifests.values() if manifest for name in manifest.chunk_ids}


def _lost(inspection: Inspection, manifests: Mapping[str, Manifest | None]) -> set[str]:
    return set(inspection.unreadable(_referenced(manifests), {}))


def _sentences(
    inspection: Inspection, mended: list[str], manifests: Mapping[str, Manifest | None]
) -> list[str]:
    """What was wrong with chunks; those of an earlier version had to be checked, no more."""
    damaged = {*inspection.faulty, *mended} - inspection.unchecked
    if not damaged:
        return []
    concerned = sorted(
        name for name, manifest in manifests.items() if manifest and manifest.chunk_ids & damaged
    )
    named = ", ".join(concerned[:_NAMED]) + f" and {len(concerned) - _NAMED} more" * (
        len(concerned) > _NAMED
    )
    again = len(damaged & set(mended))
    return [
        f"{len(damaged)} stored pieces were damaged or gone"
        + (f" (of the backups {named})" if concerned else "")
        + f"; {again} of them were written again."
    ]


def _batches(names: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(names)
    return (ordered[start : start + _AT_ONCE] for start in range(0, len(ordered), _AT_ONCE))
