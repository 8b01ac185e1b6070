"""Recognising secrets, by the name they have and by what they look like.

Pure. Whatever is found here is never stored, never logged and never sent back; a finding
names the place, never the value.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata

import attrs

from expresso_persist import jsontext
from expresso_persist.errors import ExpressoPersistError
from expresso_persist.jsontext import Json

__all__ = ["Scan", "is_secret_name", "is_secret_text", "is_secret_value", "scan"]

# Every secret that is known here has one of these in it or in its name. Looking for them
# in a document's text is twenty times as fast as walking the document.
_HINTS = (
    "eyj",
    "zxlk",
    "bearer",
    "key",
    "pass",
    "pwd",
    "secret",
    "token",
    "authorization",
    "credential",
    "\\u",
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*")
_BEARER = re.compile(r"\bbearer(\s|%20)+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_BASE64_JWT = re.compile(r"ZXlK[A-Za-z0-9+/_-]{24,}={0,2}")
_ASSIGNMENT = re.compile(
    r"""["']?([A-Za-z_.-]*(?:password|passwd|passphrase|secret|token|api[_.-]?key|authorization
    |private[_.-]?key))["']?\s*[:=]\s*["']?([^\s"',;}]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_CONTAINED = ("password", "passwd", "passphrase")
_FINAL = (
    "secret",
    "token",
    "apikey",
    "secretkey",
    "accesskey",
    "authkey",
    "authorization",
    "privatekey",
    "credential",
    "pwd",
)
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_.~-]{16,}")


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
    plain = "".join(c for c in unicodedata.normalize("NFKC", name).lower() if c.isalnum())
    plain = plain.removesuffix("s") if not plain.endswith("ss") else plain
    return any(word in plain for word in _CONTAINED) or plain.endswith(_FINAL)


def is_secret_value(text: str) -> bool:
    """Whether a string is or contains a token, whatever its name."""
    if _JWT.search(text) or _BEARER.search(text) or _PEM.search(text):
        return True
    return any(_hides_jwt(match.group()) for match in _BASE64_JWT.finditer(text))


def is_secret_text(text: str, name: str = "") -> bool:
    """Like :func:`is_secret_value`, and also ``password=…`` or ``"token": "…"`` in text.

    Args:
        text: Text that is not JSON, or not valid.
        name: What it is called; a secret's name makes any text but a placeholder one.
    """
    if is_secret_value(text) or (text and is_secret_name(name) and not _is_placeholder(text)):
        return True
    return any(
        is_secret_name(match.group(1)) and not _is_placeholder(match.group(2))
        for match in _ASSIGNMENT.finditer(text)
    )


def scan(value: Json, name: str = "", *, text: str | None = None) -> Scan:
    """Take the secrets out of a JSON value.

    Args:
        value: The value.
        name: What it is called; a secret's name makes a non-empty string a secret.
        text: Its JSON text as :func:`jsontext.dumps` writes it, if at hand.
    """
    if isinstance(value, str):
        return Scan(None, whole=True) if _is_secret_string(value, name) else Scan(value)
    if text is not None and not _has_hint(text) and not is_secret_name(name):
        return Scan(value)
    removed: list[str] = []
    cleaned = _clean(value, "", is_secret_name(name), removed)
    return Scan(cleaned, tuple(removed)) if removed else Scan(value)


def _clean(value: Json, path: str, under_secret_name: bool, removed: list[str]) -> Json:
    if isinstance(value, dict):
        members: dict[str, Json] = {}
        for name, member in value.items():
            place = f"{path}.{name}" if path else name
            secret_name = is_secret_name(name)
            if is_secret_value(name):
                removed.append(f"{path}.<name>" if path else "<name>")
            elif isinstance(member, str):
                if _is_secret_string(member, name) or (under_secret_name and _is_opaque(member)):
                    removed.append(place)
                else:
                    members[name] = member
            else:
                members[name] = _clean(member, place, secret_name or under_secret_name, removed)
        return members
    if isinstance(value, list):
        items: list[Json] = []
        for index, item in enumerate(value):
            place = f"{path}[{index}]"
            if isinstance(item, str):
                if _is_secret_string(item, "") or (under_secret_name and _is_opaque(item)):
                    removed.append(place)
                else:
                    items.append(item)
            else:
                items.append(_clean(item, place, under_secret_name, removed))
        return items
    return value


def _is_secret_string(text: str, name: str) -> bool:
    if is_secret_value(text):
        return True
    if name and text and is_secret_name(name) and not _is_placeholder(text):
        return True
    return text[:1] in "{[" and _has_hint(text) and _is_secret_json(text)


def _is_secret_json(text: str) -> bool:
    """JSON inside a string, as browsers like to nest it."""
    try:
        inner = scan(jsontext.loads(text))
    except ExpressoPersistError:
        return is_secret_text(text)
    return inner.whole or bool(inner.removed)


def _has_hint(text: str) -> bool:
    plain = (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()
    return any(hint in plain for hint in _HINTS)


def _is_placeholder(text: str) -> bool:
    return not text.strip("*•")


def _is_opaque(text: str) -> bool:
    """Long and without a word in it, as keys are."""
    return (
        _OPAQUE.fullmatch(text) is not None
        and any(c.isdigit() for c in text)
        and any(c.isalpha() for c in text)
    )


def _hides_jwt(text: str) -> bool:
    padded = text.rstrip("=")
    padded = padded[: len(padded) - (1 if len(padded) % 4 == 1 else 0)]
    padded += "=" * (-len(padded) % 4)
    try:
        inner = base64.b64decode(padded, altchars=b"-_" if "-" in text or "_" in text else None)
    except (binascii.Error, ValueError):
        return False
    return _JWT.search(inner.decode("latin-1")) is not None
