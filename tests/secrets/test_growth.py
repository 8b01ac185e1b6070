"""Time grows with the text and no faster, whatever the text is.

Every regular expression of the project is found by reading its sources, and run as it is used
there on hostile text of growing length. A busy machine makes single runs slow, never all of
them, so the fastest of a few counts; and what is quadratic takes 16 times as long for a text
of four times the length, where twice the linear growth is still let through.
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

import expresso_persist
from expresso_persist import Store, jsontext, secrets
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.importing.dump import read_dump
from expresso_persist.updates import read_update

SIZES = (1_000, 4_000, 16_000, 64_000)
UNNOTICED = 0.01  # seconds: below, the clock says nothing
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


def alternatives(tree: Any) -> list[str]:
    """Short texts that a parsed pattern takes, one for each of its branches at least."""
    texts = [""]
    for code, value in tree:
        name = str(code)
        if name == "LITERAL":
            options = [chr(value)]
        elif name == "NOT_LITERAL":
            options = ["x" if value != ord("x") else "y"]
        elif name == "ANY":
            options = ["x"]
        elif name == "IN":
            options = members(value)
        elif name == "BRANCH":
            options = [text for branch in value[1] for text in alternatives(branch)]
        elif name == "SUBPATTERN":
            options = alternatives(value[-1])
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = value
            options = [text * max(least, 1) for text in alternatives(inner)]
        else:  # anchors and what looks ahead
            options = [""]
        width = max(len(texts), len(options))
        texts = [texts[i % len(texts)] + options[i % len(options)] for i in range(width)][:40]
    return texts


def members(value: Any) -> list[str]:
    """Two characters of a class, or one that it does not exclude."""
    found: list[str] = []
    for code, item in value:
        name = str(code)
        if name == "NEGATE":
            return [next(c for c in "xy0 !" if c not in excluded(value))]
        if name == "LITERAL":
            found.append(chr(item))
        elif name == "RANGE":
            found += [chr(item[0]), chr(item[1])]
        elif name == "CATEGORY":
            found += ["0" if "DIGIT" in str(item) else " " if "SPACE" in str(item) else "x"]
    return found[:2] if found else ["x"]


def excluded(value: Any) -> str:
    return "".join(chr(item) for code, item in value if str(code) == "LITERAL")


def hostile(pattern: re.Pattern[str]) -> list[str]:
    """Units to repeat: what a pattern takes, what it almost takes, and its characters."""
    examples = alternatives(re._parser.parse(pattern.pattern, pattern.flags))[:12]
    units: dict[str, None] = {}
    for example in examples:
        for cut in sorted({len(example), len(example) - 1, len(example) // 2, 1, 3}):
            if 0 < cut <= len(example):
                units[example[:cut]] = units[example[:cut] + "!"] = None
        units[example + "!"] = units[" " + example] = None
    characters = sorted({c for example in examples for c in example} | set(" =:.\"'\\@/"))
    units |= dict.fromkeys(characters[:40])
    return [*units]


def texts(units: list[str], length: int) -> Iterator[str]:
    for unit in units:
        yield (unit * (length // len(unit) + 1))[:length]
        if len(unit) > 1:  # once, and then a run of what comes last
            yield unit + unit[-1] * length
            yield unit[:-1] * 3 + unit[-1] * length + "!"


def fastest(run: Callable[[str], object], text: str) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        run(text)
        times.append(time.perf_counter() - begun)
        if times[-1] < UNNOTICED:
            break
    return min(times)


def assert_linear(run: Callable[[str], object], units: list[str], what: str) -> None:
    """The smaller sizes first: what is quadratic is found before it takes minutes."""
    makers = [[*texts(units, size)] for size in SIZES]
    for versions in zip(*makers, strict=True):
        for shorter, longer in itertools.pairwise(versions):
            after = fastest(run, longer)
            if after < UNNOTICED:
                continue
            before = max(fastest(run, shorter), UNNOTICED / 8)
            assert after < 8 * before, (
                f"{what}: {after:.3f} s for {len(longer)} characters, {before:.3f} s for "
                f"{len(shorter)}: {longer[:60]!r}…"
            )


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


ACCENTS = "\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}"
UNITS = [
    *("y", "=", ":", "a=", "password", "password=", "password=*", 'pin":', "userPin", "-_.", "é"),
    *("eyJ", "eyJaaaa.", "eyJaaaa.aaaa", ".", "ZXlK", "ZXlKaaaa", "bearer ", "bearer%20", "://"),
    *("://a:", "://a:b", "-----BEGIN ", "-----BEGIN PRIVATE ", "AKIA", "ghp_", "sk-", "SG.", "xox"),
    *("\\u0070", "\\", "\\\\u", '"', '\\"', "{", "[", '{"a":', '["', "[[", "}", "_a", "aB", "pass"),
    *(
        "mot_de_passe",
        "contraseña ",
        "\u3000",
        ACCENTS,
        "a" + ACCENTS,
        "İ",
        "ﬃ",
        "\u200b",
        "🫘",
        "٣",
    ),
    *("SK" + "0" * 31 + "!", "0" * 31 + "-", "12345678:A", "key-", "_live_", "token", "tokens:"),
]


@pytest.mark.parametrize("unit", UNITS)
def test_looking_for_secrets_is_linear(unit: str) -> None:
    """In a text, in a name, in a value, in JSON inside a string, in a whole dump."""
    with Store("sqlite://", migrate=True) as store:

        def run(text: str) -> None:
            secrets.is_secret_text(text)
            secrets.is_secret_name(text)
            secrets.scan({"a": text, text: {"password": text, "b": [text, '["' + text]}})
            store.importer.plan({"event_notes": text, "b": jsontext.dumps({"a": text})})

        assert_linear(run, [unit], "secrets")


def nested(count: int, name: str) -> str:
    """Many members below one long name."""
    return '{"%s":{%s}}' % (name * count, ",".join(f'"password{i}":"x"' for i in range(count)))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: nested(n // 20, "n" * 10),
        lambda n: "[" * 60 + ",".join(["1"] * n) + "]" * 60,
        lambda n: (
            '{"a":"\\ud83d\\ude00","%s":{%s}}'
            % ("n" * n, ",".join(f'"{i}":1' for i in range(n // 10)))
        ),
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
    make: Callable[[int], str], key: str
) -> None:
    """The reader of JSON, the dump's, the walk for secrets, the layouts, and the plan."""
    with Store("sqlite://", migrate=True) as store:

        def run(text: str) -> None:
            store.importer.plan({"localStorage": {key: text}})
            try:
                read_dump(f'{{"localStorage":{{"a":{text}}}}}')
                read_update("setting", {"key": "a", "value": jsontext.loads(text)})
            except ExpressoPersistError:
                return

        for shorter, longer in itertools.pairwise((4_000, 16_000, 64_000)):
            after = fastest(run, make(longer))
            before = max(fastest(run, make(shorter)), UNNOTICED / 8)
            assert after < 8 * before + UNNOTICED


def test_a_megabyte_is_as_fast_to_plan_whatever_it_is() -> None:
    """The largest string that is accepted: a small multiple of the time for plain words."""
    assert expresso_persist is not None
    with Store("sqlite://", migrate=True) as store:

        def run(text: str) -> None:
            store.importer.plan({"event_notes": text})

        plain = fastest(run, ("plain words of an event " * 50_000)[: 1024**2])
        times = {unit: fastest(run, (unit * 1024**2)[: 1024**2]) for unit in UNITS}
        slow = {unit: round(seconds / plain, 1) for unit, seconds in times.items() if seconds > 1}
        assert slow == {}, f"plain words take {plain:.3f} s"
