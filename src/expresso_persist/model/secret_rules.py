"""What gives a secret away: names, formats and limits, as data.

The one source of these rules. ``secrets`` applies them on the server; for the browser
``tools/web_data.py`` writes them to ``web/secret-rules.js``, where ``secrets.js`` applies
them. So every expression here means the same in Python (``re.ASCII``) and in JavaScript, and
takes time that grows with the text and no faster: what repeats has a fixed length or is not
followed by anything that could make it try again.

Words are written in lower case, without accents and with ``_`` where people may put a
separator or none: ``api_key`` is also ``apiKey``, ``API-Key`` and ``api key``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

__all__ = [
    "ASSIGNMENTS",
    "BASE64_JWT",
    "CONTAINED",
    "ESCAPED",
    "EXACT",
    "FINAL",
    "FORMATS",
    "FORMAT_MINIMUM",
    "JWT",
    "KEYS",
    "LITERALS",
    "OPAQUE",
    "PLACEHOLDER_MARKS",
    "QUALIFIERS",
    "SHORT",
    "TEMPLATE_MARKS",
    "URL_PASSWORD",
    "Assignment",
    "Format",
]

KEYS: tuple[str, ...] = (
    "access_token",
    "auth_token",
    "coffee_auth_token",
    "coffee_refresh_token",
    "coffee_system_refresh_token",
    "coffee_system_token",
    "jwt_token",
    "refreshToken",
    "refresh_token",
    "token",
)
"""Keys of localStorage that hold a sign-in, whatever their value looks like."""

CONTAINED: tuple[str, ...] = (
    "pass_word", "passwd", "pass_phrase", "pass_code",
    "pass_wort", "kenn_wort", "zugangs_code", "zugangs_schlussel", "geheim_zahl", "geheim_nummer",
    "contrasena", "contrasenya", "codigo_secreto", "clave_secreta", "clave_privada", "clave_api",
    "mot_de_passe", "code_secret", "cle_secrete", "cle_privee", "cle_api",
    "palavra_passe", "chave_secreta", "chave_privada", "chave_api",
    "parola_chiave", "parola_d_ordine", "chiave_segreta", "chiave_privata", "chiave_api",
    "wacht_woord", "toegangs_code", "losen_ord", "adgangs_kode", "adgangs_ord", "sala_sana",
    "jelszo", "lozinka", "mat_khau", "kata_sandi",
    "\u043f\u0430\u0440\u043e\u043b\u044c",  # Russian
    "\u5bc6\u7801", "\u5bc6\u78bc", "\u53e3\u4ee4",  # Chinese
    "\u6697\u8a3c\u756a\u53f7", "\u30cf\u30b9\u30ef\u30fc\u30c8",  # Japanese, without its marks
)  # fmt: skip
"""A name with one of these anywhere in it is a password's."""

FINAL: tuple[str, ...] = (
    "secret", "token", "api_key", "secret_key", "access_key", "auth_key", "account_key",
    "encryption_key", "signing_key", "authorization", "private_key", "credential", "pwd",
    "geheimnis",
)  # fmt: skip
"""A name that ends with one of these is a secret's: not ``tokenExpiry``."""

SHORT: tuple[str, ...] = (
    "pin", "pin_code", "puk", "pw", "psw", "otp", "totp", "cvv", "cvc", "mdp",
    "clave", "senha", "haslo", "has\u0142o", "heslo", "geslo", "parola", "sifre", "passord",
)  # fmt: skip
"""Too short to be looked for inside other words: the last word of a name, as in ``userPin``."""

EXACT: tuple[str, ...] = ("pass",)
"""The whole name: people also have a ``dayPass``."""

QUALIFIERS: tuple[str, ...] = (
    "code",
    "hash",
    "no",
    "nr",
    "number",
    "nummer",
    "plain",
    "text",
    "value",
)
"""What may come after a short word: ``pinNumber``."""


@attrs.frozen
class Format:
    """How the credentials of a service look.

    Attributes:
        name: Whose they are.
        hints: Text without capitals, one of which is in each of them.
        pattern: A regular expression for enough of it to be sure.
    """

    name: str
    hints: tuple[str, ...]
    pattern: str


