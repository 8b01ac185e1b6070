"""The whole public surface of the library, used once."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

import routes
from backed_up import give_a_past
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror, Rotation
from expresso_persist.model.records import Delete, EventItem, Put, Setting
from expresso_persist.ops.metrics import render


def everything(store: Store, folder: Path) -> None:
    """What the library can do for a tenant, as far as it asks the database."""
    inventory = store.inventory
    give_a_past(store)
    many = [Put(EventItem.of("syrup", f"s{i}", data={"n": i})) for i in range(30)]
    inventory.commit(many, actor="t", idempotency_key="k", request="r")
    inventory.commit(many, actor="t", idempotency_key="k", request="r")
    inventory.commit([Put(EventItem.of(*p.record.parts, data={"n": 0})) for p in many], actor="t")
    inventory.commit([Delete(p.record.key) for p in many], actor="t")
    store.importer.plan(routes.STOCK)
    store.importer.import_(routes.STOCK, actor="t")
    store.importer.import_(routes.STOCK, actor="t", mode="replace")
    for _ in (inventory.stats(), inventory.dump(), inventory.settings(), inventory.exists()):
        pass
    inventory.inventory_json()
    inventory.document("event_menu")
    moment = dt.datetime.now(dt.UTC)
    for as_of in (1, moment):
        inventory.records(as_of=as_of)
        inventory.dump(as_of=as_of)
    inventory.changes(inventory.changes(0, 2).cursor)
    inventory.verify()
    inventory.undo(inventory.head().revision, actor="t")
    inventory.forget_history(3, actor="t", dry_run=True)
    inventory.forget_history(3, actor="t")
    store.feed.page("0")
    with contextlib.closing(store.feed.subscribe(timeout=0.01)) as events:
        list(events)
    folder.mkdir()
    (folder / "mirror").mkdir()
    manager = BackupManager(
        store.database, inventory, rotation=Rotation(keep_last=2), interval=1,
        mirrors=[Mirror(str(folder / "mirror"))],
    )  # fmt: skip
    made = manager.create()
    for _ in range(2):
        manager.create(idempotency_key="b")
    inventory.devices()
    manager.pin(made.id)
    manager.run_once()
    manager.rotate()
    manager.verify(made.id)
    for _ in (manager.status(), manager.health(), manager.diff(made.id), manager.sync_mirrors()):
        pass
    manager.plan_restore(made.id)
    inventory.commit([Put(Setting.of("late", data=1))], actor="t")
    for _ in range(2):
        manager.restore(made.id, actor="t", idempotency_key="r")
    manager.export(made.id, folder / "a.zst")
    manager.pin(made.id, pinned=False)
    with Store("sqlite://", tenant=store.tenant, migrate=True) as elsewhere:
        elsewhere.inventory.commit([Put(Setting.of("a", data="elsewhere"))], actor="t")
        elsewhere.backups.export(elsewhere.backups.create().id, folder / "b.zst")
    manager.import_(folder / "b.zst")
    text, _ = store.tokens.create("till", "write", lifetime=dt.timedelta(hours=1))
    store.tokens.recognise(text)
    store.tokens.list()
    store.tokens.revoke("till")
    render(store)
