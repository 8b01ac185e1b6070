"""Recognising secrets, by the name they have and by what they look like.

Pure. Whatever is found here is never stored, never logged and never sent back; a finding
names the place, never the value. The rules are in ``secret_rules``; ``web/secrets.js`` applies
them in the browser, function by function as here.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterable

import attrs

from expresso_persist.errors import ExpressoPersistError, InvalidInput, Problem
from expresso_persist.model import json_text, plain_text, secret_rules
from expresso_persist.model.json_text import Json
from expresso_persist.model.plain_text import folded
from expresso_persist.model.secret_rules import Assignment

__all__ = ["Scan", "findings", "is_secret_name", "is_secret_text", "refuse", "refuse_text", "scan"]

_MAX_LISTED = 100
_CACHED_NAME = 64


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def _joined(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.replace("_", "") for word in words)


_FORMATS = [(format_.hints, _compiled(format_.pattern)) for format_ in secret_rules.FORMATS]
_HINTS = ("eyj", "zxlk", "://", *(hint for hints, _ in _FORMATS for hint in hints))
_JWT = _compiled(secret_rules.JWT)
_BASE64_JWT = _compiled(secret_rules.BASE64_JWT)
_URL_PASSWORD = _compiled(secret_rules.URL_PASSWORD)
_OPAQUE = _compiled(secret_rules.OPAQUE)
_USER_PASSWORD = _compiled(secret_rules.USER_PASSWORD)
_MAY_HIDE = _compiled(plain_text.MAY_HIDE)
_BASE64_TEXT = _compiled(plain_text.BASE64_TEXT)
_ASSIGNMENTS = [(_compiled(rule.pattern), rule) for rule in secret_rules.ASSIGNMENTS.values()]
_ASCII_ASSIGNMENTS = [(pattern, rule) for pattern, rule in _ASSIGNMENTS if rule.ascii]
_CONTAINED = _joined(secret_rules.CONTAINED)
_LATIN = tuple(word for word in _CONTAINED if word.isascii())
_FINAL = _joined(secret_rules.FINAL)
_SHORT = frozenset(_joined(secret_rules.SHORT))
_CAMEL = _compiled("([a-z0-9])([A-Z])")
_DOCUMENT = ("{", "[")
_DIGITS = "0123456789"
_BETWEEN_WORDS = re.compile("(?:[^\\w\u0900-\u0963\u0966-\u0dff]|_)+")
"""Vowels are marks, no letters, in the scripts of India."""


@attrs.frozen
class Scan:
    """A value without its secrets.

    Attributes:
        value: What is left; ``None`` where :attr:`whole` is true.
        removed: Paths of the members that were taken out.
        whole: The value as a whole is a secret.
    """

    value: Json
    removed: tuple[str, ...] = ()
    whole: bool = False


def is_secret_name(name: str) -> bool:
    """Whether a member of this name holds a secret, in any case and with any separators."""
    return _known_name(name) if len(name) <= _CACHED_NAME else _is_secret_name(name)


def is_secret_text(text: str, name: str = "") -> bool:
    """Whether a text is a secret, or holds one: by its format, or as in ``password=…``.

    Args:
        text: Any text, JSON or not.
        name: What it is called; a secret's name makes any text but a placeholder one.
    """
    if name and text and is_secret_name(name) and not _is_placeholder(text):
        return True
    plain = text if text.isascii() else folded(text)
    signs = ":" in plain or "=" in plain
    if not signs and len(plain) < secret_rules.FORMAT_MINIMUM:
        return _MAY_HIDE.search(plain) is not None and _hides_secret(text, plain)
    lower = plain.lower()
    if _has_format(plain, lower) or (signs and _is_assigned(plain, lower)):
        return True
    if _MAY_HIDE.search(plain) is not None:
        return _hides_secret(text, plain)
    if _BASE64_TEXT.search(plain) is not None and _holds_encoded(plain):
        return True
    return plain[:1] in _DOCUMENT and _is_secret_json(plain)


def scan(value: Json, name: str = "") -> Scan:
    """Take the secrets out of a JSON value.

    Args:
        value: The value.
        name: What it is called; a secret's name makes a non-empty string a secret.
    """
    if isinstance(value, str):
        return Scan(None, whole=True) if is_secret_text(value, name) else Scan(value)
    under = is_secret_name(name)
    if not _holds_secret(value, under):
        return Scan(value)
    removed: list[tuple[str, str]] = []
    cleaned = _clean(value, "", under, removed)
    return Scan(cleaned, tuple(path for path, _ in removed))


def findings(value: Json, name: str = "") -> list[tuple[str, str]]:
    """Paths and texts of the secrets in a JSON value; the value's own path is empty."""
    if isinstance(value, str):
        return [("", value)] if is_secret_text(value, name) else []
    found: list[tuple[str, str]] = []
    under = is_secret_name(name)
    if _holds_secret(value, under):
        _clean(value, "", under, found)
    return found


