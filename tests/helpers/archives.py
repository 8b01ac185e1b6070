"""Archives without the library: read as docs/archive-format.md says, and forged.

Nothing of expresso_persist is imported for either; only so does a reader prove the page.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import attrs
import sqlalchemy as sa
import zstandard

SEAL = bytes.fromhex("5e2a4d1820000000")
KEYS = {
    "event_inventory": 2,
    "event_stock": 2,
    "station_config": 1,
    "station_quantity": 3,
    "station_stock": 3,
    "setting": 1,
    "document": 2,
    "layout": 1,
    "quarantined": 1,
}


def sealed(frame: bytes) -> bytes:
    """A frame with the seal that belongs to it."""
    return frame + SEAL + hashlib.sha256(frame).digest()


def line(value: Any) -> bytes:
    """A line as the page says that records are written."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


@attrs.define
class Archive:
    """The lines of an archive, which may be changed and sealed again."""

    header: dict[str, Any]
    sections: dict[str, list[bytes]]
    first: bytes = b""
    end: dict[str, Any] | None = None

    @property
    def listed(self) -> list[dict[str, Any]]:
        """What the header says of the sections."""
        listed: list[dict[str, Any]] = self.header["backup"]["sections"]
        return listed

    def describe(self) -> Archive:
        """Let the header fit the lines, as somebody would who wants to be believed."""
        known = {section["name"]: section for section in self.listed}
        for name, lines in self.sections.items():
            content = b"".join(lines)
            section = known.get(name)
            if section is None:
                section = {"name": name, "state": "stored", "note": "", "chunks": []}
                self.listed.append(section)
            section["records"] = len(lines)
            section["size"] = len(content)
            section["sha256"] = hashlib.sha256(content).hexdigest()
        self.header["payload_sha256"] = payload(self.listed)
        return self

    def write(self) -> bytes:
        """The file."""
        lines = [self.first or line(self.header)]
        for section in self.listed:
            if section["state"] == "stored":
                lines.append(line({"section": section["name"]}))
                lines += self.sections[section["name"]]
        count = sum(len(self.sections.get(section["name"], ())) for section in self.listed)
        lines.append(line(self.end or {"end": True, "lines": count}))
        return sealed(zstandard.ZstdCompressor(write_checksum=True).compress(b"".join(lines)))


def payload(listed: list[dict[str, Any]]) -> str:
    """The checksum of a state."""
    text = "".join(
        f"{item['sha256'] if item['state'] == 'stored' else item['state']}  {item['name']}\n"
        for item in listed
    )
    return hashlib.sha256(text.encode()).hexdigest()


def read(data: bytes) -> Archive:
    """Read an archive and check everything that the page promises of it."""
    frame, seal = data[:-40], data[-40:]
    assert seal == SEAL + hashlib.sha256(frame).digest()
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.window_size <= 8 * 1024**2
    assert parameters.has_checksum
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    text = decompressor.decompress(frame)
    assert decompressor.eof, "there is one frame"
    assert not decompressor.unused_data
    # What a public tool shows: the seal is passed over.
    whole = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    assert whole == text

    lines = io.BytesIO(text)
    first = lines.readline()
    header = json.loads(first)
    assert [*header] == ["format", "version", "payload_sha256", "backup"]
    assert (header["format"], header["version"]) == ("expresso-persist-archive", 1)
    backup = header["backup"]
    assert {*backup} == {
        "id", "tenant", "backup_type", "created_at", "actor", "notes", "epoch", "revision",
        "head_hash", "format", "library", "sections",
    }  # fmt: skip
    assert backup["format"] == 1
    assert backup["created_at"].endswith("Z")
    assert len(bytes.fromhex(backup["id"])) == 16
    assert header["payload_sha256"] == payload(backup["sections"])
    state: dict[str, list[bytes]] = {}
    for section in backup["sections"]:
        assert {*section} == {"name", "records", "size", "sha256", "state", "note", "chunks"}
        assert section["chunks"] == []
        if section["state"] != "stored":
            assert section["name"].startswith("host:")
            assert section["records"] == section["size"] == 0
            continue
        assert lines.readline() == line({"section": section["name"]})
        content = [lines.readline() for _ in range(section["records"])]
        assert sum(map(len, content)) == section["size"]
        assert hashlib.sha256(b"".join(content)).hexdigest() == section["sha256"]
        _check_lines(section["name"], content)
        state[section["name"]] = content
    end = json.loads(lines.readline())
    assert end == {"end": True, "lines": sum(map(len, state.values()))}
    assert lines.read() == b""
    return Archive(header, state)


def _check_lines(name: str, content: list[bytes]) -> None:
    if name.startswith("host:"):
        assert all(isinstance(json.loads(item), dict) for item in content)
        return
    records = [json.loads(item) for item in content]
    assert [line(record) for record in records] == content
    keys = [record["key"] for record in records]
    assert keys == sorted(keys)
    assert len({*map(tuple, keys)}) == len(keys)
    for record in records:
        assert [*record] == ["key", "position", "text", "raw"]
        assert len(record["key"]) == KEYS[name]
        assert -(2**31) <= record["position"] < 2**31
        json.loads(record["text"])


class Witness:
    """Remembers every row of every table there is, of any origin."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._metadata = sa.MetaData()
        self._metadata.reflect(engine)
        self._before = self._rows()

    def _rows(self) -> dict[str, list[Any]]:
        with self._engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
                for table in self._metadata.sorted_tables
            }

    def assert_nothing_written(self) -> None:
        assert self._rows() == self._before
