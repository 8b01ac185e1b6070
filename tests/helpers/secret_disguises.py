"""Ways to write a secret so that it looks like something else, and notes that hold none."""

from __future__ import annotations

import html.entities
import json
import random
from collections.abc import Callable
from urllib.parse import quote

import secret_vectors as vectors

__all__ = ["BREAKS", "DISGUISES", "NOTES", "SAMPLES"]

SAMPLES = [
    *("password=latte42", "password: grinder-42", '"token": "abc"', "PIN: 4711", "userPin=4711"),
    *("client_secret => abcd1234", "contraseña=abcd", "passwd=hunter2&user=ann"),
    *(vectors.credentials()[name] for name in ("aws", "jwt", "stripe", "npm", "url")),
    *("비밀번호: latte42", "كلمة المرور: latte42", "पासवर्ड: latte42", "пароль: latte42"),
]
"""Secrets, each of another kind."""

_NAMED = {
    text: f"&{name}"
    for name, text in sorted(html.entities.html5.items())
    if name.endswith(";") and len(text) == 1 and text.isascii()
}
_CYRILLIC = str.maketrans("aeopcxyijsABEKMHOPCTXSIJ", "аеорсхуіјѕАВЕКМНОРСТХЅІЈ")
_GREEK = str.maketrans("aoiptABEZHIKMNOPTYX", "αοιρτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_BOLD = {
    **{ord("a") + i: 0x1D41A + i for i in range(26)},
    **{ord("A") + i: 0x1D400 + i for i in range(26)},
}


def _some(write: Callable[[str], str]) -> Callable[[str, random.Random], str]:
    """Some characters of ASCII are written in another way, one at least."""

    def disguise(text: str, chance: random.Random) -> str:
        # What begins an encoding is never left as it is: no writer does that.
        kept = {i for i, c in enumerate(text) if c not in "&%\\" and chance.random() < 0.6}
        kept.discard(chance.randrange(len(text)))
        return "".join(c if i in kept or not c.isascii() else write(c) for i, c in enumerate(text))

    return disguise


def _between(sign: str) -> Callable[[str, random.Random], str]:
    def disguise(text: str, chance: random.Random) -> str:
        places = {chance.randrange(1, len(text)) for _ in range(3)}
        return "".join((sign if i in places else "") + c for i, c in enumerate(text))

    return disguise


def _escape(character: str) -> str:
    return f"\\u{ord(character):04X}"


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "references": _some(lambda c: f"&#{ord(c)};"),
    "references, base 16": _some(lambda c: f"&#x{ord(c):X};"),
    "references, zeros": _some(lambda c: f"&#{ord(c):020};"),
    "references by name": lambda text, _: "".join(_NAMED.get(c, c) for c in text),
    "percent": _some(lambda c: f"%{ord(c):02x}"),
    "percent, all": lambda text, _: quote(text, safe=""),
    "percent, twice": lambda text, _: quote(quote(text, safe=""), safe=""),
    "percent, old": _some(lambda c: f"%u{ord(c):04x}"),
    "JavaScript": _some(_escape),
    "JavaScript, braces": _some(lambda c: f"\\u{{{ord(c):x}}}"),
    "JavaScript, bytes": _some(lambda c: f"\\x{ord(c):02x}"),
    "JavaScript, base 8": _some(lambda c: f"\\{ord(c):03o}"),
    "JSON": lambda text, _: json.dumps(text),
    "JSON, twice": lambda text, _: json.dumps(json.dumps(text)),
    "Cyrillic": lambda text, _: text.translate(_CYRILLIC),
    "Greek": lambda text, _: text.translate(_GREEK),
    "full width": lambda text, _: text.translate(_WIDE),
    "mathematical": lambda text, _: text.translate(_BOLD),
    "accents": _some(lambda c: c + "\N{COMBINING DOT BELOW}" if c.isalnum() else c),
    "soft hyphens": _between("\N{SOFT HYPHEN}"),
    "soft hyphens by name": _between("&shy;"),
    "invisible": _between("\N{ZERO WIDTH SPACE}"),
    "joiners": _between("\N{WORD JOINER}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"),
    "controls": _between("\x00\x7f\x08"),
}
"""Name -> a secret and chance to the same, as it may be written."""