def refuse_text(**texts: str | None) -> None:
    """Refuse texts that are secrets or hold one.

    Args:
        texts: What they are called in the request, and what they are.

    Raises:
        InvalidInput: The problems name those that do.
    """
    refuse([name for name, text in texts.items() if text and is_secret_text(text)])


def refuse(places: Iterable[str]) -> None:
    """Refuse what holds secrets at these places.

    Raises:
        InvalidInput: There is such a place; the value is nowhere in it.
    """
    listed = list(places)[:_MAX_LISTED]
    if listed:
        raise InvalidInput(
            f"{listed[0]} looks like a secret; tokens and passwords are never stored here. "
            "Keep it in the server's environment.",
            problems=[Problem(place, "looks like a secret") for place in listed],
        )


# -- names ------------------------------------------------------------------------------------


def _is_secret_name(name: str) -> bool:
    plain = folded(name)
    if _names_secret(plain):
        return True
    return _MAY_HIDE.search(plain) is not None and any(
        map(_names_secret, plain_text.versions(name))
    )


def _names_secret(name: str) -> bool:
    plain = _CAMEL.sub(r"\1 \2", name).lower()
    words = [word for word in _BETWEEN_WORDS.split(plain) if word]
    joined = "".join(words)
    for word in _LATIN if joined.isascii() else _CONTAINED:  # a loop: every name comes here
        if word in joined:
            return True
    if joined.endswith(_FINAL) or joined.removesuffix("s").endswith(_FINAL):
        return True
    words = [word.rstrip(_DIGITS) for word in words]
    while words and (not words[-1] or words[-1] in secret_rules.QUALIFIERS):
        words.pop()
    return bool(words) and (words[-1] in _SHORT or "".join(words) in secret_rules.EXACT)


_known_name = functools.lru_cache(maxsize=4096)(_is_secret_name)


def _is_bad_name(name: str) -> bool:
    """Whether a name is itself a secret; the names of a document repeat."""
    return _known_text(name) if len(name) <= _CACHED_NAME else is_secret_text(name)


_known_text = functools.lru_cache(maxsize=4096)(is_secret_text)


# -- texts ------------------------------------------------------------------------------------


def _hides_secret(text: str, plain: str) -> bool:
    """Whether it does when its escapes are read, or line breaks taken out of what may be a key."""
    said = plain
    for said in plain_text.versions(text):
        if _shows_secret(said):
            return True
    together = plain_text.joined(said)
    if together != said and _has_format(together, together.lower()):
        return True
    document = plain if plain[:1] in _DOCUMENT else said
    return _holds_encoded(together) or (document[:1] in _DOCUMENT and _is_secret_json(document))


def _holds_encoded(text: str) -> bool:
    """Whether it holds a secret in Base64, or ``user:password``."""
    return any(
        _USER_PASSWORD.fullmatch(inner) is not None or _shows_secret(inner)
        for inner in plain_text.encoded_texts(text)
    )


def _shows_secret(text: str) -> bool:
    lower = text.lower()
    return _has_format(text, lower) or _is_assigned(text, lower)


def _has_format(text: str, lower: str) -> bool:
    for hint in _HINTS:  # a loop, because nearly every text is found to be no secret here
        if hint in lower:
            return _is_of_a_format(text, lower)
    return False


def _is_of_a_format(text: str, lower: str) -> bool:
    if "eyj" in lower and any(match[1] for match in _JWT.finditer(text)):
        return True
    if "zxlk" in lower and any(_hides_jwt(match[0]) for match in _BASE64_JWT.finditer(text)):
        return True
    if "://" in text and any(_is_assigned_value(m[1]) for m in _URL_PASSWORD.finditer(text)):
        return True
    return any(
        any(hint in lower for hint in hints) and pattern.search(text) for hints, pattern in _FORMATS
    )


