"""Store: opens a database and hands out what works on it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from functools import cached_property
from types import TracebackType
from typing import Self

from sqlalchemy.engine import Engine

from expresso_persist import adoption
from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.mirror_status import copies_ahead
from expresso_persist.backups.mirrors import mirrors_from_environment
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.errors import InvalidConfiguration, TablesDropped, TablesMissing
from expresso_persist.feed import Feed
from expresso_persist.feed.hub import close_hub
from expresso_persist.importing.importer import LocalStorageImporter
from expresso_persist.stock.inventory import Inventory
from expresso_persist.tenants.tenancy import Tenants
from expresso_persist.tenants.tokens import AccessTokens

logger: logging.Logger = logging.getLogger("expresso_persist")

__all__ = ["DEFAULT_URL", "Store", "default_url", "lost_data"]

DEFAULT_URL = "sqlite:///expresso.db"


def default_url() -> str:
    """``DATABASE_URL`` of the environment, else the embedded default."""
    return os.environ.get("DATABASE_URL") or DEFAULT_URL


def lost_data(tenant: str) -> list[str]:
    """What the mirrors of the environment have of a tenant whose data is not here."""
    with contextlib.suppress(InvalidConfiguration):
        return copies_ahead(mirrors_from_environment(), tenant)
    return []


def _prepare(database: Database, *, tenant: str, adopt: bool) -> None:
    """Bring the tables to this version, and log what was done, as there is no report."""
    report = adoption.upgrade(database, tenant=tenant, adopt=adopt)
    level = logging.INFO if report.adopted is None else logging.WARNING
    for step in report.steps:
        logger.log(level, "%s", step)
    if report.adopted is not None:
        logger.warning("`expresso-persist init --report` shows this again.")
    in_memory = database.engine.url.database in (None, "", ":memory:")
    if report.created and not (database.dialect == "sqlite" and in_memory):
        for sentence in lost_data(tenant):
            logger.warning("This database is new. %s", sentence)


class Store:
    """One database, seen as one tenant.

    >>> with Store("sqlite://", migrate=True) as store:
    ...     store.inventory.stats()["event_inventory_items"]
    0

    Attributes:
        database: The engine and its transactions.
        tenant: Whose data is seen.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        engine: Engine | None = None,
        tenant: str = "default",
        migrate: bool = False,
        adopt: bool = False,
    ) -> None:
        """Open a database.

        Args:
            url: ``sqlite:///file.db`` or ``postgresql://…``; see :func:`default_url`.
            engine: An engine of the caller to use instead; it is never disposed of.
            tenant: Whose data to see.
            migrate: Create or update the library's tables first.
            adopt: With ``migrate``, also carry over the rows of the replaced system, whose
                tables are renamed, see ``docs/adopting.md``. What was done is logged.

        Raises:
            InvalidConfiguration: The URL is not one of SQLite or PostgreSQL.
            SchemaMismatch: The tables are missing, older or newer than this version; or
                there are those of the replaced system, and ``adopt`` is not set.
            TablesDropped: The tables were there, and something else dropped them.
            DatabaseUnavailable: The database does not answer.
        """
        if url is None and engine is None:
            url = default_url()
        prepare = functools.partial(_prepare, tenant=tenant, adopt=adopt)
        try:
            self.database: Database = migrations.ready(
                Database(url, engine=engine), migrate=migrate, adopt=prepare
            )
        except (TablesDropped, TablesMissing) as error:
            raise error.rephrased(" ".join([error.message, *lost_data(tenant)])) from error
        self.tenant = tenant

    def for_tenant(self, tenant: str) -> Store:
        """The same database seen as another tenant; closing either closes both."""
        other = Store.__new__(Store)
        other.database = self.database
        other.tenant = tenant
        return other

    @property
    def url(self) -> str:
        """The database's URL, its password hidden."""
        return self.database.url

    @cached_property
    def inventory(self) -> Inventory:
        """The data."""
        return Inventory(self.database, self.tenant)

    @cached_property
    def importer(self) -> LocalStorageImporter:
        """Takes localStorage dumps in, after a safety backup where that changes something."""
        return LocalStorageImporter(self.inventory, self._before_import)

    def _before_import(self, notes: str, actor: str) -> str:
        return self.backups.before_import(notes, actor)  # which may be assigned later

    @cached_property
    def backups(self) -> BackupManager:
        """Makes and restores backups; assign a manager of your own for other settings."""
        return BackupManager(self.database, self.inventory, mirrors=mirrors_from_environment())

    @cached_property
    def tokens(self) -> AccessTokens:
        """The bearer tokens that open this tenant's data over HTTP."""
        return AccessTokens(self.database, self.tenant)

    @cached_property
    def tenants(self) -> Tenants:
        """All tenants of the database: create, list, rename, delete."""
        return Tenants(self.database)

    @cached_property
    def feed(self) -> Feed:
        """The change feed; subscribe to it to receive new commits."""
        return Feed(self.inventory)

    def init(self, dry_run: bool = False) -> list[str]:
        """Create, update or adopt the tables; say what was (or would be) done, a sentence each."""
        report = adoption.upgrade(self.database, tenant=self.tenant, dry_run=dry_run)
        return [*report.steps]

    def close(self) -> None:
        """Stop what runs in the background and close the connections."""
        manager = self.__dict__.get("backups")
        if manager is not None:
            manager.stop()
        close_hub(self.database)
        self.database.close()

    def __enter__(self) -> Self:
        """Use the store in a ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
