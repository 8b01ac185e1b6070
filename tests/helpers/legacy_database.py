"""A database as the replaced system left it: its tables, rows, backups, and a host's own tables."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

__all__ = ["COLUMNS", "LegacyDatabase"]

# (name, type on PostgreSQL, type on SQLite); every table has a serial id besides.
_TIMES = ["created_at:time", "updated_at:time"]
COLUMNS: Mapping[str, list[str]] = {
    "event_inventory": [
        "category:varchar(100)", "item_name:varchar(200)", "enabled:boolean", *_TIMES,
        "created_by:varchar(100)",
    ],
    "event_stock_levels": [
        "item_name:varchar(200)", "category:varchar(100)", "total_quantity:number",
        "allocated_quantity:number", "available_quantity:number", "unit:varchar(50)",
        "low_stock_threshold:number", *_TIMES,
    ],
    "station_inventory_configs": [
        "station_id:integer", "station_name:varchar(200)", "config_data:json", *_TIMES,
    ],
    "station_inventory_quantities": [
        "station_id:integer", "item_name:varchar(200)", "quantity:number",
        "allocated_from_stock:number", *_TIMES,
    ],
    "system_settings": [
        "setting_key:varchar(200)", "setting_value:json", "setting_type:varchar(50)",
        "description:text", *_TIMES, "updated_by:varchar(100)",
    ],
    "user_preferences": [
        "user_id:integer", "username:varchar(100)", "preferences:json", *_TIMES,
    ],
    "app_state": ["state_key:varchar(200)", "state_value:json", "expires_at:time", *_TIMES],
    "data_backups": [
        "backup_type:varchar(50)", "backup_data:json", "file_size_bytes:integer",
        "created_at:time", "backup_status:varchar(20)", "notes:text",
    ],
    "stations": [
        "name:varchar(200)", "location:varchar(200)", "active:boolean", "capabilities:json",
        "inventory_config:json", *_TIMES,
    ],
    "orders": [
        "order_number:varchar(20)", "phone:varchar(20)", "order_details:json",
        "status:varchar(20)", "station_id:integer", *_TIMES, "price:number",
    ],
    "settings": ["key:varchar(100)", "value:text"],
    "users": ["username:varchar(100)", "password_hash:text"],
}  # fmt: skip
_TYPES = {
    "postgresql": {"time": "timestamp", "number": "numeric(10,2)", "json": "jsonb"},
    "sqlite": {"time": "datetime", "number": "numeric(10,2)", "json": "text"},
}
_INDEXES = {
    "idx_event_stock_item": ("event_stock_levels", "item_name"),
    "idx_data_backups_created": ("data_backups", "created_at"),
    "idx_system_settings_key": ("system_settings", "setting_key"),
}


TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.x"


class LegacyDatabase:
    """Builds one, and reads what is in it."""

    def __init__(self, url: str, tables: Iterable[str] = tuple(COLUMNS)) -> None:
        """Create ``tables`` at ``url``."""
        driver = url.replace("postgresql://", "postgresql+psycopg://")
        self.engine = sa.create_engine(driver, poolclass=sa.NullPool)
        self.dialect = self.engine.dialect.name
        self.tables = list(tables)
        with self.engine.begin() as connection:
            for table in self.tables:
                connection.execute(sa.text(self._create(table)))
            for name, (table, column) in _INDEXES.items():
                if table in self.tables:
                    connection.execute(sa.text(f"CREATE INDEX {name} ON {table} ({column})"))

    def _create(self, table: str) -> str:
        serial = "serial" if self.dialect == "postgresql" else "integer"
        types = _TYPES[self.dialect]
        columns = []
        for column in COLUMNS[table]:
            name, _, type_ = column.partition(":")
            default = " DEFAULT CURRENT_TIMESTAMP" if name.endswith("ated_at") else ""
            columns.append(f'"{name}" {types.get(type_, type_)}{default}')
        return f"CREATE TABLE {table} (id {serial} PRIMARY KEY, {', '.join(columns)})"

    def run(self, statement: str, **values: Any) -> None:
        """Execute something."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def insert(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Insert rows; objects and lists are written as JSON."""
        with self.engine.begin() as connection:
            for row in rows:
                names = list(row)
                json_columns = {c.partition(":")[0] for c in COLUMNS[table] if c.endswith(":json")}
                marks = [
                    f"CAST(:{n} AS jsonb)"
                    if n in json_columns and self.dialect == "postgresql"
                    else f":{n}"
                    for n in names
                ]
                values = {
                    n: json.dumps(v) if n in json_columns and not isinstance(v, str) else v
                    for n, v in row.items()
                }
                quoted = ", ".join(f'"{n}"' for n in names)
                connection.execute(
                    sa.text(f"INSERT INTO {table} ({quoted}) VALUES ({', '.join(marks)})"), values
                )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Its rows by id."""
        with self.engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings()
            return [dict(row) for row in found]

    def names(self) -> set[str]:
        """The tables that there are."""
        return {*sa.inspect(self.engine).get_table_names()}

    def dump(self) -> dict[str, list[str]]:
        """Every row of every table, as text."""
        return {name: [repr(row) for row in self._all(name)] for name in sorted(self.names())}

    def _all(self, table: str) -> list[Any]:
        with self.engine.connect() as connection, contextlib.suppress(sa.exc.SQLAlchemyError):
            return sorted(
                map(tuple, connection.execute(sa.text(f"SELECT * FROM {table}"))), key=repr
            )
        return []

    def fill(self, items: int, backups: int) -> None:
        """An event with so many rows of inventory, stock and quantities in all, and backups."""
        chance = random.Random(items)
        each = items // 3
        categories = ["milk", "coffee", "syrup", "cups"]
        for n in range(each):
            category = categories[n % len(categories)]
            name = f"Item {n}"
            self._queue("event_inventory", category=category, item_name=name, enabled=bool(n % 3))
            self._queue(
                "event_stock_levels", item_name=name, category=category,
                total_quantity=chance.randrange(10**6) / 100,
                allocated_quantity=chance.randrange(10**4) / 100,
                available_quantity=chance.randrange(10**5) / 100, unit="kg",
                low_stock_threshold=10,
            )  # fmt: skip
            self._queue(
                "station_inventory_quantities", station_id=n % 7, item_name=name,
                quantity=chance.randrange(10**5) / 100, allocated_from_stock=n % 2,
            )  # fmt: skip
        self._flush()
        for station in range(7):
            self.insert(
                "station_inventory_configs",
                {"station_id": station, "station_name": f"Bar {station}",
                 "config_data": {"milk": {"Oat": True}, "n": [station, 0.125]}},
            )  # fmt: skip
        self.insert(
            "system_settings",
            {"setting_key": "theme", "setting_value": {"dark": True}, "setting_type": "general"},
            {"setting_key": "hall", "setting_value": '"North"', "setting_type": "venue",
             "description": "Where it is"},
            {"setting_key": "coffee_system_token", "setting_value": '"eyJhbGciOiJIUzI1NiJ9.e30.x"'},
            {"setting_key": "sms", "setting_value": {"auth_token": "hunter2hunter2", "on": True}},
        )  # fmt: skip
        self.insert("user_preferences", {"user_id": 7, "username": "anna", "preferences": {"a": 1}})
        self.insert("app_state", {"state_key": "tab", "state_value": {"open": "stock"}})
        self.insert("stations", {"name": "Bar 1", "active": True, "capabilities": {"latte": 1}})
        self.insert("orders", {"order_number": "A1", "phone": "+61400000000", "order_details": {}})
        for number in range(backups):
            self.insert(
                "data_backups",
                {
                    "backup_type": "automatic" if number % 2 else "manual",
                    "backup_data": self._payload(number, min(each, 300)),
                    "file_size_bytes": 1000,
                    "backup_status": "completed",
                    "notes": f"number {number}",
                    "created_at": f"2026-10-{1 + number // 24:02d} {number % 24:02d}:00:00",
                },
            )

    _queued: list[tuple[str, dict[str, Any]]]

    def _queue(self, table: str, **row: Any) -> None:
        self.__dict__.setdefault("_queued", []).append((table, row))

    def _flush(self) -> None:
        by_table: dict[str, list[dict[str, Any]]] = {}
        for table, row in self.__dict__.pop("_queued", []):
            by_table.setdefault(table, []).append(row)
        with self.engine.begin() as connection:
            for table, rows in by_table.items():
                names = list(rows[0])
                statement = (
                    f"INSERT INTO {table} ({', '.join(names)}) "
                    f"VALUES ({', '.join(':' + name for name in names)})"
                )
                connection.execute(sa.text(statement), rows)

    def _payload(self, number: int, count: int) -> dict[str, Any]:
        return {
            "timestamp": "2026-10-01T00:00:00",
            "backup_version": "1.0",
            "inventory": {
                "event_inventory": {
                    "milk": {f"Item {n}": {"enabled": n != number} for n in range(0, count, 4)}
                },
                "event_stock_levels": {
                    f"Item {n}": {
                        "category": "milk", "total": n + number, "allocated": 0,
                        "available": n, "unit": "kg",
                    }
                    for n in range(0, count, 4)
                },
                "station_inventory_configs": {"1": {"milk": {"Oat": True}}},
                "station_inventory_quantities": {"1": {"Item 1": number}},
            },
            "settings": {"theme": {"dark": False}, "coffee_system_token": TOKEN},
            "stations": [{"id": 1, "name": "Bar 1"}],
            "recent_orders": [{"id": 1, "order_number": "A1", "created_at": "2026-10-01 10:00:00"}],
        }  # fmt: skip
