"""Writes the rules for secrets for the browser: `python tools/secret_rules.py`.

`src/expresso_persist/secret_rules.py` is their source; a test says when the file is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expresso_persist import secret_rules as rules

FILE = Path(rules.__file__).parent / "web" / "secret-rules.js"
HEAD = """\
/**
 * What gives a secret away: names, formats and limits.
 *
 * Written by tools/secret_rules.py from secret_rules.py, which says what each is for. Change
 * them there.
 */
"""


def joined(words: tuple[str, ...]) -> list[str]:
    return [word.replace("_", "") for word in words]


def constants() -> dict[str, Any]:
    return {
        "KEYS": rules.KEYS,
        "CONTAINED": joined(rules.CONTAINED),
        "FINAL": joined(rules.FINAL),
        "SHORT": joined(rules.SHORT),
        "EXACT": rules.EXACT,
        "QUALIFIERS": rules.QUALIFIERS,
        "FORMATS": [
            {"hints": format_.hints, "pattern": format_.pattern} for format_ in rules.FORMATS
        ],
        "FORMAT_MINIMUM": rules.FORMAT_MINIMUM,
        "JWT": rules.JWT,
        "BASE64_JWT": rules.BASE64_JWT,
        "URL_PASSWORD": rules.URL_PASSWORD,
        "OPAQUE": rules.OPAQUE,
        "ESCAPED": rules.ESCAPED,
        "PLACEHOLDER_MARKS": rules.PLACEHOLDER_MARKS,
        "TEMPLATE_MARKS": rules.TEMPLATE_MARKS,
        "LITERALS": rules.LITERALS,
        "ASSIGNMENTS": [
            {
                "pattern": rule.pattern,
                "lower": rule.lower,
                "prose": rule.prose,
                "digits": rule.digits,
                "least": rule.least,
            }
            for rule in rules.ASSIGNMENTS.values()
        ],
    }


def script() -> str:
    """The module's text, in ASCII."""
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in constants().items()]
    return "\n".join([HEAD, *lines, ""])


if __name__ == "__main__":
    FILE.write_text(script(), encoding="ascii")
