"""What is fuzzed: functions of bytes that raise nothing, whatever the bytes are.

A refusal (``ExpressoPersistError``, ``UnknownLayout``) is an answer; any other exception, and
any value that does not come back, is a finding.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

import archives
from expresso_persist import Store
from expresso_persist.backups import ArchiveLimits, BackupManager
from expresso_persist.documents.codec import UnknownLayout, codec_for
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.dump import read_dump
from expresso_persist.model import json_text

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOUND = Path(__file__).parents[1] / "fuzz" / "found"
CODEC_KEYS = (
    "event_inventory",
    "event_stock_levels",
    "station_inventory_configs",
    "station_inventory_quantities",
    "coffee_stock_station_1",
)
# Small ones, so that the readers' own limits are within reach of small inputs.
LIMITS = ArchiveLimits(compressed=256 * 1024, expanded=1024 * 1024, line=64 * 1024)


class Stores:
    """A store for many inputs, each in a tenant of its own; made again before it gets slow."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._used = 0

    def fresh(self) -> Store:
        if self._store is not None and self._used >= 300:
            self._store.close()
            self._store = None
        if self._store is None:
            self._store = Store("sqlite://", migrate=True)
            self._used = 0
        self._used += 1
        return self._store.for_tenant(f"input-{self._used}")


_stores = Stores()


def importer(data: bytes) -> None:
    """A dump: every key in one class, the plan comes true, and what is kept comes back."""
    store = _stores.fresh()
    try:
        dump = read_dump(data)
        plan = store.importer.plan(data)
        receipt = store.importer.import_(data, actor="fuzz")
    except ExpressoPersistError:
        assert store.inventory.head().revision == 0
        return
    sent = {item.key: item for item in dump.items}
    totals = receipt.totals
    assert plan.totals == totals
    assert plan.records == receipt.records
    assert totals["keys"] == len(sent) == sum(totals.values()) - totals["keys"]
    assert [key.key for key in receipt.keys] == [*sent]
    json.dumps(receipt.to_json())
    # Half a surrogate pair has no bytes; such a value is kept escaped, apart from the dump.
    kept = [
        key.key
        for key in receipt.keys
        if key.outcome in ("stored", "quarantined")
        and not key.removed_secrets
        and sent[key.key].fault is None
    ]
    exported = store.inventory.dump(dump.device_id)["localStorage"]
    for name in kept:
        assert exported[name] == sent[name].raw, name
    again = store.importer.import_(data, actor="fuzz")
    assert not again.committed
    assert store.inventory.verify().ok


def layouts(data: bytes) -> None:
    """A document: taken apart and put together again, or refused as a shape."""
    try:
        document = json_text.loads(data, reject_duplicates=True, reject_unstorable=True)
    except ExpressoPersistError:
        return
    text = json_text.dumps(document)
    for key in CODEC_KEYS:
        codec = codec_for(key)
        assert codec is not None
        try:
            decoded = codec.decode(document)
        except UnknownLayout:
            continue
        assert len({record.key for record in decoded.records}) == len(decoded.records), key
        # The importer compares, and stores whole what does not come back. What does come back
        # has to in any order of the records, and with a skeleton that was stored.
        if codec.encode(decoded.records, decoded.root) == text:
            root = type(decoded.root).from_json(json.loads(json.dumps(decoded.root.to_json())))
            assert codec.encode(reversed(decoded.records), root) == text, key


def archive(data: bytes) -> None:
    """A file: stored as a backup that verifies, or refused with nothing written."""
    store = _stores.fresh()
    backups = BackupManager(store.database, store.inventory, archive_limits=LIMITS)
    before = len(backups.list())
    try:
        backup = backups.import_(io.BytesIO(data), from_tenant="default")
    except ExpressoPersistError as error:
        if error.status >= 500:
            raise
        assert len(backups.list()) == before
        return
    assert backups.verify(backup.id).ok
    file = io.BytesIO()
    backups.export(backup.id, file)
    copy = archives.read(file.getvalue())
    assert copy.sections == archives.read(data).sections  # nothing lost, nothing made up


def archive_lines(data: bytes) -> None:
    """The lines of an archive, by somebody who can seal: the reader behind the checksums."""
    archive(archives.sealed(zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)))


def archive_records(data: bytes) -> None:
    """The records of a section, by somebody who writes a header that fits them."""
    forged = archives.read(_model())
    which, _, rest = data.partition(b"\n")
    known = [*archives.KEYS]
    section = known[which[0] % len(known)] if which else "setting"
    forged.sections = {
        **{name: [] for name in forged.sections},
        section: rest.splitlines(keepends=True),
    }
    archive(forged.describe().write())


_models: list[bytes] = []


def _model() -> bytes:
    if not _models:
        _models.append((FIXTURES / "archive-v1.expresso.zst").read_bytes())
    return _models[0]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (importer, layouts, archive, archive_lines, archive_records)
}


def seeds(target: str) -> Iterator[bytes]:
    """Real inputs to begin with, and everything that once was a finding."""
    for path in sorted(FOUND.glob(f"{target}-*")):
        yield path.read_bytes()
    if target in ("importer", "layouts"):
        for path in sorted(FIXTURES.glob("localstorage-*.json")):
            content = json.loads(path.read_text())["localStorage"]
            if target == "importer":
                yield path.read_bytes()
                yield json.dumps(content).encode()
            for key in CODEC_KEYS:
                if key in content:
                    raw = content[key]
                    yield (json.dumps({key: raw}) if target == "importer" else raw).encode()
        return
    model = _model()
    lines = archives.read(model)
    if target == "archive":
        yield model
        yield from (path.read_bytes() for path in sorted(FIXTURES.glob("archive-v1*.age")))
    elif target == "archive_lines":
        yield zstandard.ZstdDecompressor().decompressobj().decompress(model)
    else:
        for number, name in enumerate(archives.KEYS):
            yield bytes([number]) + b"\n" + b"".join(lines.sections.get(name, []))


__all__ = ["TARGETS", "seeds"]
