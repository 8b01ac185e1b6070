"""Text as people read it: without accents, look-alike letters, escapes and references.

Pure. The rules for secrets are asked of what a text says, however it is written; nothing that
is made here is ever stored. The constants are data that ``tools/web_data.py`` writes for the
browser, where ``web/secrets.js`` has the same functions; so every expression means the same in
Python (``re.ASCII``) and in JavaScript, and takes time that grows with the text and no faster.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html.entities
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "BASE64_TEXT",
    "BROKEN_RUN",
    "ENCODED",
    "LINE_BREAK",
    "LOOK_ALIKES",
    "MAY_HIDE",
    "ROUNDS",
    "decoded",
    "encoded_texts",
    "folded",
    "joined",
    "references",
    "versions",
]

ROUNDS = 3
"""How often an encoding may be in another."""

_REMEMBERED = 4096

_PAIRS = (
    # Cyrillic
    "аa вb еe кk мm нh оo рp сc тt уy хx ѕs іi јj һh ԁd ԛq ԝw ѵv ӏl үy ԍg "
    "АA ВB ЕE КK МM НH ОO РP СC ТT УY ХX ЅS ІI ЈJ ҺH ԀD ԚQ ԜW ѴV ӀI ҮY ԌG "
    # Greek
    "αa εe ηn ιi κk νv οo ρp τt υu χx ωw ςσ Σσ ΩW ϳj "
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX ϹC ͿJ "
    # Latin letters that are no composition, and small capitals
    "ıi łl Łl øo ØO đd ĐD ħh ĦH ŧt ŦT ɑa ɡg ɩi ɪi ʏy ɴn ʀr ʜh ʟl ᴀa ʙb ᴄc ᴅd ᴇe ɢg ᴊj ᴋk ᴍm ᴏo "
    "ᴘp ꜱs ᴛt ᴜu ᴠv ᴡw ᴢz "
    # Arabic letters that a keyboard of another language writes
    "\u0629\u0647 \u06c1\u0647 \u06c2\u0647 \u06c3\u0647 \u06be\u0647 \u06d5\u0647 "
    "\u0649\u064a \u06cc\u064a \u06a9\u0643 "
    # signs
    "\u2010- \u2011- \u2012- \u2013- \u2014- \u2015- \u2212- \u2043- \ufe58- \ua789: \u2236: "
    '\u02d0: \u05c3: \u0589: \ua78a= \u1400= \u2e40= \u2044/ \u2215/ \u00ab" \u00bb" \u201e" '
    "\u2028\n \u2029\n \u0085\n"
)
_NOTHING = "\u0640\u115f\u1160\u2800\ufffc\u093c\u09bc\u0a3c\u0abc\u0b3c\u0c3c\u0cbc"
"""Tatweel, which makes an Arabic word longer, letters that show nothing, and the dots below a
letter of India, which people leave out."""

LOOK_ALIKES: Mapping[str, str] = {
    **{pair[0]: pair[1] for pair in re.split(" +", _PAIRS)},
    **dict.fromkeys(_NOTHING, ""),
}
"""Characters that pass for others which no decomposition makes of them."""

MAY_HIDE = r"[&%\\<\x00-\x1f\x7f]"
"""One of these is in every text that :func:`decoded` or :func:`joined` changes."""

ENCODED = (
    r"&#[xX]0*([0-9A-Fa-f]{1,6})(?:;|(?![0-9A-Fa-f&%\\]))|&#0*([0-9]{1,7})(?:;|(?![0-9&%\\]))"
    r"|&([A-Za-z][A-Za-z0-9]{1,31});"
    r"|&(amp|lt|gt|quot|nbsp|shy|AMP|LT|GT|QUOT)"
    r"|((?:%[0-9A-Fa-f]{2})+)|%[uU]([0-9A-Fa-f]{4})"
    r"|\\+(?:[uU](?:0000)?([0-9A-Fa-f]{4})|[uU]\{0*([0-9A-Fa-f]{1,6})\}|[xX]([0-9A-Fa-f]{2})"
    r"|([0-7]{3}|[0-7]{1,2}(?![0-9&%\\]))|([nrtvf])|\r?\n)?"
    r"|(<[wW]?[bB][rR][ \t]{0,8}/?>)|[\x00-\x08\x0e-\x1f\x7f]"
)
"""A character reference, bytes in percent signs, an escape, markup that breaks a line, or a
character that shows nothing. Groups: the code of a reference in base 16 and 10, its name (two),
bytes, five codes of escapes of which the last is in base 8, the letter of one, markup.

