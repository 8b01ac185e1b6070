"""Writes what the browser shares with the server: `python tools/web_data.py`.

The rules for secrets (`secret_rules.py` and `plain_text.py` are their source) and the event to
try the page with (`demo.py`). A test says when a file is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import expresso_persist
from expresso_persist.demo import demo_dump
from expresso_persist.model import plain_text
from expresso_persist.model import secret_rules as rules

WEB = Path(expresso_persist.__file__).parent / "web"
RULES = """\
/**
 * What gives a secret away: names, formats and limits.
 *
 * Written by tools/web_data.py from secret_rules.py and plain_text.py, which say what each is
 * for. Change them there.
 */
"""
EVENT = """\
/**
 * A made-up event as the app would have left it in localStorage, to try the page with.
 *
 * Written by tools/web_data.py from demo.py. Change it there.
 */

/** @type {{[key: string]: string}} */
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
        "USER_PASSWORD": rules.USER_PASSWORD,
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
                "ascii": rule.ascii,
            }
            for rule in rules.ASSIGNMENTS.values()
        ],
        "LOOK_ALIKES": plain_text.LOOK_ALIKES,
        "REFERENCES": plain_text.references(),
        "MAY_HIDE": plain_text.MAY_HIDE,
        "ENCODED": plain_text.ENCODED,
        "ROUNDS": plain_text.ROUNDS,
        "LINE_BREAK": plain_text.LINE_BREAK,
        "BROKEN_RUN": plain_text.BROKEN_RUN,
        "BASE64_TEXT": plain_text.BASE64_TEXT,
    }


def files() -> dict[Path, str]:
    """The modules, in ASCII."""
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in constants().items()]
    sample = json.dumps(demo_dump()["localStorage"], indent=2)
    return {
        WEB / "secret-rules.js": "\n".join([RULES, *lines, ""]),
        WEB / "sample-event.js": f"{EVENT}export const SAMPLE = {sample};\n",
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, encoding="ascii")
