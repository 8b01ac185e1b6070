"""Archives: complete, readable by others, bounded, and refused for any byte that is not right."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backed_up import give_a_past
from expresso_persist import Store
from expresso_persist.backups import ArchiveLimits, BackupManager
from expresso_persist.errors import ArchiveRefused, InvalidInput, PayloadTooLarge
from expresso_persist.records import (
    Delete,
    Operation,
    Put,
    Record,
    Setting,
    StationStock,
    StoredDocument,
)
from expresso_persist.state import State
from expresso_persist.tables import metadata

FLIPS = int(os.environ.get("EXPRESSO_ARCHIVE_FLIPS", "2000"))
KEY = pyrage.x25519.Identity.generate()
FIXTURES = Path(__file__).parents[1] / "fixtures"


def state(store: Store) -> list[Record]:
    return sorted(store.inventory.snapshot().records, key=lambda record: record.key)


def exported(store: Store, backup_id: str = "", **how: Any) -> bytes:
    target = io.BytesIO()
    store.backups.export(backup_id or store.backups.list()[0].id, target, **how)
    return target.getvalue()


@pytest.fixture
def past(store: Store) -> Store:
    """A store with backups that share pieces, and rows of the host."""
    give_a_past(store)
    return store


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/empty.db", migrate=True) as opened:
        yield opened


def everything(store: Store) -> dict[str, list[Any]]:
    """Every row of every table, except who holds a lease."""
    with store.database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }


# -- there and back ---------------------------------------------------------------------------

storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(storable, max_size=12)
names = st.text(storable, min_size=1, max_size=8)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.one_of(
    st.builds(lambda n, v, p: Setting.of(n, data=v, position=p), names, values, st.integers(0, 99)),
    st.builds(
        lambda s, i, v: StationStock.of(s, "milk", i, data={"amount": v}), names, names, numbers
    ),
    st.builds(lambda k, v, r: StoredDocument.of(k, "", data=v, raw=r), names, values, texts),
)


@pytest.fixture(scope="module")
def both(postgresql_server: str) -> Iterator[tuple[Store, Store]]:
    from postgres_server import fresh_database

    with (
        fresh_database(postgresql_server) as url,
        Store("sqlite://", migrate=True) as here,
        Store(url, migrate=True) as there,
    ):
        yield here, there


@pytest.mark.postgresql
@settings(max_examples=30)
@given(wanted=st.lists(records, max_size=8, unique_by=lambda record: record.key))
def test_any_state_goes_from_sqlite_to_postgresql_and_back(
    both: tuple[Store, Store], wanted: list[Record]
) -> None:
    """To the letter, with the same checksum."""
    here, there = both
    keys = {record.key for record in wanted}

    def operations(stored: State) -> list[Operation]:
        kinds = ("setting", "station_stock", "document")
        there = (record.key for kind in kinds for record in stored.all(kind))
        return [*(Delete(key) for key in there if key not in keys), *map(Put, wanted)]

    here.inventory.commit(operations, actor="test")
    made = here.backups.create()
    first = exported(here, made.id)
    stored = there.backups.import_(io.BytesIO(first))
    assert stored.payload_sha256 == made.payload_sha256
    there.backups.restore(stored.id, actor="test")
    assert state(there) == state(here) == sorted(wanted, key=lambda record: record.key)
    back = exported(there, stored.id)
    assert read_by_the_page(back)[1] == read_by_the_page(first)[1]


def read_by_the_page(data: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """A reader written from docs/archive-format.md, with public tools only."""
    frame, seal = data[:-40], data[-40:]
    assert seal == bytes.fromhex("5e2a4d1820000000") + hashlib.sha256(frame).digest()
    text = zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(frame).read()
    assert text.endswith(b"\n")
    lines = iter(text.splitlines(keepends=True))
    header = json.loads(next(lines))
    assert header["format"] == "expresso-persist-archive"
    assert header["version"] == 1
    listing, found, total = "", {}, 0
    for section in header["backup"]["sections"]:
        stored = section["state"] == "stored"
        listing += f"{section['sha256'] if stored else section['state']}  {section['name']}\n"
        if not stored:
            continue
        assert json.loads(next(lines)) == {"section": section["name"]}
        content = [next(lines) for _ in range(section["records"])]
        assert sum(map(len, content)) == section["size"]
        assert hashlib.sha256(b"".join(content)).hexdigest() == section["sha256"]
        found[section["name"]] = [json.loads(line) for line in content]
        total += len(content)
    assert json.loads(next(lines)) == {"end": True, "lines": total}
    assert next(lines, None) is None
    assert hashlib.sha256(listing.encode()).hexdigest() == header["payload_sha256"]
    for name, items in found.items():
        if not name.startswith("host:"):
            keys = [item["key"] for item in items]
            assert keys == sorted(keys)
            assert all({"key", "position", "text", "raw"} == item.keys() for item in items)
    return header, found


def test_the_page_is_enough_to_write_a_reader(past: Store) -> None:
    header, found = read_by_the_page(exported(past))
    backup = past.backups.list()[0]
    assert header["backup"]["id"] == backup.id
    assert header["payload_sha256"] == backup.payload_sha256
    assert found["host:stations"] == [{"id": 1, "name": "Bar"}, {"id": 2, "name": "Garden"}]
    wanted = past.backups.plan_restore(backup.id)
    assert len(found["event_inventory"]) == 40
    assert wanted.plan.counts.removed == 1  # what came after the backup
    texts = {tuple(item["key"]): item["text"] for item in found["setting"]}
    assert set(texts) == {(record.parts[0],) for record in state(past) if record.kind == "setting"
                          and record.parts[0] != "n4"}  # fmt: skip


def test_public_tools_read_it(past: Store, tmp_path: Path) -> None:
    """zstd passes over the seal."""
    file = tmp_path / "a.zst"
    file.write_bytes(exported(past))
    text = subprocess.run(["zstd", "-dc", str(file)], capture_output=True, check=True).stdout
    assert json.loads(text.splitlines()[-1])["end"] is True


@pytest.mark.parametrize("name", ["archive-v1.expresso.zst", "archive-v1.expresso.zst.age"])
def test_archives_of_version_1_stay_readable(store: Store, name: str) -> None:
    """Written once, by version 0.1.0; never to be written anew."""
    identity = (FIXTURES / "archive-v1.key").read_text().strip()
    stored = store.backups.import_(FIXTURES / name, identities=[identity])
    assert stored.payload_sha256 == (
        "01567d11dd7312cfde175274c1cce64f3f57fabf1c9ea21b86dd148d82ee453c"
    )
    store.backups.restore(stored.id, actor="test")
    assert store.inventory.settings()["event_name"] == "Kaffee & Küche ☕"
    assert store.inventory.verify().ok


# -- any byte ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["plain", "encrypted"])
def test_any_flipped_byte_is_refused_and_nothing_written(
    past: Store, empty: Store, how: str
) -> None:
    """As many random flips as EXPRESSO_ARCHIVE_FLIPS says, of bits at any place."""
    chance = random.Random(7)
    recipients = [str(KEY.to_public())] if how == "encrypted" else []
    whole = exported(past, recipients=recipients)
    before = everything(empty)
    refused = 0
    for _ in range(FLIPS // 2):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        with pytest.raises(ArchiveRefused):
            empty.backups.import_(io.BytesIO(damaged), identities=[str(KEY)])
        refused += 1
    assert refused == FLIPS // 2
    assert everything(empty) == before


@pytest.mark.parametrize("how", ["plain", "encrypted"])
def test_what_is_cut_or_has_an_appendix_is_refused(past: Store, empty: Store, how: str) -> None:
    recipients = [str(KEY.to_public())] if how == "encrypted" else []
    whole = exported(past, recipients=recipients)
    before = everything(empty)
    cuts = [*range(60), *range(60, len(whole), 97), *range(len(whole) - 60, len(whole))]
    for damaged in (
        *(whole[:cut] for cut in cuts),
        *(whole + more for more in (b"\0", b"\n", whole[-40:], zstandard.compress(b"{}\n"), whole)),
        whole[1:],
        whole[40:],
    ):
        with pytest.raises(ArchiveRefused):
            empty.backups.import_(io.BytesIO(damaged), identities=[str(KEY)])
    assert everything(empty) == before


# -- made to harm -----------------------------------------------------------------------------

Lines = list[Any]


def line_of(record: dict[str, Any]) -> bytes:
    """A line in the form of the page, even around half a surrogate pair."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii="\\ud8" in json.dumps(record))
    return text.encode() + b"\n"


