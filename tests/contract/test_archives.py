"""Archives over HTTP, on both frameworks: down, up, and what is refused on the way."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyrage
import pytest
import zstandard

import archives
from backed_up import contents, give_a_past
from expresso_persist import Store
from expresso_persist.backups import ArchiveLimits, BackupManager
from expresso_persist.http import BearerTokens
from expresso_persist.testing import TOKENS
from mounted import Answer, Client

UPLOAD = "/api/migration/import-archive"
ZSTD = {"Content-Type": "application/zstd"}


def download(client: Client, backup_id: str, query: str = "", **options: Any) -> Answer:
    return client("GET", f"/api/migration/backups/{backup_id}/archive{query}", **options)


def upload(client: Client, data: bytes, query: str = "", **options: Any) -> Answer:
    return client("POST", UPLOAD + query, data, **{"headers": ZSTD, **options})


@pytest.fixture
def made(store: Store) -> str:
    give_a_past(store)
    return store.backups.create(notes="before the doors open").id


def test_a_download_is_an_archive(client: Client, store: Store, made: str) -> None:
    """A file with a name, of known length, that no cache keeps, equal to the command's."""
    answer = download(client, made)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/zstd"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].endswith(f'-{made[:8]}.expresso.zst"')
    assert archives.read(answer.body).header["backup"]["id"] == made
    file = io.BytesIO()
    store.backups.export(made, file)
    assert answer.body == file.getvalue()


def test_an_archive_of_elsewhere_is_stored_and_restored(client: Client, store: Store) -> None:
    with Store("sqlite://", migrate=True) as elsewhere:
        give_a_past(elsewhere)
        file = io.BytesIO()
        elsewhere.backups.export(elsewhere.backups.create().id, file)
        wanted = contents(elsewhere)
    for kind in ("application/zstd", "application/octet-stream"):
        answer = upload(client, file.getvalue(), headers={"Content-Type": kind})
        assert answer.status == 200
        stored = answer.json["data"]
        assert (stored["backup_type"], stored["backup_status"]) == ("imported", "completed")
        assert stored["verified_at"] is not None
    assert contents(store) == [], "nothing is restored by an upload"
    path = f"/api/migration/backups/{stored['id']}/restore"
    assert client("POST", path).status == 200
    assert contents(store) == wanted


def test_a_download_can_be_encrypted(client: Client, store: Store, made: str) -> None:
    """For one key or more; a server holds no key, so it takes no encrypted one back."""
    keys = [pyrage.x25519.Identity.generate() for _ in range(2)]
    query = "?recipient=" + ",".join(str(key.to_public()) for key in keys)
    answer = download(client, made, query)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].endswith('.expresso.zst.age"')
    for key in keys:
        assert archives.read(pyrage.decrypt(answer.body, [key]))
    back = upload(client, answer.body)
    assert (back.status, back.json["code"]) == (422, "archive_refused")
    assert "encrypted" in back.json["error"]
    wrong = download(client, made, "?recipient=somebody")
    assert wrong.status == 422
    assert "somebody" not in wrong.json["error"]


def test_hostile_uploads_are_refused(client: Client, store: Store, made: str) -> None:
    """With 4xx and a sentence, whatever they are; nothing is written, nothing falls over."""
    good = download(client, made).body
    witness = archives.Witness(store.database.engine)

    def forged(change: Callable[[archives.Archive], Any]) -> bytes:
        archive = archives.read(good)
        change(archive)
        return archive.write()

    bomb = zstandard.compress(b"{" + b" " * 200 * 1024**2)
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 4
    for name, data in {
        "nothing": b"",
        "no archive": b"PK\3\4" + bytes(1000),
        "JSON": b'{"updates": []}',
        "a flipped byte": bytes(flipped),
        "a cut": good[:-1],
        "an appendix": good + b"x",
        "a bomb": archives.sealed(bomb),
        "a later version": forged(lambda archive: archive.header.update(version=2)),
        "a path": forged(lambda archive: archive.header["backup"].update(id="../../x")),
        "a deep line": forged(
            lambda archive: archive.sections.update(setting=[b"[" * 50_000 + b"\n"])
        ),
        "a line that lies": forged(
            lambda archive: (
                archive.sections.update(setting=[archives.line({"key": ["a"], "text": "NaN"})]),
                archive.describe(),
            )
        ),
    }.items():
        answer = upload(client, data)
        assert (answer.status, answer.json["code"]) == (422, "archive_refused"), name
        assert answer.json["error"].endswith("."), name
        witness.assert_nothing_written()
    assert upload(client, good, headers={"Content-Type": "text/html"}).status == 415
    compressed = {**ZSTD, "Content-Encoding": "gzip"}
    assert upload(client, good, headers=compressed).status == 415
    assert upload(client, good, "?from_tenant=other").status == 422
    assert upload(client, good, token="write-token").status == 403
    assert upload(client, good, token=None).status == 401
    assert download(client, made, token="read-token").status == 403
    assert download(client, "..%2f..%2fetc").status == 404
    witness.assert_nothing_written()


def test_the_hosts_limits_hold(mount: Any, store: Store, made: str) -> None:
    """What is too large answers 413 before it is unpacked."""
    file = io.BytesIO()
    store.backups.export(made, file)
    data = file.getvalue()
    send = mount(store, authorize=BearerTokens(TOKENS))
    headers = {**ZSTD, "Authorization": "Bearer admin-token"}

    def limit(**limits: int) -> Answer:
        store.backups = BackupManager(
            store.database, store.inventory, archive_limits=ArchiveLimits(**limits)
        )
        answer: Answer = send("POST", UPLOAD, headers, data)
        return answer

    witness = archives.Witness(store.database.engine)
    assert limit(compressed=len(data) - 1).status == 413
    assert limit(expanded=100).status == 422
    assert limit(line=100).status == 422
    witness.assert_nothing_written()
    assert limit().status == 200


def test_a_damaged_backup_is_no_download(client: Client, store: Store, made: str) -> None:
    """The status tells, not a connection that breaks off in the middle."""
    from expresso_persist.db.tables import backup_chunks

    with store.database.write() as connection:
        connection.execute(backup_chunks.delete())
    answer = download(client, made)
    assert (answer.status, answer.json["code"]) == (409, "backup_corrupted")