FORMATS: tuple[Format, ...] = (
    Format("Anthropic", ("sk-ant-",), r"sk-ant-[A-Za-z0-9_-]{16}"),
    Format("AWS", ("akia", "asia"), r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    Format("bearer", ("bearer",),
           r"\b[Bb][Ee][Aa][Rr][Ee][Rr](?:[ \t\r\n]|%20){1,8}[A-Za-z0-9._~+/=-]{8}"),
    Format("DigitalOcean", ("_v1_",), r"do[opr]_v1_[a-f0-9]{32}"),
    Format("Discord", ("/api/webhooks/",), r"discord(?:app)?\.com/api/webhooks/[0-9]{12}"),
    Format("GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{16}"),
    Format("GitHub", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{16}"),
    Format("GitLab", ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glft-", "glimt-"),
           r"gl(?:pat|dt|rt|ptt|cbt|soat|ft|imt)-[A-Za-z0-9_-]{16}"),
    Format("Google", ("aiza",), r"AIza[A-Za-z0-9_-]{30}"),
    Format("Google", ("gocspx-",), r"GOCSPX-[A-Za-z0-9_-]{20}"),
    Format("Google", ("ya29.",), r"ya29\.[A-Za-z0-9_-]{20}"),
    Format("Hugging Face", ("hf_",), r"\bhf_[A-Za-z0-9]{30}"),
    Format("Mailchimp", ("-us",), r"[0-9a-f]{32}-us[0-9]"),
    Format("Mailgun", ("key-",), r"\bkey-[0-9a-f]{32}"),
    Format("npm", ("npm_",), r"npm_[A-Za-z0-9]{20}"),
    Format("OpenAI", ("sk-",),
           r"\bsk-(?:(?:proj|svcacct|admin|or|lf)-[A-Za-z0-9_-]{16}|[A-Za-z0-9]{20})"),
    Format("private key", ("private key",), r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"),
    Format("age", ("age-secret-key-",), r"AGE-SECRET-KEY-1[A-Z0-9]{20}"),
    Format("PyPI", ("pypi-ag",), r"pypi-Ag[A-Za-z0-9_-]{30}"),
    Format("SendGrid", ("sg.",), r"SG\.[A-Za-z0-9=_-]{16,32}\.[A-Za-z0-9=_-]{16}"),
    Format("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_"),
           r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"),
    Format("Slack", ("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{10}"),
    Format("Slack", ("xapp-",), r"xapp-[0-9]-[A-Za-z0-9-]{10}"),
    Format("Slack", ("hooks.slack.com/",), r"hooks\.slack\.com/[a-z]{4,12}/[A-Za-z0-9+/_-]{12}"),
    Format("Square", ("sq0",), r"sq0[a-z]{3}-[A-Za-z0-9_-]{20}"),
    Format("Square", ("eaaa",), r"EAAAE[A-Za-z0-9_-]{50}"),
    Format("Stripe", ("_live_", "_test_", "_prod_"), r"[rs]k_(?:live|test|prod)_[A-Za-z0-9]{10}"),
    Format("Stripe", ("whsec_",), r"whsec_[A-Za-z0-9+/]{16}"),
    Format("Telegram", (":aa",), r"[0-9]{8}:AA[A-Za-z0-9_-]{32}"),
    Format("Twilio", ("sk",), r"SK[0-9a-f]{32}"),
)  # fmt: skip

FORMAT_MINIMUM = 13
"""No shorter text has one of these formats, or is a token."""

JWT = r"eyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]{4,}\.)?"
"""A JSON Web Token where the group is there. Optional, so that no run is tried again."""

BASE64_JWT = r"ZXlK[A-Za-z0-9+/_-]{24,}={0,2}"
"""Base64 that begins as an encoded token does."""

URL_PASSWORD = r"://[^ \t\r\n:@/]*:([^ \t\r\n@/]+)@"  # noqa: S105 - finds one, is none
"""``https://user:password@host``; the group is the password."""

OPAQUE = r"[A-Za-z0-9+/=_.~-]{16,}"
"""All of a text that may be a key; it then has letters and digits, too."""

ESCAPED = r"\\u([0-9A-Fa-f]{4})"
"""A character as JSON text may hide it."""

PLACEHOLDER_MARKS = "*\u2022"
"""A text of these alone stands for a secret that is kept elsewhere."""

TEMPLATE_MARKS = "{}[]<$%("
"""A value that begins with one of these stands for another: ``{token}``, ``<your token>``."""

LITERALS: tuple[str, ...] = ("true", "false", "null", "none", "undefined", "yes", "no")
"""What is assigned to a secret's name and is none."""


@attrs.frozen
class Assignment:
    """``password=…`` or ``"token": "…"`` inside other text.

    Attributes:
        pattern: Groups: a quotation mark after the name, the sign, a quotation mark before
            the value, the value.
        lower: The text is put in lower case first.
        prose: What counts after a bare colon, as people write: a value of at least this many
            characters,
        digits: and with a digit in it.
        least: How many characters any value has at least.
    """

    pattern: str
    lower: bool
    prose: int
    digits: bool
    least: int = 1


_MARK = "[\"'`\u201c\u201d]"
_TAIL = (
    rf"\\{{0,4}}({_MARK}?)[ \t\r\n]{{0,8}}(=>|:=|[:=])[ \t\r\n]{{0,8}}\\{{0,4}}({_MARK}?)"
    "([^ \\t\\r\\n\"'`,;\\\\\u201c\u201d]{1,64})"
)


def _spelt(words: Iterable[str]) -> str:
    return "|".join(sorted((word.replace("_", "[ _.-]?") for word in words), key=len, reverse=True))


def _any_case(words: Iterable[str]) -> str:
    """Words in any case after what is no letter, or capitalised inside a name: ``userPin``."""
    ordered = sorted(words, key=len, reverse=True)
    cased = ["".join("[ _.-]?" if c == "_" else f"[{c.upper()}{c}]" for c in w) for w in ordered]
    inner = [f"{word[1]}{word[4:]}" for word in cased]
    return f"(?:(?:^|[^A-Za-z0-9])(?:{'|'.join(cased)})|[a-z0-9](?:{'|'.join(inner)}))"


ASSIGNMENTS: Mapping[str, Assignment] = {
    "password": Assignment(f"(?:{_spelt(CONTAINED)})[a-z0-9_.-]{{0,16}}{_TAIL}", True, 4, False),
    "secret": Assignment(f"(?:{_spelt(FINAL)}){_TAIL}", True, 8, True),
    "short": Assignment(f"{_any_case((*SHORT, *EXACT))}{_TAIL}", False, 4, True, 4),
}
