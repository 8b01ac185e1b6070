"""expresso-persist: a coffee event's setup, safe in a database.

The names here are the public ones; everything else may change between versions.
"""

from __future__ import annotations

from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.rotation import Rotation
from expresso_persist.commits.decision import Decision
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.importer import LocalStorageImporter
from expresso_persist.importing.receipt import Receipt
from expresso_persist.model.records import (
    Adjust,
    Change,
    Commit,
    Delete,
    Head,
    Operation,
    Patch,
    Put,
    Record,
    RecordKey,
)
from expresso_persist.ops.host_alembic import (
    TABLE_NAMES,
    alembic_include_name,
    alembic_include_object,
)
from expresso_persist.stock.inventory import Inventory
from expresso_persist.store import Store

__all__ = [
    "Adjust",
    "BackupManager",
    "Change",
    "Commit",
    "Decision",
    "Delete",
    "ExpressoPersistError",
    "Head",
    "Inventory",
    "InventoryRepository",
    "LocalStorageImporter",
    "Operation",
    "Patch",
    "Put",
    "Receipt",
    "Record",
    "RecordKey",
    "Rotation",
    "Store",
    "TABLE_NAMES",
    "__version__",
    "alembic_include_name",
    "alembic_include_object",
]

__version__ = "0.2.0.dev0"
