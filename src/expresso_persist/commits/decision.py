"""The input of a commit: the request for it, and the decision made from the stored records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import attrs

from expresso_persist.commits.idempotency import KeyedRequest
from expresso_persist.commits.offer_rules import Standing
from expresso_persist.commits.state import State
from expresso_persist.errors import InvalidInput
from expresso_persist.model import json_text
from expresso_persist.model.records import Operation
from expresso_persist.model.secrets import refuse_text

__all__ = ["CommitRequest", "Decide", "Decision"]


@attrs.frozen
class Decision:
    """What a commit does.

    Attributes:
        operations: The operations to apply.
        receipt: JSON text to keep with the commit, or a function that writes it from the new
            revision.
        keep_empty: Make a commit even if nothing changes, because that it happened is news:
            a count that found what was stored.
        value: The returned commit has it as ``value``; it is not stored.
    """

    operations: Iterable[Operation] = ()
    receipt: str | Callable[[int], str] | None = None
    keep_empty: bool = False
    value: Any = None

    def receipt_at(self, revision: int) -> str | None:
        """The receipt of the commit that has this revision."""
        return self.receipt(revision) if callable(self.receipt) else self.receipt


Decide: TypeAlias = Callable[[State], Decision | Iterable[Operation]]
"""Decides a commit from the state under the tenant's lock; it may be called more than once."""


@attrs.frozen(kw_only=True)
class CommitRequest:
    """The request for a commit: its author, its key, and its preconditions.

    These are the keywords of :meth:`InventoryRepository.commit`; ``fingerprint`` is the digest
    of its ``request``.

    Raises:
        InvalidInput: A text cannot be stored, or is a secret.
    """

    actor: str
    source: str = "api"
    note: str = ""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    expected_revision: int | None = None
    standing: Standing | None = None
    scanned: bool = False

    def __attrs_post_init__(self) -> None:
        texts = {"actor": self.actor, "note": self.note, "idempotency_key": self.idempotency_key}
        json_text.check_storable(**texts)
        refuse_text(**texts)
        standing: object = self.standing
        if not isinstance(standing, Standing | None):
            raise InvalidInput("standing is an expresso_persist.commits.offers.Standing, or None.")

    def keyed(self, tenant: str) -> KeyedRequest | None:
        """The request under its Idempotency-Key, if it has one."""
        if self.idempotency_key is None:
            return None
        return KeyedRequest(tenant, self.actor, self.idempotency_key, self.fingerprint)
