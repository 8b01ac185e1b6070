"""Types of fixtures that tests name in their parameters."""

from __future__ import annotations

from collections.abc import Callable

from expresso_persist.model.records import Commit

PutQuantity = Callable[..., Commit]
"""``put(item, quantity, **options of commit)``: one commit with one quantity."""
