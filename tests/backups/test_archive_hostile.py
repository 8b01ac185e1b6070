"""Archives by somebody who knows the format: every checksum is right, the contents are not.

Each is refused in a sentence before anything is written. What one of them would do once it
were stored and restored is why: answers to everybody spoiled, restores that fail half-way.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

import archives
from archives import Archive, line
from backed_up import contents, give_a_past
from expresso_persist import Store
from expresso_persist.backups import ArchiveLimits, BackupManager
from expresso_persist.errors import ArchiveRefused, PayloadTooLarge

Forge = Callable[[Archive], Any]


@pytest.fixture(scope="module")
def model() -> bytes:
    """A good archive, with rows of a table of the host."""
    with Store("sqlite://", migrate=True) as store:
        give_a_past(store)
        store.importer.import_(
            {"event_inventory": '{"milk":[{"id":"oat"}]}', "event_broken": '{"latte":'}, actor="x"
        )
        file = io.BytesIO()
        store.backups.export(store.backups.create().id, file)
        return file.getvalue()


@pytest.fixture
def witness(store: Store) -> archives.Witness:
    give_a_past(store)
    return archives.Witness(store.database.engine)


def refuse(
    store: Store, witness: archives.Witness, data: bytes, says: str = "", name: str = ""
) -> None:
    try:
        with pytest.raises(ArchiveRefused) as caught:
            store.backups.import_(io.BytesIO(data))
        assert caught.value.message.startswith(("The archive", "The file is no archive"))
        assert says in caught.value.message
        assert len(caught.value.message) < 300
        witness.assert_nothing_written()
    except BaseException as error:
        error.add_note(name)
        raise


def test_the_forger_knows_the_format(store: Store, model: bytes) -> None:
    """What is refused below is refused for what was forged, not for how."""
    archive = archives.read(model)
    copy = archives.read(archive.describe().write())
    assert (copy.header, copy.sections) == (archive.header, archive.sections)
    archive.sections["setting"] = [line(record("fast", text='{"a":1}'))]
    stored = store.backups.import_(io.BytesIO(archive.describe().write()))
    store.backups.restore(stored.id, actor="test")
    assert store.inventory.settings() == {"fast": {"a": 1}}


# -- the first line -------------------------------------------------------------------------


def backup(**values: Any) -> Forge:
    return lambda archive: archive.header["backup"].update(values)


def header(**values: Any) -> Forge:
    return lambda archive: archive.header.update(values)


def listed(place: int, **values: Any) -> Forge:
    return lambda archive: archive.listed[place].update(values)


def first(change: Callable[[bytes], bytes]) -> Forge:
    def forge(archive: Archive) -> None:
        archive.first = change(line(archive.header))

    return forge


def twice(archive: Archive) -> None:
    archive.listed.append(archive.listed[0])


def renamed(name: str) -> Forge:
    """Call the rows of the host's table something else, checksums and all."""

    def forge(archive: Archive) -> None:
        for section in archive.listed:
            if section["name"] == "host:stations":
                section["name"] = name
        archive.sections[name] = archive.sections.pop("host:stations")
        archive.describe()

    return forge