def seal(lines: Lines, **frame: Any) -> bytes:
    """What somebody who knows the format makes of any lines: everything fits."""
    data = b"".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
    )
    packed = zstandard.ZstdCompressor(write_checksum=True, **frame).compress(data)
    return packed + bytes.fromhex("5e2a4d1820000000") + hashlib.sha256(packed).digest()


def forged(edit: Callable[[Lines], None] = lambda _: None, tenant: str = "default") -> Lines:
    """Lines of a small archive, edited, with all checksums made to fit."""
    record = {"key": ["a"], "position": 0, "text": '{"x":1}', "raw": None}
    body: Lines = [record, {**record, "key": ["b"]}]
    edit(body)
    raw = [line_of(record) for record in body]
    digest = hashlib.sha256(b"".join(raw)).hexdigest()
    sections = [
        {
            "name": "setting", "records": len(raw), "size": sum(map(len, raw)), "sha256": digest,
            "state": "stored", "note": "", "chunks": [],
        }
    ]  # fmt: skip
    payload = hashlib.sha256(f"{digest}  setting\n".encode()).hexdigest()
    backup = {
        "id": "0" * 32, "tenant": tenant, "backup_type": "manual",
        "created_at": "2026-01-01T00:00:00Z", "actor": "x", "notes": "", "epoch": "0" * 16,
        "revision": 1, "head_hash": "0" * 64, "format": 1, "library": "0.1.0",
        "sections": sections,
    }  # fmt: skip
    return [
        {
            "format": "expresso-persist-archive", "version": 1, "payload_sha256": payload,
            "backup": backup,
        },
        {"section": "setting"},
        *raw,
        {"end": True, "lines": len(body)},
    ]  # fmt: skip


