"""Time grows with the text and no faster, whatever the text is.

Every regular expression of the project is found by reading its sources, and run as it is used
there on hostile text of growing length. What counts is the time of the processor that the
fastest of a few runs took, so that a busy machine changes nothing; and what is quadratic takes
16 times as long for a text of four times the length, where twice the linear growth is still let
through.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.dump import read_dump
from expresso_persist.importing.importer import LocalStorageImporter
from expresso_persist.model import json_text, secrets
from expresso_persist.stock.requests import read_update
from hostile import UNITS, hostile, texts

SIZES = (1_000, 4_000, 16_000, 64_000)  # each four times the one before
UNNOTICED = 0.05  # seconds: below, a clock says nothing; 64,000² steps take far longer
METHODS = ("fullmatch", "match", "search", "sub", "subn", "split", "findall", "finditer")
PACKAGES = ("expresso_persist", "expresso_persist_flask", "expresso_persist_fastapi")


def modules() -> Iterator[Any]:
    for name in PACKAGES:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError:  # where no framework is installed
            continue
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "migrations" not in found.name and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def compiled(value: Any, depth: int = 3) -> Iterator[re.Pattern[str]]:
    """The patterns in a module's attribute, also in lists and the like."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from compiled(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from compiled([*value.values()], depth)


def used(module: Any) -> Iterator[tuple[re.Pattern[str], str]]:
    """The patterns of a module, each with a way in which it is used."""
    with open(module.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    ways: dict[str, set[str]] = {}
    for call in calls:
        receiver = call.func.value
        if isinstance(receiver, ast.Name) and call.func.attr in METHODS:
            ways.setdefault(receiver.id, set()).add(call.func.attr)
    for name, value in vars(module).items():
        for pattern in compiled(value):
            for way in ways.get(name, {"finditer"}):
                yield pattern, way
    for call in calls:
        receiver = call.func.value
        if isinstance(receiver, ast.Name) and receiver.id == "re" and call.func.attr in METHODS:
            expression = compile(ast.Expression(call.args[0]), module.__file__, "eval")
            yield re.compile(eval(expression, vars(module))), call.func.attr


PATTERNS = sorted({(p.pattern, p.flags, way) for module in modules() for p, way in used(module)})


def fastest(run: Callable[[str], object], text: str, enough: float = UNNOTICED) -> float:
    """Seconds of the fastest of five runs, or of the first that takes less than ``enough``."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        run(text)
        times.append(time.process_time() - begun)
        if times[-1] < enough:
            break
    return min(times)


def assert_linear(run: Callable[[str], object], units: list[str], what: str) -> None:
    """The smaller sizes first: what is quadratic is found before it takes minutes."""
    for versions in zip(*([*texts(units, size)] for size in SIZES), strict=True):
        before = fastest(run, versions[0])
        for text in versions[1:]:
            # Even if it went on with the square, nobody would notice at the largest size.
            if before * (len(versions[-1]) / len(text) * 4) ** 2 < UNNOTICED:
                break
            after = fastest(run, text, max(5 * before, UNNOTICED))  # linear is four times
            assert after < max(8 * before, UNNOTICED), (
                f"{what}: {after:.3f} s for {len(text)} characters, {before:.3f} s for a "
                f"quarter: {text[:60]!r}…"
            )
            before = after


def test_the_patterns_are_found() -> None:
    """Otherwise the tests below say nothing."""
    assert len(PATTERNS) > 50
    assert {way for _, _, way in PATTERNS} >= {"fullmatch", "search", "sub", "finditer"}


@pytest.mark.parametrize(
    ("pattern", "flags", "way"), PATTERNS, ids=[f"{way} {p[:40]}" for p, _, way in PATTERNS]
)
def test_every_regular_expression_is_linear(pattern: str, flags: int, way: str) -> None:
    expression = re.compile(pattern, flags)

    def run(text: str) -> object:
        if way == "finditer":
            return sum(1 for _ in expression.finditer(text))
        return expression.sub("", text) if way == "sub" else getattr(expression, way)(text)

    assert_linear(run, hostile(expression), f"{way} {pattern}")


def test_the_check_finds_what_is_quadratic() -> None:
    """The expression that froze the server, and a text that no database can compare."""
    old = re.compile(r"""["']?([A-Za-z_.-]*(?:password|token))["']?\s*[:=]\s*([^\s"',;}]+)""")
    with pytest.raises(AssertionError, match="characters"):
        assert_linear(old.search, ["y"], "old")


@pytest.fixture(scope="module")
def importer() -> Iterator[LocalStorageImporter]:
    with Store("sqlite://", migrate=True) as store:
        yield store.importer


@pytest.mark.parametrize("unit", UNITS)
def test_looking_for_secrets_is_linear(unit: str) -> None:
    """In a text, in a name, in a value, in JSON inside a string."""

    def run(text: str) -> None:
        secrets.is_secret_text(text)
        secrets.is_secret_name(text)
        secrets.scan({"a": text, text: {"password": text, "b": ['["' + text]}})

    assert_linear(run, [unit], "secrets")


def below(name: str, member: Callable[[int], str], count: int, before: str = "") -> str:
    """Many members below one long name."""
    return f'{{{before}"{name}":{{{",".join(member(i) for i in range(count))}}}}}'


@pytest.mark.parametrize(
    "make",
    [
        lambda n: below("n" * (n // 2), lambda i: f'"password{i}":"x"', n // 20),
        lambda n: "[" * 60 + ",".join(["1"] * n) + "]" * 60,
        lambda n: below("n" * n, lambda i: f'"{i}":1', n // 10, '"a":"\\ud83d\\ude00",'),
        lambda n: "[" + ",".join(['"[[["'] * (n // 6)) + "]",
        lambda n: "[" * n,
        lambda n: '{"a":' * n,
        lambda n: "[" + ",".join(['{"a":1,"a":2}'] * (n // 14)) + "]",
        lambda n: "1" * n,
        lambda n: '{"a":' + "1" * n + "}",
        lambda n: "[" + ",".join(f'{{"id":"same","x":{i}}}' for i in range(n // 20)) + "]",
    ],
)
@pytest.mark.parametrize("key", ["event_notes", "event_inventory", "coffee_stock_station_1"])
def test_documents_of_hostile_shapes_are_read_in_linear_time(
    importer: LocalStorageImporter, make: Callable[[int], str], key: str
) -> None:
    """The reader of JSON, the dump's, the walk for secrets, the layouts, and the plan."""

    def run(text: str) -> None:
        importer.plan({"localStorage": {key: text}})
        try:
            read_dump(f'{{"localStorage":{{"a":{text}}}}}')
            read_update("setting", {"key": "a", "value": json_text.loads(text)})
        except ExpressoPersistError:
            return

    for shorter, longer in itertools.pairwise((4_000, 16_000, 64_000)):
        after = fastest(run, make(longer))
        if after > UNNOTICED:
            assert after < 8 * max(fastest(run, make(shorter)), UNNOTICED / 8)


def test_a_megabyte_is_planned_as_fast_whatever_it_is(importer: LocalStorageImporter) -> None:
    """The largest string that is accepted takes a small multiple of the time for plain words."""

    def run(text: str) -> None:
        importer.plan({"event_notes": text})

    def repeated(unit: str) -> str:
        return (unit * (1024**2 // len(unit) + 1))[: 1024**2]

    limit = 25 * max(fastest(run, repeated("plain words of an event ")), UNNOTICED / 2)
    for unit in UNITS:
        assert fastest(run, repeated(unit), limit) < limit, unit
