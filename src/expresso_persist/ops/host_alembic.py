"""For hosts that use Alembic themselves: which tables ``--autogenerate`` has to leave alone.

A host's ``alembic revision --autogenerate`` writes a DROP for every table that is in the
database and not in the host's metadata; those of this library too, unless it is configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expresso_persist.adoption.legacy import TABLES as LEGACY_TABLES
from expresso_persist.db.migrations import VERSION_TABLE
from expresso_persist.db.tables import metadata

__all__ = ["TABLE_NAMES", "alembic_include_name", "alembic_include_object"]

TABLE_NAMES: frozenset[str] = frozenset(
    {*metadata.tables, VERSION_TABLE, *(table.kept_as for table in LEGACY_TABLES.values())}
)
"""Every table of the library, its version table, and what an adoption keeps as ``legacy_…``."""


def alembic_include_object(
    object: Any,  # noqa: A002 - Alembic's names
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: object | None,
) -> bool:
    """For ``context.configure(include_object=…)``: False for the library's tables.

    A table of the host's own under one of the names, in another schema, is the host's.
    """
    if type_ != "table" or name not in TABLE_NAMES:
        return True
    return object.schema is not None and not (reflected and compare_to is None)


def alembic_include_name(
    name: str | None,
    type_: str,
    parent_names: Mapping[str, str | None],  # noqa: ARG001 - Alembic gives it
) -> bool:
    """For ``context.configure(include_name=…)``: the same, before the tables are even read.

    A host with tables of its own under one of the names, in another schema, takes
    :func:`alembic_include_object`, which can tell them apart.
    """
    return type_ != "table" or name not in TABLE_NAMES