def test_a_forgery_that_is_in_order_is_an_archive(empty: Store) -> None:
    """Otherwise the next tests would prove nothing."""
    stored = empty.backups.import_(io.BytesIO(seal(forged())))
    assert empty.backups.restore(stored.id, actor="x").plan.counts.added == 2


def replace(**members: Any) -> Callable[[Lines], None]:
    return lambda body: body[0].update(members)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(replace(key=["b"]), id="a key twice"),
        pytest.param(replace(key=["c"]), id="not sorted"),
        pytest.param(replace(key=["a", "b"]), id="too many parts"),
        pytest.param(replace(key=[]), id="no parts"),
        pytest.param(replace(key="a"), id="a key that is a text"),
        pytest.param(replace(key=[1]), id="a key that is a number"),
        pytest.param(replace(key=["a\0"]), id="a null character"),
        pytest.param(replace(key=["\ud800"]), id="half a surrogate pair"),
        pytest.param(replace(key=["a" * 100_000]), id="a key without end"),
        pytest.param(replace(position=-1), id="a negative place"),
        pytest.param(replace(position=2**70), id="a place beyond all numbers"),
        pytest.param(replace(position="0"), id="a place that is a text"),
        pytest.param(replace(text='{"x":1'), id="text that is no JSON"),
        pytest.param(replace(text="NaN"), id="not a number"),
        pytest.param(replace(text='{"x":1,"x":2}'), id="a member twice"),
        pytest.param(replace(text="[" * 5000 + "]" * 5000), id="nested without end"),
        pytest.param(replace(more=1), id="a member that is none"),
        pytest.param(lambda body: body.append({"text": "1", "key": ["c"]}), id="members left out"),
        pytest.param(replace(text=5), id="text that is none"),
        pytest.param(replace(raw=5), id="raw that is no text"),
        pytest.param(replace(text="1e999"), id="a number beyond all numbers"),
    ],
)
def test_records_that_cannot_be_are_refused_whatever_their_checksums(
    empty: Store, edit: Callable[[Lines], None]
) -> None:
    before = everything(empty)
    with pytest.raises((ArchiveRefused, PayloadTooLarge)):
        empty.backups.import_(io.BytesIO(seal(forged(edit))))
    assert everything(empty) == before


