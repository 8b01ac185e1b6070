"""Text that makes a careless regular expression, parser or merge slow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

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
    *("&", "&#", "&#0", "&#x0", "&#112;", "&amp;", "&amp", "&equals;", "&a", "%", "%25", "%3D"),
    *("%C3", "%u0070", "\\x70", "\\160", "\\u{", "\\u{0", "\\n", "<br>", "<wbr", "\x00", "a1\n"),
    *("a=\r\n", "a \n ", "a\n> ", "\n", " \n", "dXNlcjpwYXNz", "dXNl", "dXNl!", "पि", "\u093f"),
    *("비밀번호", "पासवर्ड: ", "data:\n", "kind: Secret\n", "<add ", "curl -u", ' -u"a:'),
    *("SK" + "0" * 31 + "!", "0" * 31 + "-", "12345678:A", "key-", "_live_", "token", "tokens:"),
]
"""Pieces of secrets, names, escapes and accents, to repeat."""


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
