"""What a release leaves behind, said through the public API: the same words for every version.

``tools/make_release_fixtures.py`` writes with a release what is kept in
``tests/fixtures/<version>/``; ``tests/upgrades`` opens it with the current version and says it
again. Only meaning is compared: records, documents, commits, backups, not tables.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expresso_persist import Record, Store

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOKEN = "the-token-of-the-release-fixtures"
MODULE = "/static/expresso-persist/DatabaseInventoryService.js"
DEVICES = ("ipad-1", "ipad-2")
PASSPHRASE = "a passphrase for the fixtures"
PENDING = ("Oat Milk", "milk", -2), ("Soy Milk", "milk", -1)
"""Item, category and delta of the adjustments that the browser did not send."""


def releases() -> list[Path]:
    """The folder of each release that left fixtures, oldest first."""
    found = [folder for folder in FIXTURES.iterdir() if (folder / "expected").is_dir()]
    return sorted(found, key=lambda folder: [int(part) for part in folder.name.split(".")])


def write_json(path: Path, value: object) -> None:
    """Write JSON, compressed, without the time in it: the same value gives the same file."""
    text = json.dumps(value, indent=1)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote."""
    return json.loads(gzip.decompress(path.read_bytes()))


# -- what a store holds -------------------------------------------------------------------


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(dt.UTC).isoformat()


def _record(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {"key": str(record.key), "text": record.text, "raw": record.raw, "at": record.position}


def digests(records: Iterable[Record]) -> dict[str, str]:
    """A checksum of the records of each kind: enough to see that a restore gave the same."""
    lines: dict[str, list[str]] = {}
    for record in records:
        lines.setdefault(record.kind, []).append(json.dumps(_record(record), sort_keys=True))
    return {
        kind: hashlib.sha256("\n".join(sorted(of_kind)).encode()).hexdigest()
        for kind, of_kind in sorted(lines.items())
    }


def state(store: Store) -> dict[str, str]:
    """The checksums of everything that a tenant has now."""
    return digests(store.inventory.snapshot().records)


def describe(store: Store) -> dict[str, Any]:
    """Everything that a tenant has, and what the version says of it."""
    inventory = store.inventory
    head, report = inventory.head(), inventory.verify()
    return {
        "head": {"epoch": head.epoch, "revision": head.revision, "hash": head.hash},
        "records": {
            str(record.key): {
                **(_record(record) or {}),
                "revision": record.revision,
                "updated_at": _time(record.updated_at),
                "updated_by": record.updated_by,
            }
            for record in inventory.snapshot().records
        },
        "documents": {device: inventory.dump(device)["localStorage"] for device in DEVICES},
        "commits": [
            {
                "revision": commit.revision,
                "actor": commit.actor,
                "source": commit.source,
                "note": commit.note,
                "created_at": _time(commit.created_at),
                "hash": commit.hash,
                "idempotency_key": commit.idempotency_key,
                "receipt": commit.receipt,
                "changes": [
                    {
                        "key": str(change.key),
                        "before": _record(change.before),
                        "after": _record(change.after),
                    }
                    for change in commit.changes
                ],
            }
            for commit in inventory.commits(0, 1000)
        ],
        "backups": {
            backup.id: {
                "type": backup.backup_type,
                "status": backup.backup_status,
                "revision": backup.revision,
                "created_at": _time(backup.created_at),
                "verified": backup.verified_at is not None,
                "payload_sha256": backup.payload_sha256,
                "record_counts": backup.record_counts,
                "notes": backup.notes,
                "pinned": backup.pinned,
                "actor": backup.actor,
            }
            for backup in store.backups.list()
        },
        "tokens": {
            token.name: {
                "permission": token.permission,
                "created_at": _time(token.created_at),
                "expires_at": _time(token.expires_at),
            }
            for token in store.tokens.list()
        },
        "verify": {"ok": report.ok, "commits": report.commits, "anchor": report.anchor},
    }


# -- a server and a browser ---------------------------------------------------------------


@contextmanager
def served(database_url: str, log: Path, adapter: str = "fastapi") -> Iterator[str]:
    """``expresso-persist serve`` of the version that is imported here; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "expresso_persist", "serve", "--adapter", adapter),
                *("--database", database_url, "--port", str(port)),
                *("--no-rate-limits", "--no-backups"),
            ],
            env={**os.environ, "EXPRESSO_PERSIST_TOKEN": TOKEN},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{log.read_text(errors='replace')}")
            try:
                urllib.request.urlopen(f"{url}/api/migration/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


SHOWN = """return {
  stock: await service.getEventStock(),
  settings: await service.getSettings(),
  parked: await service.parked(),
}"""

READ_BROWSER = """async () => {
  const answer = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const databases = {};
  for (const { name } of await indexedDB.databases()) {
    const database = await answer(indexedDB.open(name));
    const stores = {};
    for (const of of database.objectStoreNames) {
      const store = database.transaction(of).objectStore(of);
      stores[of] = {
        keyPath: store.keyPath,
        autoIncrement: store.autoIncrement,
        indexes: [...store.indexNames].map((index) => {
          const { keyPath, unique, multiEntry } = store.index(index);
          return { name: index, keyPath, unique, multiEntry };
        }),
        keys: await answer(store.getAllKeys()),
        rows: await answer(store.getAll()),
      };
    }
    databases[name] = { version: database.version, stores };
    database.close();
  }
  return { indexedDB: databases, localStorage: { ...localStorage } };
}"""

WRITE_BROWSER = """async ({ indexedDB: databases, localStorage: texts }) => {
  for (const [key, text] of Object.entries(texts)) localStorage.setItem(key, text);
  for (const [name, { version, stores }] of Object.entries(databases)) {
    await new Promise((resolve, reject) => {
      const request = indexedDB.open(name, version);
      request.onerror = () => reject(request.error);
      request.onupgradeneeded = () => {
        for (const [of, kept] of Object.entries(stores)) {
          const { keyPath, autoIncrement } = kept;
          const store = request.result.createObjectStore(of, { keyPath, autoIncrement });
          for (const index of kept.indexes) {
            const { unique, multiEntry } = index;
            store.createIndex(index.name, index.keyPath, { unique, multiEntry });
          }
          kept.rows.forEach((row, at) =>
            keyPath === null ? store.put(row, kept.keys[at]) : store.put(row),
          );
        }
      };
      request.onsuccess = () => { request.result.close(); resolve(); };
    });
  }
}"""


def moved(browser: Mapping[str, Any], url: str) -> dict[str, Any]:
    """A browser's storage as if its server had been at ``url``."""
    was = json.dumps(browser["url"])[1:-1]
    text = json.dumps(browser, ensure_ascii=False).replace(was, url)
    found: dict[str, Any] = json.loads(text)
    return found


def entries(storage: Mapping[str, Any], wanted: str) -> list[dict[str, Any]]:
    """The writes in a browser's outbox that are in a state: queued, acked or parked."""
    rows = storage["indexedDB"]["expresso-persist"]["stores"]["outbox"]["rows"]
    return [row for row in rows if row["state"] == wanted]