BREAKS = ["\n", "\r\n", "\n    ", "\n> ", "=\r\n", "\\n", "<br>", "<wbr>", "\u2028", "&NewLine;"]
"""What may part a key."""

NOTES = {
    "English": [
        "50% off all cakes until 5pm, 100% organic & fair trade; call +44 20 7946 0958 😀",
        "Map: https://example.org/site%20plan?from=north&to=hall%2B2#stage, price £3.50 = 2 tokens",
        "Bring:\n- 40 cups\n- 2% milk\n- AC\\DC playlist from C:\\music\\new",
        "See you at\n10:30 by the gate &mdash; the pin board\nis at stand 4",
    ],
    "German": [
        "20% Rabatt für Helfer:innen; Tel. 030/901820, Preis: 3,50 € pro Becher ☕",
        "Lageplan: https://example.org/gel%C3%A4nde%20s%C3%BCd.pdf, Schlüssel: Regal 4711",
    ],
    "French": [
        "Remise de 50 % dès 14h ; appeler le 01 23 45 67 89. Café « maison » : 2,50 €",
        "Plan : https://example.org/caf%C3%A9%20d%27%C3%A9t%C3%A9 — clé : chez Zoé, n° 4711",
    ],
    "Spanish": ["¡50% de descuento! Tel.: 912 345 678, precio: 2,50 €, sala 4711 🎉"],
    "Italian": ["Sconto del 50%: caffè 1,20 €, tel. 06 1234 5678; l'ordine: 4711 pezzi"],
    "Portuguese": ["Desconto de 50%: café 1,20 €, tel. 21 123 4567 — chave: na portaria 4711"],
    "Dutch": ["50% korting, koffie: € 2,50; bel 020 123 4567 (Anna) 👍"],
    "Polish": ["Zniżka 50%: kawa 12,50 zł, tel. 22 123 45 67, kubki: 4711 szt."],
    "Turkish": ["%50 indirim: kahve 45,00 ₺, tel: 0212 123 45 67, bardak: 4711 adet"],
    "Russian": [
        "Скидка 50%: кофе 150 ₽, тел. +7 495 123-45-67, стаканы: 4711 шт.",
        "Сосна, корм, сухари: 1200 г; отряд: 4711; спинка стула: 4711",
    ],
    "Greek": ["Έκπτωση 50%: καφές 2,50 €, τηλ. 210 1234567, ποτήρια: 4711, πίνακας: 12345678"],
    "Arabic": [
        "خصم 50٪ على القهوة: ١٢٫٥٠ ريال، هاتف: 0501234567 ☕",
        "بن: 4711 كغ، كسر: 12345678، الأسر: 4711، السعر: 1200",
    ],
    "Persian": ["تخفیف ۵۰٪: قهوه ۱۲۰۰۰ تومان، تلفن: ۰۲۱۱۲۳۴۵۶۷۸"],
    "Urdu": ["50٪ رعایت: کافی 250 روپے، فون: 0300-1234567، پانی: 4711، بچپن: 4711"],
    "Hebrew": ["50% הנחה: קפה 12 ₪, טלפון: 03-1234567, כוסות: 4711"],
    "Hindi": [
        "50% छूट: कॉफ़ी ₹120, फ़ोन: 9876543210, पानी: 4711 लीटर",
        "पान: 1200, टिफिन: 4711, टोकन: 40 चाय, पिन कोड नहीं",
    ],
    "Bengali": ["৫০% ছাড়: কফি ১২০ টাকা, ফোন: 01712345678, পানি: 4711 লিটার"],
    "Telugu": ["50% తగ్గింపు: కాఫీ ₹120, ఫోన్: 9876543210, నీరు: 4711, పిన్ని: 4711"],
    "Tamil": ["50% தள்ளுபடி: காபி ₹120, தொலைபேசி: 9876543210, பன்: 1200, பானம்: 4711"],
    "Korean": ["50% 할인: 커피 4,500원, 전화: 02-123-4567, 머핀: 1200개, 암호화폐 설명회"],
    "Japanese": ["50%オフ:コーヒー450円、電話:03-1234-5678、カップ:4711個 🎌"],
    "Chinese": ["咖啡五折(50%):25元,电话:010-12345678,杯子:4711个,口味:香草"],
}
"""Ordinary notes of organisers, by language."""