def header(**members: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[0].update(members)


def backup(**members: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[0]["backup"].update(members)


def section(**members: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[0]["backup"]["sections"][0].update(members)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(header(version=2), id="a later version"),
        pytest.param(header(version=0), id="version 0"),
        pytest.param(header(version="1"), id="a version that is a text"),
        pytest.param(header(format="zip"), id="another format"),
        pytest.param(header(payload_sha256="0" * 64), id="another checksum"),
        pytest.param(backup(tenant="other"), id="another tenant"),
        pytest.param(backup(format=2), id="a later format of the backup"),
        pytest.param(backup(created_at="yesterday"), id="no time"),
        pytest.param(backup(created_at="2026-01-01T00:00:00"), id="a time without a zone"),
        pytest.param(backup(revision=-1), id="a negative revision"),
        pytest.param(backup(revision=2**70), id="a revision beyond all numbers"),
        pytest.param(backup(notes="x" * 2000), id="notes without end"),
        pytest.param(backup(actor="x" * 2000), id="an actor without end"),
        pytest.param(backup(sections=[]), id="no sections"),
        pytest.param(section(name="../../etc/passwd"), id="a path for a name"),
        pytest.param(section(name="users"), id="a table that is none of ours"),
        pytest.param(section(name="host:"), id="a host's table without a name"),
        pytest.param(section(records=1), id="fewer records"),
        pytest.param(section(records=3), id="more records"),
        pytest.param(section(records=-1), id="a negative count"),
        pytest.param(section(records=10**15), id="a count beyond all counts"),
        pytest.param(section(size=1), id="another size"),
        pytest.param(section(size=2**62), id="a size beyond all sizes"),
        pytest.param(section(state="absent"), id="absent, and there"),
        pytest.param(section(state="funny"), id="a state that is none"),
        pytest.param(section(chunks=["0" * 64]), id="chunks of somebody else"),
        pytest.param(lambda lines: lines.pop(), id="no end"),
        pytest.param(lambda lines: lines[-1].update(lines=3), id="another number of lines"),
        pytest.param(lambda lines: lines.append({"more": 1}), id="something after the end"),
        pytest.param(lambda lines: lines[1].update(section="layout"), id="another section"),
        pytest.param(lambda lines: lines[0]["backup"].pop("id"), id="no id"),
        pytest.param(lambda lines: lines.insert(0, {}), id="something before the header"),
    ],
)
def test_lines_that_contradict_each_other_are_refused(
    empty: Store, edit: Callable[[Lines], None]
) -> None:
    lines = forged()
    edit(lines)
    before = everything(empty)
    with pytest.raises((ArchiveRefused, PayloadTooLarge)) as caught:
        empty.backups.import_(io.BytesIO(seal(lines)))
    assert "/etc" not in caught.value.message
    assert everything(empty) == before


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "x" * 32, "A" * 32, ""])
def test_an_id_that_is_none_is_replaced(empty: Store, name: str) -> None:
    """It would become part of paths and file names."""
    lines = forged()
    backup(id=name)(lines)
    stored = empty.backups.import_(io.BytesIO(seal(lines)))
    assert len(stored.id) == 32
    assert {*stored.id} <= {*"0123456789abcdef"}


