"""LocalStorageImporter: from a dump to the operations that store it, and the receipt.

An import is a diff: the dump is turned into the records it would give, those are compared
with what is stored, and the difference is committed. A dry run stops before the commit.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from expresso_persist.commits.decision import Decision
from expresso_persist.commits.protection import Protection
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State
from expresso_persist.db.leases import exclusive
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.receipt import Receipt
from expresso_persist.importing.request import Mode, OnConflict, Request
from expresso_persist.model import json_text
from expresso_persist.model.records import Commit

__all__ = ["LocalStorageImporter", "Mode", "OnConflict"]

_TTL = 60.0  # seconds for which an import whose process died keeps others out
_RECEIPT_DEPTH = 1_000  # it quotes documents


class LocalStorageImporter:
    """Takes localStorage dumps into a repository.

    Attributes:
        repository: Where they go.
        before_change: Makes the safety backup of the state before, from a note and the
            actor, and gives its id; None makes none.
    """

    def __init__(
        self,
        repository: InventoryRepository,
        before_change: Callable[[str, str], str] | None = None,
    ) -> None:
        """Import into ``repository``."""
        self.repository = repository
        self.before_change = before_change

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
        request = Request(dump, mode, on_conflict, include, device_id)
        head = self.repository.head()
        with self.repository.database.read() as connection:
            outcome = request.decide(State(connection, self.repository.tenant))
        return request.receipt(outcome, dry_run=True, revision=head.revision)

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

        An import that changes or removes anything stored makes a safety backup of that very
        state first; if that fails, nothing is imported. One that only adds makes none.

        Args:
            dump: The dump, in any of the forms of :func:`~.dump.read_dump`.
            actor: Who imports it.
            mode: ``merge`` keeps what the dump does not have, and lets nothing empty take the
                place of something full; ``replace`` makes the business data equal to the
                dump.
            on_conflict: Whose value stays where both have one: the ``incoming`` or the
                ``existing``; ``fail`` refuses the import.
            include: ``("caches",)`` also takes caches and interface state.
            device_id: Whose preferences the dump holds; that of the dump when left out.
            idempotency_key: The client's name for this import, see
                :meth:`InventoryRepository.commit`. The same again gives the first receipt
                and does nothing, also when the first import found everything stored.
            note: Free text for people, kept with the commit.

        Raises:
            MalformedJson: The dump is not a JSON object.
            InvalidInput: It is not a dump, or an option has no meaning.
            ConflictRefused: There are conflicts and ``on_conflict`` is ``fail``.
            Busy: Another import or a restore is running.
            IdempotencyMismatch: The key was used for another request.
            ExpressoPersistError: The safety backup failed; the message says why.
        """
        request = Request(dump, mode, on_conflict, include, device_id)
        commit = self._commit(request, actor=actor, note=note, idempotency_key=idempotency_key)
        if commit.replayed:
            first = json_text.loads(commit.receipt or "", max_depth=_RECEIPT_DEPTH)
            assert isinstance(first, dict)
            return attrs.evolve(Receipt.from_json(first), replayed=True)
        receipt: Receipt = commit.value
        return attrs.evolve(receipt, revision=commit.revision)

    def _commit(self, request: Request, *, actor: str, **options: Any) -> Commit:
        """The commit of an import; its value is the receipt, as of revision 0."""
        protection = Protection(self.repository, lambda: self._protect(request.mode, actor))

        def decide(state: State) -> Decision:
            outcome = request.decide(state)
            if outcome.replaces and self.before_change:
                protection.require(state)
            receipt = request.receipt(
                outcome, dry_run=False, revision=0, safety_backup_id=protection.backup_id
            )
            text = functools.partial(_text, receipt)
            return Decision(outcome.plan.operations(), text, value=receipt)

        database, tenant = self.repository.database, self.repository.tenant
        with exclusive(database, tenant, actor=actor, work="importing", ttl=_TTL):
            # What it changes is only certain under the tenant's lock, which no backup may hold up.
            return protection.run(
                lambda: self.repository.commit(
                    decide,
                    actor=actor,
                    source="import",
                    request=request.fingerprint,
                    scanned=True,
                    **options,
                )
            )

    def _protect(self, mode: str, actor: str) -> str:
        assert self.before_change is not None
        try:
            return self.before_change(f"Before an import (mode={mode})", actor)
        except ExpressoPersistError as error:
            raise error.rephrased(
                f"Nothing was imported, because the safety backup before it failed: {error.message}"
            ) from error


def _text(receipt: Receipt, revision: int) -> str:
    # ASCII: a damaged key may hold half of a surrogate pair.
    content = attrs.evolve(receipt, revision=revision).to_json()
    return json.dumps(content, separators=(",", ":"))
