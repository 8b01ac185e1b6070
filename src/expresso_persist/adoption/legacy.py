"""What the tables of the replaced system look like, and how to tell them from others.

Pure. A table is known by its columns, because a table of ours and one of the host may have
the same name; every table of ours has a ``tenant_id``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

__all__ = ["BACKUPS", "PREFIX", "TABLES", "LegacyTable", "recognised"]

PREFIX = "legacy_"
"""What the old tables are called afterwards: ``legacy_event_inventory``, …"""

BACKUPS = "data_backups"


@attrs.frozen
class LegacyTable:
    """One table of the replaced system.

    Attributes:
        name: Its name.
        required: Columns without which it is another table.
        optional: Columns that it usually has; any further one is the host's addition.
        common: Its columns are found in other systems as well, so that it is only taken
            for a legacy table beside one that is certain.
    """

    name: str
    required: frozenset[str]
    optional: frozenset[str]
    common: bool = False

    @property
    def kept_as(self) -> str:
        """Its name after the adoption."""
        return PREFIX + self.name

    def further(self, columns: Collection[str]) -> list[str]:
        """The columns that the replaced system did not make."""
        return [name for name in columns if name not in self.required | self.optional]


def _table(name: str, required: str, optional: str = "", *, common: bool = False) -> LegacyTable:
    times = ("id", "created_at", "updated_at")
    return LegacyTable(
        name, frozenset(required.split()), frozenset((*times, *optional.split())), common
    )


TABLES: Mapping[str, LegacyTable] = {
    table.name: table
    for table in (
        _table("event_inventory", "category item_name", "enabled created_by"),
        _table(
            "event_stock_levels",
            "item_name category total_quantity",
            "allocated_quantity available_quantity unit low_stock_threshold",
        ),
        _table("station_inventory_configs", "station_id config_data", "station_name"),
        _table(
            "station_inventory_quantities", "station_id item_name quantity", "allocated_from_stock"
        ),
        _table(
            "system_settings", "setting_key setting_value", "setting_type description updated_by"
        ),
        _table("user_preferences", "user_id preferences", "username", common=True),
        _table("app_state", "state_key state_value", "expires_at", common=True),
        _table(BACKUPS, "backup_type backup_data", "file_size_bytes backup_status notes"),
    )
}
"""The tables of the replaced system, in the order in which they are carried over.

``stations`` is not among them: the host shares it, so it stays where it is.
"""


def recognised(tables: Mapping[str, Collection[str]]) -> list[LegacyTable]:
    """Which of a database's tables are the replaced system's.

    Args:
        tables: Names of tables with the names of their columns.
    """
    found = [
        table
        for name, table in TABLES.items()
        if name in tables and table.required <= {*tables[name]} and "tenant_id" not in tables[name]
    ]
    return found if any(not table.common for table in found) else []