HEADERS: dict[str, tuple[Forge, str]] = {
    "a later version": (header(version=2), "Upgrade"),
    "a version before the first": (header(version=0), "version 0"),
    "a version in words": (header(version="1"), "no archive"),
    "half a version": (header(version=1.5), "no archive"),
    "another format": (header(format="tar"), "no archive"),
    "a later format of the backup": (backup(format=2), "Upgrade"),
    "no format of the backup": (backup(format=0), "values that no backup has"),
    "a path for an id": (backup(id="../../../etc/passwd"), "values that no backup has"),
    "an id in capitals": (backup(id="A" * 32), "values that no backup has"),
    "an id with a line feed": (backup(id="a" * 32 + "\n"), "values that no backup has"),
    "another tenant": (backup(tenant="../other"), "another tenant"),
    "no time": (backup(created_at="soon"), "no archive"),
    "no time zone": (backup(created_at="2026-01-31T10:00:00"), "values that no backup has"),
    "another time zone": (
        backup(created_at="2026-01-31T10:00:00+02:00"), "values that no backup has"
    ),
    "before the first year": (
        backup(created_at="0001-01-01T00:00:00+14:00"), "values that no backup has"
    ),
    "after the last year": (
        backup(created_at="9999-12-31T23:59:59-14:00"), "values that no backup has"
    ),
    "before computers": (backup(created_at="1815-12-10T00:00:00Z"), "values that no backup has"),
    "a negative revision": (backup(revision=-1), "values that no backup has"),
    "a huge revision": (backup(revision=2**63), "values that no backup has"),
    "an endless revision": (backup(revision=10**30), ""),
    "long notes": (backup(notes="x" * 1001), "values that no backup has"),
    "notes with a NUL": (backup(notes="a\0b"), "values that no backup has"),
    "an epoch with a NUL": (backup(epoch="\0"), "values that no backup has"),
    "a long actor": (backup(actor="x" * 10_000), "values that no backup has"),
    "half a surrogate pair": (
        first(lambda text: text.replace(b'"notes":"', b'"notes":"\\ud800')), "no archive"
    ),
    "sections as an object": (backup(sections={}), "no archive"),
    "a section twice": (twice, "contradicts itself"),
    "fewer than no records": (listed(0, records=-1), "contradicts itself"),
    "fewer than no bytes": (listed(0, size=-1), "contradicts itself"),
    "names of chunks": (listed(0, chunks=["a" * 64]), "contradicts itself"),
    "another checksum of all": (header(payload_sha256="0" * 64), "contradicts itself"),
    "records that are absent": (listed(0, state="absent"), "contradicts itself"),
    "a state of its own": (listed(0, state="lost"), "no archive"),
    "more bytes than anybody wants": (listed(0, size=10**13), "expands to more"),
    "a path for a kind": (renamed("../../etc/passwd"), "does not know"),
    "a path for a table": (renamed("host:../../etc/passwd"), "not named for a table"),
    "a path of Windows": (renamed("host:..\\x"), "not named for a table"),
    "a table without a name": (renamed("host:"), "not named for a table"),
    "a table that drives terminals": (renamed("host:\x1b[2J"), "not named for a table"),
    "a kind of tomorrow": (renamed("loyalty"), "upgrade"),
    "a very long name": (renamed("host:" + "x" * 5000), "values that no backup has"),
    "a member twice": (
        first(lambda text: text.replace(b'"version":1,', b'"version":1,"version":1,')),
        "no archive",
    ),
    "a member that nobody knows": (header(more=1), "other members"),
    "a member of the backup that nobody knows": (backup(more=1), "other members"),
    "a member of a section that nobody knows": (listed(0, more=1), "other members"),
    "a member of the backup too few": (
        lambda archive: archive.header["backup"].pop("library"), "other members"
    ),
    "a member of a section too few": (
        lambda archive: archive.listed[0].pop("note"), "other members"
    ),
    "not a number": (first(lambda text: text.replace(b":1,", b":NaN,")), "no archive"),
    "nested too deeply": (
        first(lambda text: b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"," + text[1:]),
        "no archive",
    ),
    "not UTF-8": (first(lambda text: text.replace(b'"notes":"', b'"notes":"\xff')), "no archive"),
    "two megabytes": (
        first(lambda text: b'{"x":"' + b"x" * 2**21 + b'",' + text[1:]), "first line is longer"
    ),
    "a list": (first(lambda text: b"[" + text[:-1] + b"]\n"), "no archive"),
    "nothing": (first(lambda _: b"\n"), "no archive"),
}  # fmt: skip


def test_first_lines_that_lie_are_refused(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    for name, (forge, says) in HEADERS.items():
        archive = archives.read(model)
        forge(archive)
        refuse(store, witness, archive.write(), says, name)


def test_a_kind_cannot_be_absent(store: Store, witness: archives.Witness, model: bytes) -> None:
    """Restored, it would be nothing; a reader of the list would think it was not taken."""
    archive = archives.read(model)
    (section,) = (item for item in archive.listed if item["name"] == "setting")
    archive.sections.pop("setting")
    section.update(state="unreadable", records=0, size=0)
    archive.header["payload_sha256"] = archives.payload(archive.listed)
    refuse(store, witness, archive.write(), "cannot be unreadable")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"section":"setting"}', b'{"section":"setting","more":1}'),
        (b'{"section":"setting"}', b'{"section": "setting"}'),
        (b'{"section":"setting"}', b'{"section":"document"}'),
        (b'{"end":true,', b'{"end":true,"more":1,'),
        (b'{"end":true,', b'{"end":false,'),
        (b'{"end":true,', b'{"end": true,'),
    ],
)
def test_lines_between_the_records_are_as_written(
    store: Store, witness: archives.Witness, model: bytes, old: bytes, new: bytes
) -> None:
    text = zstandard.ZstdDecompressor().decompressobj().decompress(model)
    assert text.count(old) == 1
    forged = zstandard.ZstdCompressor(write_checksum=True).compress(text.replace(old, new))
    refuse(store, witness, archives.sealed(forged), "not where it should be", str(new))


