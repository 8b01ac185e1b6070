"""A damaged archive is refused in a sentence, and nothing is written.

``EXPRESSO_FLIPS`` is the number of flipped bytes in each kind of archive, 1,000 when it is
not set: 2,000 together.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa

import archives
from backed_up import give_a_past
from expresso_persist import Store
from expresso_persist.errors import ArchiveRefused
from expresso_persist.model.records import Put, Setting

FLIPS = int(os.environ.get("EXPRESSO_FLIPS", "1000"))
KEY = pyrage.x25519.Identity.generate()
OPENED = {"identities": [str(KEY)]}


def written(store: Store, *, encrypted: bool) -> bytes:
    file = io.BytesIO()
    recipients = [str(KEY.to_public())] if encrypted else []
    store.backups.export(store.backups.create().id, file, recipients=recipients)
    return file.getvalue()


def archives_of_several_sizes(*, encrypted: bool) -> list[bytes]:
    """From an empty state to one of several blocks."""
    found = []
    with Store("sqlite://", migrate=True) as store:
        found.append(written(store, encrypted=encrypted))
        give_a_past(store)
        found.append(written(store, encrypted=encrypted))
        noise = random.Random(3)
        store.inventory.commit(
            [Put(Setting.of(f"noise{i}", data=noise.randbytes(900).hex())) for i in range(400)],
            actor="test",
        )
        found.append(written(store, encrypted=encrypted))
    assert len(found[-1]) > 300_000
    return found


@pytest.fixture
def refused(store: Store) -> Callable[..., None]:
    """Imports a file, which has to be refused with nothing written."""
    give_a_past(store)
    witness = archives.Witness(store.database.engine)

    def check(data: bytes, **options: Any) -> None:
        with pytest.raises(ArchiveRefused) as caught:
            store.backups.import_(io.BytesIO(data), **options)
        message = caught.value.message
        assert message.startswith(("The archive ", "The file is no archive"))
        assert message.endswith(".")
        witness.assert_nothing_written()

    return check


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_any_flipped_byte_is_found(
    store: Store, refused: Callable[..., None], encrypted: bool
) -> None:
    chance = random.Random(f"flips {encrypted}")
    small, usual, large = archives_of_several_sizes(encrypted=encrypted)
    count = FLIPS if store.database.dialect == "sqlite" else FLIPS // 20
    for number in range(count):
        data = bytearray(chance.choices([small, usual, large], [10, 10, 1])[0])
        # The beginning and the end are few bytes that mean much.
        low, high = chance.choice([(0, len(data)), (0, 300), (len(data) - 60, len(data))])
        place = chance.randrange(low, high)
        data[place] ^= chance.randint(1, 255)
        try:
            refused(bytes(data), **OPENED)
        except BaseException as error:
            error.add_note(f"flip {number}: byte {place} of {len(data)}, now {data[place]}")
            raise


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_piece_of_an_archive_is_none(refused: Callable[..., None], encrypted: bool) -> None:
    """Whatever is cut off its end, its beginning or its middle, or put after it."""
    small, usual, large = archives_of_several_sizes(encrypted=encrypted)
    for data in (small, usual):
        step = 1 if data is small and not encrypted else 13
        for size in {*range(0, len(data), step), *range(len(data) - 45, len(data))}:
            refused(data[:size], **OPENED)
    for size in (100_000, 262_144, len(large) - 41, len(large) - 40, len(large) - 1):
        refused(large[:size], **OPENED)
    middle = len(usual) // 2
    for data in (
        usual[1:],
        usual[:middle] + usual[middle + 1 :],
        usual + b"\0",
        usual + b"\n",
        usual + usual,
        usual + small,
        large + b"x" * 300_000,
        b"\0" + usual,
    ):
        refused(data, **OPENED)


def test_what_is_no_archive_is_refused(refused: Callable[..., None]) -> None:
    for data in (b"", b"PK\3\4", b"{}", b"\x1f\x8b" * 100, archives.SEAL + bytes(32)):
        refused(data)
    refused(archives.sealed(b""))
    refused(b"age-encryption.org/v1\n", **OPENED)
    refused(b"age-encryption.org/v1\n-> X25519 x\n", **OPENED)


def test_what_is_encrypted_for_others_stays_closed(refused: Callable[..., None]) -> None:
    """Another key, a passphrase instead of a key, nothing at all; no secret is told."""
    data = archives_of_several_sizes(encrypted=True)[0]
    other = str(pyrage.x25519.Identity.generate())
    for options in ({}, {"identities": [other]}, {"passphrase": "open sesame"}):
        refused(data, **options)
    with Store("sqlite://", migrate=True) as store:
        with pytest.raises(ArchiveRefused) as caught:
            store.backups.import_(io.BytesIO(data), identities=[other])
        assert other not in repr(caught.value)
        file = io.BytesIO()
        store.backups.export(store.backups.create().id, file)
        assert store.backups.import_(io.BytesIO(file.getvalue()), **OPENED), "a key does no harm"
        with store.database.read() as connection:
            assert connection.scalar(sa.text("SELECT COUNT(*) FROM data_backups")) == 1


def test_a_file_that_arrives_in_crumbs_is_read(store: Store) -> None:
    """A socket gives what it has, be it a byte."""

    class Crumbs(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._file = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece = self._file.read(min(len(buffer), 7))
            buffer[: len(piece)] = piece
            return len(piece)

    for encrypted in (False, True):
        data = archives_of_several_sizes(encrypted=encrypted)[1]
        assert store.backups.import_(Crumbs(data), **OPENED).verified_at is not None