def test_bombs_are_refused_before_they_are_expanded(store: Store) -> None:
    """A few bytes that would become very many; a line without end; a window without end."""
    limits = ArchiveLimits(compressed=10**6, expanded=10**7, ratio=50, line=10**5)
    backups = BackupManager(store.database, store.inventory, archive_limits=limits)
    before = everything(store)
    zeros = b'{"section":"setting"}\n' * 10**6
    hostile = {
        "many lines": seal([*forged()[:1], zeros]),
        "one line": seal([*forged()[:1], b'"' + b"x" * 10**6 + b'"\n']),
        "too large": os.urandom(2 * 10**6),
        "a large frame": b"\x28\xb5\x2f\xfd" + os.urandom(2 * 10**6),
    }
    for name, data in hostile.items():
        with pytest.raises((ArchiveRefused, PayloadTooLarge)):
            backups.import_(io.BytesIO(data))
        assert everything(store) == before, name
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(os.urandom(10**5)) + compressor.flush()
    wide = packed + bytes.fromhex("5e2a4d1820000000") + hashlib.sha256(packed).digest()
    with pytest.raises(ArchiveRefused):
        store.backups.import_(io.BytesIO(wide))


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"{}", b"\x28\xb5\x2f\xfd", b"\x1f\x8b" * 100, b"\0" * 500]
)
def test_other_files_are_no_archives(empty: Store, data: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        empty.backups.import_(io.BytesIO(data))


# -- whose it is, and what becomes of it ------------------------------------------------------


def test_another_tenant_must_be_named(past: Store, empty: Store) -> None:
    data = exported(past)
    other = empty.for_tenant("other")
    with pytest.raises(ArchiveRefused, match="another tenant"):
        other.backups.import_(io.BytesIO(data))
    stored = other.backups.import_(io.BytesIO(data), from_tenant="default")
    other.backups.restore(stored.id, actor="test")
    assert not empty.backups.list()
    assert empty.inventory.stats()["settings"] == 0


def test_what_was_imported_stays_and_confirms_nothing(past: Store, empty: Store) -> None:
    """It tells nothing about the state here, and no rule drops it."""
    imported = empty.backups.import_(io.BytesIO(exported(past)))
    assert imported.backup_type == "imported"
    empty.backups.restore(imported.id, actor="test")
    automatic = empty.backups.create("automatic")
    assert automatic.id != imported.id
    for number in range(60):
        empty.inventory.commit([Put(Setting.of("n", data=number))], actor="test")
        empty.backups.create("automatic")
    empty.backups.rotate()
    assert empty.backups.get(imported.id).confirmed_at is None
    assert empty.backups.verify(imported.id).ok


def test_the_same_archive_twice_is_one_backup(past: Store, empty: Store) -> None:
    data = exported(past)
    first = empty.backups.import_(io.BytesIO(data))
    rows = everything(empty)
    assert empty.backups.import_(io.BytesIO(data)).id == first.id
    assert {**everything(empty), "leases": []} == {**rows, "leases": []}
    assert past.backups.import_(io.BytesIO(data)).id == first.id  # where it came from


def test_keys_and_passphrases(past: Store, empty: Store) -> None:
    stranger = pyrage.x25519.Identity.generate()
    for_two = exported(past, recipients=[str(KEY.to_public()), str(stranger.to_public())])
    secret = exported(past, passphrase="four words are enough")
    before = everything(empty)
    for data, how in (
        (for_two, {}),
        (secret, {}),
        (for_two, {"identities": [str(pyrage.x25519.Identity.generate())]}),
        (for_two, {"passphrase": "four words are enough"}),
        (secret, {"passphrase": "four words are not"}),
        (secret, {"identities": [str(KEY)]}),
    ):
        with pytest.raises(ArchiveRefused) as caught:
            empty.backups.import_(io.BytesIO(data), **how)  # type: ignore[arg-type]
        assert "four words" not in caught.value.message
        assert "AGE-SECRET" not in caught.value.message
    assert everything(empty) == before
    assert b"station" not in for_two + secret
    assert empty.backups.import_(io.BytesIO(for_two), identities=[str(stranger)])
    assert empty.backups.import_(io.BytesIO(secret), passphrase="four words are enough")
    for wrong in ({"recipients": ["age1nonsense"]}, {"passphrase": ""},
                  {"recipients": [str(KEY.to_public())], "passphrase": "x"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            exported(past, **wrong)


# -- memory, and the disk ---------------------------------------------------------------------

_BOUNDED = """
    import io, os, resource, sys
    from expresso_persist import Store
    url, path, verb = sys.argv[1:]
    with Store(url, migrate=True) as store:
        store.backups.list()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if verb == "export":
            store.backups.export(store.backups.list()[0].id, path)
        else:
            transfer = store.backups._transfer
            from expresso_persist.backups.encryption import Encryption
            with open(path, "rb") as file:
                transfer.import_(file, Encryption())
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_memory_does_not_grow_with_the_state(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    """Export and import hold a small part of 60 MB of random text."""
    chance = random.Random(3)
    size = 0
    for batch in range(6):
        some = [
            Setting.of(f"s{batch}-{n}", data=chance.randbytes(25_000).hex()) for n in range(200)
        ]
        size += sum(len(record.text) for record in some)
        store.inventory.commit([Put(record) for record in some], actor="test")
    store.backups.create()
    path = tmp_path / "large.expresso.zst"
    used = {}
    other = f"sqlite:///{tmp_path}/other.db"
    for verb, url in (("export", database_url), ("import", other)):
        command = [sys.executable, "-c", textwrap.dedent(_BOUNDED), url, str(path), verb]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        used[verb] = int(done.stdout)
    assert path.stat().st_size > size / 3
    assert used["export"] < size / 3, used
    assert used["import"] < size * 0.75, used


def test_an_export_that_is_killed_leaves_no_archive(
    past: Store, database_url: str, tmp_path: Path
) -> None:
    """Nor does it touch the one that was there."""
    path = tmp_path / "a.expresso.zst"
    path.write_bytes(b"older")
    script = """
        import os, signal, sys
        from expresso_persist import Store
        with Store(sys.argv[1]) as store:
            backup = store.backups.list()[0].id
            store.backups.export(
                backup, sys.argv[2], progress=lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            )
    """
    command = [sys.executable, "-c", textwrap.dedent(script), database_url, str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    assert path.read_bytes() == b"older"
    past.backups.export(past.backups.list()[0].id, path)
    read_by_the_page(path.read_bytes())


def test_an_export_that_fails_leaves_no_archive(past: Store, tmp_path: Path) -> None:
    def full(_done: int, _all: int) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "exports"
    folder.mkdir()
    with pytest.raises(OSError, match="No space"):
        past.backups.export(past.backups.list()[0].id, folder / "a", progress=full)
    assert not [*folder.iterdir()]