# -- the records ----------------------------------------------------------------------------


def record(*key: str, position: Any = 0, text: Any = "1", raw: Any = None) -> dict[str, Any]:
    return {"key": [*key], "position": position, "text": text, "raw": raw}


def settings(*lines: bytes) -> Forge:
    return lambda archive: archive.sections.update(setting=[*lines])


def of(kind: str, *lines: bytes) -> Forge:
    return lambda archive: archive.sections.update({kind: [*lines]})


def layout(text: Any, key: str = "event_inventory") -> Forge:
    return of("layout", line(record(key, text=text if isinstance(text, str) else json.dumps(text))))


GOOD = line(record("a", text='{"a":1}'))
DEEP = 5_000
LINES: dict[str, Forge] = {
    "no JSON": settings(b"a\n"),
    "an empty line": settings(b"\n"),
    "not UTF-8": settings(GOOD.replace(b"a", b"\xff", 1)),
    "a byte order mark": settings(b"\xef\xbb\xbf" + GOOD),
    "spaces": settings(json.dumps(record("a")).encode() + b"\n"),
    "a carriage return": settings(GOOD[:-1] + b"\r\n"),
    "a carriage return inside": settings(GOOD.replace(b",", b",\r", 1)),
    "letters that need no escape": settings(GOOD.replace(b'"a"', b'"\\u0061"', 1)),
    "members in another order": settings(
        line({"position": 0, "key": ["a"], "text": "1", "raw": None})
    ),
    "a member twice": settings(GOOD.replace(b'"position":0', b'"position":1,"position":0')),
    "a member too many": settings(GOOD.replace(b'"raw"', b'"more":1,"raw"')),
    "a member too few": settings(GOOD.replace(b',"raw":null', b"")),
    "a list": settings(b"[]\n"),
    "a key too short": settings(line(record())),
    "a key too long": settings(line(record("a", "b"))),
    "a key that is a number": settings(line({**record(), "key": [1]})),
    "a key with a NUL": settings(line(record("a\0"))),
    "a key with half a surrogate pair": settings(GOOD.replace(b'"a"', b'"\\ud800"', 1)),
    "a key that fits no index": settings(line(record("k" * 10_000))),
    "a key twice": settings(GOOD, GOOD),
    "an empty key twice": settings(line(record("")), line(record(""))),
    "keys that are not sorted": settings(line(record("b")), line(record("a"))),
    "a place beyond the column": settings(line(record("a", position=2**31))),
    "a place before the column": settings(line(record("a", position=-(2**31) - 1))),
    "a place beyond everything": settings(line(record("a", position=10**30))),
    "half a place": settings(line(record("a", position=0.5))),
    "not a number for a place": settings(line(record("a", position=float("nan")))),
    "a text that is a number": settings(line(record("a", text=1))),
    "an empty text": settings(line(record("a", text=""))),
    "a text that is no JSON": settings(line(record("a", text="{"))),
    "not a number": settings(line(record("a", text="NaN"))),
    "infinity": settings(line(record("a", text='{"n":-Infinity}'))),
    "more than a double": settings(line(record("a", text="1e999"))),
    "digits without end": settings(line(record("a", text="9" * 100_000))),
    "a text with a NUL": settings(line(record("a", text='"\\u0000"'))),
    "a text with half a surrogate pair": settings(line(record("a", text='"\\udc00"'))),
    "a text that is nested too deeply": settings(line(record("a", text="[" * 65 + "]" * 65))),
    "a text without a bottom": settings(line(record("a", text="[" * DEEP + "]" * DEEP))),
    "a line without a bottom": settings(b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}\n"),
    "a string with a NUL": settings(line(record("a", raw="\0"))),
    "a string that is none": settings(line(record("a", raw=1))),
    "a row that is a list": of("host:stations", b"[]\n"),
    "a row that is no JSON": of("host:stations", b"{\n"),
    "a row that is not a number": of("host:stations", b'{"a":NaN}\n'),
    "a row with a member twice": of("host:stations", b'{"a":1,"a":2}\n'),
    "a row without a bottom": of("host:stations", b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}\n"),
    "a layout that is a list": layout([]),
    "a layout without a skeleton": layout({"layout": "map"}),
    "a layout with bones of nothing": layout({"layout": "map", "skeleton": {"children": 1}}),
    "a layout of another container": layout({"layout": "map", "skeleton": {"container": "tree"}}),
    "a layout whose places are words": layout(
        {"layout": "map", "skeleton": {"container": "map", "literals": [["a", "b", 1]]}}
    ),
    "a layout of no document": layout(
        {"layout": "map", "skeleton": {"container": "map"}}, key="event_menu"
    ),
    "a layout without a bottom": layout("[" * DEEP + "]" * DEEP),
    "stock of no station": of("station_stock", line(record("", "milk", "oat"))),
    "a quarantined nothing": of("quarantined", line(record("a" * 32, text="{}"))),
    "a quarantined number": of(
        "quarantined",
        line(record("a" * 32, text=json.dumps({"key_json": "1", "raw_json": '"a"'}))),
    ),
}


