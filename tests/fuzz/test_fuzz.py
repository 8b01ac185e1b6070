"""A few seconds of fuzzing every day; README.md here has the long form and its last result."""

from __future__ import annotations

import functools
import os

import hypothesis
import pytest
from hypothesis import strategies as st

from fuzz_targets import TARGETS, seeds

EXAMPLES = int(os.environ.get("EXPRESSO_FUZZ_EXAMPLES", "60"))


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_known_already(name: str) -> None:
    """Real inputs, and all that was found once."""
    found = [*seeds(name)]
    assert found
    for data in found:
        TARGETS[name](data)


@functools.cache
def known(name: str) -> list[bytes]:
    return [*seeds(name)]


PIECES = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\\u0000", b"\\ud800", b"\\", b"-0.0",
    b"1e999", b"9" * 40, b"null", b"true", b'"id"', b'"name"', b'""', b"[" * 150, b'{"a":' * 120,
    b"\xff", b"\xc3\xa9", b"\x00", b"NaN",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with some of it cut out, doubled, moved, overwritten."""
    data = draw(st.sampled_from(known(name)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        how = draw(st.integers(0, 3))
        if how == 0:
            piece = draw(st.sampled_from(PIECES))
        elif how == 1:
            piece = draw(st.binary(max_size=8))
        elif how == 2:
            start = draw(st.integers(0, len(data)))
            piece = data[start : start + draw(st.integers(0, 200))]
        else:
            piece = data[at:end] * draw(st.integers(0, 3))
        data = data[:at] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged(name: str) -> None:
    @hypothesis.given(data=damaged(name) | st.binary(max_size=200))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="EXPRESSO_FUZZ_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def attack(data: bytes) -> None:
        TARGETS[name](data)

    attack()