What goes on in another encoding is left for the next round."""

_TOKEN = "[A-Za-z0-9+/=_.~-]"  # noqa: S105 - a class of characters
LINE_BREAK = r"=?[ \t]{0,8}(?:\r\n|[\n\r\v\f]){1,3}[ \t>]{0,8}"
"""A break inside a key: with a quoted-printable sign, indentation, marks of a quoted mail."""

BROKEN_RUN = rf"{_TOKEN}+((?:{LINE_BREAK}{_TOKEN}+)*)"
"""What may be a key, and in the group the lines it goes on in. Optional, so that no run is
tried again."""

BASE64_TEXT = (
    r"(?:[I-Za-f][C-HS-Xi-nyz0-3][AEIMQUYcgkosw048BFJNRVZdhlptx159][A-Za-z0-9+/_-]){3}"
    r"[A-Za-z0-9+/_-]*"
)
"""Base64 whose first nine bytes are of ASCII text, if no more of it is before."""

_MAY_HIDE = re.compile(MAY_HIDE, re.ASCII)
_ENCODED = re.compile(ENCODED, re.ASCII)
_LINE_BREAK = re.compile(LINE_BREAK, re.ASCII)
_BROKEN_RUN = re.compile(BROKEN_RUN, re.ASCII)
_BASE64_TEXT = re.compile(BASE64_TEXT, re.ASCII)
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_INDIC_MARKS = "".join(
    chr(code) for code in range(0x0900, 0x0E00) if unicodedata.category(chr(code)).startswith("M")
)
_STRAY_MARKS = re.compile(f"([\\x00-\\x7f])[{_INDIC_MARKS}]+")
_HAS_INDIC_MARK = re.compile(f"[{_INDIC_MARKS}]")


# -- look-alikes ------------------------------------------------------------------------------


class _Folds(dict[int, str]):
    """Character -> the same without accents, width or other dress.

    One by one: to normalise a whole text takes time that grows with the square of a run of
    accents.
    """

    def __missing__(self, code: int) -> str:
        plain = "".join(map(_fold, unicodedata.normalize("NFKD", chr(code))))
        if len(self) < _REMEMBERED:
            self[code] = plain
        return plain


def _fold(character: str) -> str:
    if character in LOOK_ALIKES:
        return LOOK_ALIKES[character]
    category = unicodedata.category(character)
    if category in ("Mn", "Mc", "Me", "Cf"):
        # Vowels are marks in the scripts of India: without them water reads as a PIN.
        return character if character in _INDIC_MARKS else ""
    if category == "Nd":
        return character if character.isascii() else "0"
    if character > "\uffff":  # two characters in the browser: it counts one, too
        return "\ua000" if character.isalnum() else "\ufffd"
    return character


_FOLDS = _Folds()


def folded(text: str) -> str:
    """The text without accents and invisible characters, look-alikes as the usual letters."""
    return text if text.isascii() else _without_strays(text.translate(_FOLDS))


def _without_strays(text: str) -> str:
    return _STRAY_MARKS.sub(r"\1", text) if _HAS_INDIC_MARK.search(text) else text


# -- encodings --------------------------------------------------------------------------------


def versions(text: str) -> Iterator[str]:
    """What a text says when its references and escapes are read, once and again; folded."""
    # What seems to be a stray mark may come after an invisible character that is encoded.
    plain = text if text.isascii() else text.translate(_FOLDS)
    for _ in range(ROUNDS):
        if not _MAY_HIDE.search(plain):
            return
        before, plain = plain, decoded(plain)
        if plain == before:
            return
        yield _without_strays(plain)


def decoded(text: str) -> str:
    """The text with its character references, percent signs and escapes read once.

    Folded, but for stray marks.
    """
    text = _ENCODED.sub(_decode, text)
    if text.isascii():
        return text
    return _SURROGATES.sub(_pair, text).translate(_FOLDS)


def joined(text: str) -> str:
    """The text with runs of letters, digits and signs put together that line breaks part.

    Only where a digit is in them: words of prose stay apart.
    """
    return _BROKEN_RUN.sub(_join, text) if _LINE_BREAK.search(text) else text


def encoded_texts(text: str) -> Iterator[str]:
    """The ASCII texts that are in Base64 inside a text."""
    for match in _BASE64_TEXT.finditer(text):
        before = text[match.start() - 1] if match.start() else " "
        if (before.isascii() and before.isalnum()) or before in "+/_-":
            continue
        content = match[0].replace("-", "+").replace("_", "/")
        content = content[: len(content) - (1 if len(content) % 4 == 1 else 0)]
        try:
            yield base64.b64decode(content + "=" * (-len(content) % 4)).decode("latin-1")
        except (binascii.Error, ValueError):
            continue


def _decode(match: re.Match[str]) -> str:
    if match.lastindex is not None:
        return _READ[match.lastindex](match[match.lastindex])
    unread = match[0][-1] == "\\" and match.string[match.end() : match.end() + 1] in _UNREAD
    return "\\" if unread else ""


_UNREAD = tuple("uUxX01234567&%")
"""After a backslash: an escape that goes on in another encoding."""


def _join(match: re.Match[str]) -> str:
    if match[1] and any(c in "0123456789" for c in match[0]):
        return _LINE_BREAK.sub("", match[0])
    return match[0]


@functools.cache
def references() -> dict[str, str]:
    """Name of a character reference -> what it passes for, where that is ASCII or nothing."""
    plain = {
        name.removesuffix(";"): folded(text)
        for name, text in html.entities.html5.items()
        if name.endswith(";")
    }
    return {name: text for name, text in plain.items() if text.isascii()}


def _reference(name: str) -> str:
    return references().get(name, f"&{name};")


def _bytes(text: str) -> str:
    return bytes.fromhex(text.replace("%", "")).decode("utf-8", "replace")


def _character(digits: str, base: int = 16) -> str:
    code = int(digits, base)
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def _pair(match: re.Match[str]) -> str:
    return match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


_READ: Mapping[int, Callable[[str], str]] = {
    **dict.fromkeys((1, 6, 7, 8, 9), _character),
    2: lambda digits: _character(digits, 10),
    **dict.fromkeys((3, 4), _reference),
    5: _bytes,
    10: lambda digits: _character(digits, 8),
    **dict.fromkeys((11, 12), lambda text: "\t" if text == "t" else "\n"),
}
"""What a group of ENCODED stands for."""