def test_lines_that_nobody_writes_are_refused(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    for name, forge in LINES.items():
        archive = archives.read(model)
        forge(archive)
        forged = archive.describe().write()
        refuse(store, witness, forged, "The archive cannot be used: section '", name)


def test_what_is_wrong_at_the_very_end_comes_too_late_for_nothing(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    """Pieces are stored a batch at a time, but none before all of the archive was read."""
    archive = archives.read(model)
    noise = random.Random(7)
    good = [line(record(f"{i:04}", text=f'"{noise.randbytes(8192).hex()}"')) for i in range(900)]
    assert sum(map(len, good)) > 14 * MIB
    archive.sections["station_config"] = good
    archive.sections["station_stock"] = [line(record("1", "milk", "oat", text="NaN"))]
    names = [section["name"] for section in archive.listed]
    assert names.index("station_config") < names.index("station_stock")
    refuse(store, witness, archive.describe().write(), "'station_stock'")
    archive.sections["station_stock"] = []
    archive.end = {"end": True, "lines": 1}
    refuse(store, witness, archive.describe().write(), "last line is not where")
    archive.end = None
    whole = archive.write()
    refuse(store, witness, whole[:-1] + bytes([whole[-1] ^ 1]), "seal")
    stored = store.backups.import_(io.BytesIO(whole))
    assert stored.record_counts["station_config"] == 900


def test_a_layout_that_is_let_in_can_be_written_back(store: Store, model: bytes) -> None:
    """The dump and the page work after the restore of whatever came in."""
    archive = archives.read(model)
    layout({"layout": "x", "skeleton": {"container": "list", "literals": [[5, None, [1]]]}})(
        archive
    )
    stored = store.backups.import_(io.BytesIO(archive.describe().write()))
    store.backups.restore(stored.id, actor="test")
    assert len(contents(store)) == sum(
        count for count in stored.record_counts.values() if isinstance(count, int)
    ) - int(stored.record_counts["host:stations"])
    assert "event_inventory" in store.inventory.dump()["localStorage"]
    assert store.inventory.verify().ok


# -- how they stand together ----------------------------------------------------------------


def test_what_follows_is_what_was_announced(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    archive = archives.read(model)
    text = zstandard.ZstdDecompressor().decompressobj().decompress(model[:-40])
    lines = text.splitlines(keepends=True)
    last = len(lines) - 1
    section = next(i for i, item in enumerate(lines) if item.startswith(b'{"section":"setting"'))
    for forged in (
        lines[:last],  # no end
        [*lines, b"\n"],
        [*lines, lines[last]],
        [*lines[:last], b'{"end":true,"lines":1}\n'],
        [*lines[:last], b'{"end":false,"lines":%d}\n' % sum(map(len, archive.sections.values()))],
        [*lines[:section], *lines[section + 1 :]],
        [*lines[: section + 1], *lines[section + 2 :]],
        [*lines[: section + 1], lines[section + 1], *lines[section + 1 :]],
        [*lines[:section], b'{"section":"document"}\n', *lines[section + 1 :]],
        [*lines[:section], b'{"section":' + b"[" * DEEP + b"\n", *lines[section + 1 :]],
        lines[:1],
        [*lines[:last], lines[last][:-1]],  # a last line without its line feed
    ):
        refuse(store, witness, archives.sealed(zstandard.compress(b"".join(forged))))
    archive.listed[0]["records"] = 10**12
    refuse(store, witness, archive.write())
    archive.listed[0]["records"] = 2**70
    refuse(store, witness, archive.write())


# -- bombs ----------------------------------------------------------------------------------


def squeezed(*pieces: tuple[bytes, int], **options: Any) -> bytes:
    """Pieces with their numbers of repetitions, compressed as a stream."""
    parameters = zstandard.ZstdCompressionParameters(compression_level=3, **options)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = [compressor.compress(piece) for piece, count in pieces for _ in range(count)]
    return archives.sealed(b"".join([*frame, compressor.flush()]))


MIB = 1024**2


def test_bombs_do_not_go_off(store: Store, witness: archives.Witness, model: bytes) -> None:
    """A few kilobytes that expand to a gigabyte, in each way that the format has."""
    archive = archives.read(model)
    row = b'{"a":"' + b"x" * (MIB - 9) + b'"}\n'
    assert len(row) == MIB
    archive.sections["host:stations"] = [row]
    archive.describe()
    (section,) = (item for item in archive.listed if item["name"] == "host:stations")
    section.update(records=1000, size=1000 * MIB)
    archive.header["payload_sha256"] = archives.payload(archive.listed)
    head, tail = (
        b"".join([line(archive.header), *_before(archive, "host:stations")]),
        b'{"end":true,"lines":1}\n',
    )
    bomb = squeezed((head, 1), (row, 1000), (tail, 1))
    assert len(bomb) < MIB
    refuse(store, witness, bomb, "expands to more than is allowed")

    spaces = squeezed((b"{" + b" " * (MIB - 1), 1000))
    refuse(store, witness, spaces, "more than")
    refuse(store, witness, squeezed((head + b'{"a":"', 1), (b"x" * MIB, 1000)), "more than")
    refuse(store, witness, squeezed((b"\n" * MIB, 1000)), "no archive")
    # What a reader has to keep in memory to expand it is part of the price.
    window = squeezed((head, 1), (row, 20), window_log=27)
    refuse(store, witness, window, "cannot be decompressed")
    frames = zstandard.compress(b"") * 100_000
    refuse(store, witness, archives.sealed(frames))


def _before(archive: Archive, name: str) -> list[bytes]:
    """The lines up to the first of a section."""
    found = []
    for section in archive.listed:
        if section["state"] != "stored":
            continue
        found.append(line({"section": section["name"]}))
        if section["name"] == name:
            break
        found += archive.sections[section["name"]]
    return found


def test_a_host_decides_what_an_archive_may_cost(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    def import_(**limits: int) -> None:
        manager = BackupManager(
            store.database, store.inventory, archive_limits=ArchiveLimits(**limits)
        )
        manager.import_(io.BytesIO(model))

    with pytest.raises(PayloadTooLarge, match="larger than"):
        import_(compressed=len(model) - 1)
    for limits in ({"expanded": 100}, {"line": 100}):
        with pytest.raises(ArchiveRefused, match="more than"):
            import_(**limits)
    witness.assert_nothing_written()
    import_(compressed=len(model))


def test_a_frame_that_needs_something_else_is_refused(
    store: Store, witness: archives.Witness, model: bytes
) -> None:
    """A dictionary, or another archive inside."""
    text = zstandard.ZstdDecompressor().decompressobj().decompress(model[:-40])
    dictionary = zstandard.ZstdCompressionDict(text[:2000] * 4)
    frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(text)
    refuse(store, witness, archives.sealed(frame))
    refuse(store, witness, archives.sealed(zstandard.compress(model)))
