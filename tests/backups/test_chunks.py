"""Pieces of a state: the same state gives the same pieces, a small change few new ones."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist.backups.chunks import MAX_SIZE, cut
from expresso_persist.backups.manifest import (
    Manifest,
    Section,
    decode_records,
    encode_records,
    payload_sha256,
    section_of,
)
from expresso_persist.backups.packing import ancestors, pack, unpack
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import EventItem, Record


def items(count: int) -> list[Record]:
    return [
        EventItem.of(f"cat{i % 7}", f"item-{i}", data={"name": f"Item {i}", "n": i}, position=i)
        for i in range(count)
    ]


def pieces(records: list[Record]) -> set[str]:
    return {chunk.sha256 for part in encode_records(records) for chunk in cut(part.lines)}


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
records = st.lists(
    st.builds(
        lambda category, item, data, position, raw: EventItem.of(
            category, item, data=data, position=position, raw=raw
        ),
        text,
        text,
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
            max_leaves=5,
        ),
        st.integers(0, 1000),
        st.none() | text,
    ),
    max_size=30,
    unique_by=lambda record: record.parts,
)


@given(records, st.randoms())
def test_a_state_comes_back_whatever_its_order(state: list[Record], shuffle: random.Random) -> None:
    """Sections depend on the contents only, and decode to the same records."""
    mixed = state.copy()
    shuffle.shuffle(mixed)
    for part, other in zip(encode_records(state), encode_records(mixed), strict=True):
        assert part == other
        chunks = list(cut(part.lines))
        section = section_of(part, [chunk.sha256 for chunk in chunks])
        pieces_ = [chunk.data for chunk in chunks]
        found = [record for batch in decode_records(section, pieces_) for record in batch]
        assert found == sorted(
            (r for r in state if r.kind == part.name), key=lambda record: record.parts
        )


def test_one_changed_record_costs_one_piece() -> None:
    """All other pieces are those of the state before."""
    before = items(40_000)
    after = before.copy()
    after[1234] = EventItem.of(*before[1234].parts, data={"name": "other"}, position=1234)
    assert len(pieces(before)) > 20
    assert len(pieces(after) - pieces(before)) == 1


def test_an_insertion_does_not_shift_the_rest() -> None:
    """A new record costs one piece wherever it sorts."""
    before = items(40_000)
    after = [*before, EventItem.of("cat0", "item-0a", data={"name": "new"})]
    assert len(pieces(after) - pieces(before)) <= 2


def test_pieces_are_bounded() -> None:
    """No piece grows beyond the limit, even where keys never hash to a boundary."""
    big = [EventItem.of("c", f"i{i}", data={"x": "y" * 5000}) for i in range(1000)]
    sizes = [len(chunk.data) for part in encode_records(big) for chunk in cut(part.lines)]
    assert max(sizes) < MAX_SIZE + 6000


@given(st.binary(max_size=3000), st.data())
def test_any_changed_byte_of_a_piece_is_found(data: bytes, draw: st.DataObject) -> None:
    """Whichever byte of the stored form changes, and however: it is refused."""
    import hashlib

    sha256, stored = hashlib.sha256(data).hexdigest(), pack(data).data
    assert unpack(sha256, stored) == data
    place = draw.draw(st.integers(0, len(stored) - 1))
    flipped = bytearray(stored)
    flipped[place] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(BackupCorrupted):
        unpack(sha256, bytes(flipped))
    with pytest.raises(BackupCorrupted):
        unpack(sha256, stored[:place])


def manifest() -> Manifest:
    import datetime as dt

    return Manifest(
        id="a" * 32,
        tenant="default",
        backup_type="manual",
        created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        actor="Zoë",
        notes="a note",
        epoch="e",
        revision=7,
        head_hash="h",
        sections=(
            Section("event_inventory", 1, 10, "0" * 64, ("1" * 64,)),
            Section("host:orders", 0, 0, "", state="absent"),
        ),
    )


def test_any_changed_byte_of_a_manifest_is_found() -> None:
    """Its checksum covers everything; the envelope around it is checked as well."""
    encoded = manifest().encode().encode()
    assert Manifest.decode(encoded.decode()) == manifest()
    chance = random.Random(7)
    for place in range(len(encoded)):
        flipped = bytearray(encoded)
        flipped[place] ^= 1 << chance.randrange(7)
        with pytest.raises(BackupCorrupted):
            Manifest.decode(flipped.decode("utf-8", "replace"))


def test_a_manifest_of_a_later_format_is_refused_with_the_reason() -> None:
    """The sentence says what to do."""
    import attrs

    with pytest.raises(BackupCorrupted, match="Upgrade"):
        Manifest.decode(attrs.evolve(manifest(), format=2).encode())


def test_the_state_checksum_is_what_sha256sum_writes() -> None:
    """Anybody can compute it from the sections with public tools."""
    import hashlib

    listing = f"{'0' * 64}  event_inventory\nabsent  host:orders\n"
    assert payload_sha256(manifest().sections) == hashlib.sha256(listing.encode()).hexdigest()


@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=20, max_size=60, unique=True),
    st.data(),
)
def test_any_changed_byte_of_a_difference_is_found(lines: list[bytes], draw: st.DataObject) -> None:
    """A piece that is stored as what differs is read with its base, and with no other."""
    import hashlib

    base = b"\n".join(lines) * 8
    data = base.replace(lines[draw.draw(st.integers(0, 9))], b"other")
    sha256 = hashlib.sha256(data).hexdigest()
    packed = pack(data, ("base", base))
    if packed.base is None:  # nothing was gained by it
        return
    stored = packed.data
    assert unpack(sha256, stored, base) == data
    with pytest.raises(BackupCorrupted):
        unpack(sha256, stored)
    with pytest.raises(BackupCorrupted):
        unpack(sha256, stored, bytes(reversed(base)))
    place = draw.draw(st.integers(0, len(stored) - 1))
    flipped = bytearray(stored)
    flipped[place] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(BackupCorrupted):
        unpack(sha256, bytes(flipped), base)


names = st.lists(st.sampled_from("abcdefghij"), max_size=8, unique=True)


@given(old=names, new=names)
def test_a_new_piece_is_compared_with_an_old_one(old: list[str], new: list[str]) -> None:
    """Only pieces that are new have an ancestor, and it is one of the old ones."""
    section = Section("setting", 0, 0, "", tuple(old))
    pairs = ancestors([section], [Section("setting", 0, 0, "", tuple(new))])
    assert pairs.keys() <= set(new)
    assert set(pairs.values()) <= set(old)
    assert all(name != ancestor for name, ancestor in pairs.items())
    if len(old) == len(new):
        assert pairs == {n: o for o, n in zip(old, new, strict=True) if o != n}