def _is_assigned(text: str, lower: str) -> bool:
    rules = _ASCII_ASSIGNMENTS if text.isascii() else _ASSIGNMENTS
    return any(
        _assigns(rule, *match.groups())
        for pattern, rule in rules
        for match in pattern.finditer(lower if rule.lower else text)
    )


def _assigns(rule: Assignment, closed: str, sign: str, opened: str, value: str) -> bool:
    if not _is_assigned_value(value):
        return False
    if closed and not opened:  # a member of JSON text that is no string is no secret
        return not value.rstrip("]})").isdecimal()
    if sign == ":" and not opened:
        return len(value) >= rule.prose and (not rule.digits or any(c.isdecimal() for c in value))
    return len(value) >= rule.least or bool(opened)


def _is_assigned_value(value: str) -> bool:
    """Whether it is one, and not what stands for one: ``***``, ``{token}``, ``null``."""
    bare = value.rstrip("]})").lower()
    if value[0] in secret_rules.TEMPLATE_MARKS or bare in secret_rules.LITERALS:
        return False
    return not _is_placeholder(bare)


def _is_secret_json(text: str) -> bool:
    """JSON inside a string, as browsers like to nest it."""
    try:
        inner = json_text.loads(text)
        return _holds_secret(inner, under=False)
    except ExpressoPersistError:
        return False  # seen as text already
    except RecursionError:
        return True  # text in text in text, nested deeper than can be looked through


def _is_placeholder(text: str) -> bool:
    return not text.strip(secret_rules.PLACEHOLDER_MARKS)


def _is_opaque(text: str) -> bool:
    """Long and without a word in it, as keys are; not a word with a number: ``milk_1733022000``."""
    if _OPAQUE.fullmatch(text) is None:
        return False
    word = text.rstrip(_DIGITS)
    if word.endswith(("_", "-")) and word.replace("_", "").replace("-", "").isalpha():
        return False
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


def _hides_jwt(text: str) -> bool:
    padded = text.rstrip("=")
    padded = padded[: len(padded) - (1 if len(padded) % 4 == 1 else 0)]
    padded += "=" * (-len(padded) % 4)
    try:
        inner = base64.b64decode(padded.replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError):
        return False
    return any(match[1] for match in _JWT.finditer(inner.decode("latin-1")))


# -- values -----------------------------------------------------------------------------------


def _is_secret_string(text: str, name: str, under: bool) -> bool:
    return is_secret_text(text, name) or (under and _is_opaque(text))


def _holds_secret(value: Json, under: bool) -> bool:
    """Whether :func:`_clean` would take something out; most values are clean."""
    if isinstance(value, dict):
        for name, member in value.items():
            if _is_bad_name(name):
                return True
            if isinstance(member, str):
                if _is_secret_string(member, name, under):
                    return True
            elif isinstance(member, (dict, list)) and _holds_secret(
                member, under or is_secret_name(name)
            ):
                return True
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                if _is_secret_string(item, "", under):
                    return True
            elif isinstance(item, (dict, list)) and _holds_secret(item, under):
                return True
    return False


def _clean(value: Json, path: str, under: bool, removed: list[tuple[str, str]]) -> Json:
    if isinstance(value, dict):
        members: dict[str, Json] = {}
        for name, member in value.items():
            if _is_bad_name(name):
                removed.append((json_text.place(path, "<name>"), name))
            elif isinstance(member, str) and _is_secret_string(member, name, under):
                removed.append((json_text.place(path, name), member))
            elif isinstance(member, (dict, list)):
                place = json_text.place(path, name)
                members[name] = _clean(member, place, under or is_secret_name(name), removed)
            else:
                members[name] = member
        return members
    if isinstance(value, list):
        items: list[Json] = []
        for index, item in enumerate(value):
            if isinstance(item, str) and _is_secret_string(item, "", under):
                removed.append((json_text.place(path, index), item))
            elif isinstance(item, (dict, list)):
                items.append(_clean(item, json_text.place(path, index), under, removed))
            else:
                items.append(item)
        return items
    return value
