"""JSON as a browser writes it: value to text to value, and text to value to text."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from expresso_persist.errors import InvalidInput, MalformedJson
from expresso_persist.model import json_text

finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def canonical(value: Any) -> Any:
    """The value with its numbers as JavaScript would write them."""
    if isinstance(value, float):
        return json_text.canonical_number(value)
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    return value


@given(value=values)
def test_what_is_written_is_read_again(value: Any) -> None:
    value = canonical(value)
    text = json_text.dumps(value)
    again = json_text.loads(text)
    assert again == value
    assert json_text.dumps(again) == text
    assert list_names(again) == list_names(value)


def list_names(value: Any) -> list[str]:
    """Member names in order, depth first."""
    if isinstance(value, dict):
        return [n for name, item in value.items() for n in (name, *list_names(item))]
    if isinstance(value, list):
        return [name for item in value for name in list_names(item)]
    return []


@given(number=finite)
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(2.0**69)
@example(9007199254740993.0)
def test_a_number_keeps_its_value(number: float) -> None:
    again = json_text.loads(json_text.dumps(json_text.canonical_number(number)))
    assert isinstance(again, (int, float))
    assert float(again) == number
    assert not (again == 0 and math.copysign(1, again) < 0)  # JSON.stringify(-0) is "0"


@pytest.mark.skipif(shutil.which("node") is None, reason="compares with a JavaScript engine")
def test_numbers_are_written_as_javascript_writes_them() -> None:
    """To the letter where JavaScript writes no exponent and no leading 0.0000."""
    numbers = [
        sign * digits * 10.0**power
        for power in range(-30, 20)
        for digits in (1.0, 1.5, 1.2345678901234567, 9.999999999999998)
        for sign in (1, -1)
    ]
    program = f"console.log(JSON.stringify({json.dumps(numbers)}))"
    theirs = subprocess.run(
        ["node", "-e", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    written = [json_text.dumps(json_text.canonical_number(number)) for number in numbers]
    for number, their, our in zip(numbers, theirs[1:-1].split(","), written, strict=True):
        assert float(their) == float(our) == number
        if 1e-4 <= abs(number) < 1e21:
            assert our == their


@given(st.lists(st.tuples(texts, st.integers()), min_size=2, max_size=5))
def test_a_member_that_is_there_twice_is_found(pairs: list[tuple[str, int]]) -> None:
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert json_text.loads(text, reject_duplicates=True) == dict(pairs)
    else:
        with pytest.raises(InvalidInput):
            json_text.loads(text, reject_duplicates=True)
        assert json_text.loads(text) == dict(pairs)


@given(depth=st.integers(1, 200), opened=st.lists(st.booleans(), min_size=200, max_size=200))
def test_nesting_is_bounded_exactly(depth: int, opened: list[bool]) -> None:
    shape = opened[:depth]
    text = "".join('{"a":' if is_map else "[" for is_map in shape) + "1"
    text += "".join("}" if is_map else "]" for is_map in reversed(shape))
    if depth <= json_text.MAX_DEPTH:
        json_text.loads(text)
    else:
        with pytest.raises(InvalidInput):
            json_text.loads(text)


@given(text=st.text(st.sampled_from('[]{},:"\\0123456789.eE+-nulltrfasN I\ud800\0é'), max_size=30))
def test_no_text_is_a_crash(text: str) -> None:
    try:
        value = json_text.loads(text, reject_duplicates=True, reject_unstorable=True)
    except (MalformedJson, InvalidInput):
        return
    json_text.dumps(value)


@given(value=values, bad=st.sampled_from(["\0", "a\ud800b"]), as_name=st.booleans())
def test_what_no_database_can_store_is_found(value: Any, bad: str, as_name: bool) -> None:
    hidden = {"outer": [value, {bad: 1} if as_name else {"name": [bad]}]}
    with pytest.raises(InvalidInput, match="surrogate"):
        json_text.loads(json.dumps(hidden), reject_unstorable=True)
