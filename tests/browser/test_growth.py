"""In the browser, too, time grows with the text and no faster.

Every regular expression of the modules is found by parsing them, and run on hostile text of
growing length; so are the functions that read what a browser holds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import expresso_persist
from hostile import UNITS, hostile
from web_tools import installed

WEB = Path(expresso_persist.__file__).parent / "web"

FIND = """
async sources => {
  const { parse } = await import('http://expresso.test/acorn.mjs');
  const found = new Map();
  const walk = node => {
    if (Array.isArray(node)) return node.forEach(walk);
    if (node === null || typeof node !== 'object') return;
    if (node.type === 'Literal' && node.regex) {
      found.set(`/${node.regex.pattern}/${node.regex.flags}`, node.regex);
    }
    Object.values(node).forEach(walk);
  };
  for (const source of sources) {
    walk(parse(source, { ecmaVersion: 'latest', sourceType: 'module' }));
  }
  const rules = await import('http://expresso.test/secret-rules.js');
  const made = [rules.JWT, rules.BASE64_JWT, rules.URL_PASSWORD, rules.ENCODED,
    rules.LINE_BREAK, rules.BROKEN_RUN, rules.BASE64_TEXT, `^${rules.USER_PASSWORD}$`,
    `^${rules.OPAQUE}$`, ...rules.FORMATS.map(format => format.pattern),
    ...rules.ASSIGNMENTS.map(rule => rule.pattern)];
  for (const pattern of made) found.set(`/${pattern}/g`, { pattern, flags: 'g' });
  return [...found.values()];
}
"""

# The smaller sizes first: what is quadratic is found before it takes minutes.
GROW = """
const UNNOTICED = 500; // milliseconds: 64,000² steps take far longer on any machine
const fastest = (run, text) => {
  let best = Infinity;
  for (let round = 0; round < 5 && best >= UNNOTICED; round += 1) {
    const other = `${round}${text}`; // the browser remembers what it found in the same text
    const begun = performance.now();
    run(other);
    best = Math.min(best, performance.now() - begun);
  }
  return best;
};
const repeated = (unit, size) => unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
const makers = units.flatMap(unit => [
  size => repeated(unit, size),
  size => unit + unit.at(-1).repeat(size),
  size => unit.slice(0, -1).repeat(3) + unit.at(-1).repeat(size) + '!',
]);
const slow = (what, run) => {
  for (const make of makers) {
    let before = fastest(run, make(4000));
    for (const size of [16000, 64000]) {
      // Even if it went on with the square, nobody would notice at the largest size.
      if (before * (64000 / size * 4) ** 2 < UNNOTICED) break;
      let after = fastest(run, make(size));
      if (after > Math.max(8 * before, UNNOTICED)) { // both again: the machine may have been busy
        before = fastest(run, make(size / 4));
        after = fastest(run, make(size));
      }
      if (after > Math.max(8 * before, UNNOTICED)) {
        return [`${what}: ${after} ms for ${size}, ${before} ms before: ${make(60)}`];
      }
      before = after;
    }
  }
  return [];
};
"""


def as_python(pattern: str) -> str:
    """A JavaScript pattern as far as Python's parser has to understand it."""
    return re.sub(r"\\p{\w+}", "a", pattern).replace("(?<", "(?P<").replace("[^]", "[^\\0]")


def test_every_regular_expression_is_linear(modules: Any) -> None:
    """Those written in the modules, and those made from the rules."""
    acorn = (installed("acorn") / "dist" / "acorn.mjs").read_text()
    modules.route(
        "**/acorn.mjs", lambda route: route.fulfill(body=acorn, content_type="text/javascript")
    )
    sources = [file.read_text() for file in WEB.rglob("*.js")]
    found = modules.evaluate(FIND, sources)
    assert len(found) > 50
    run = (
        "([pattern, flags, units]) => {"
        + GROW
        + """
          const expression = new RegExp(pattern, flags.includes('g') ? flags : flags + 'g');
          return slow(`/${pattern}/${flags}`, text => text.replace(expression, ''));
        }"""
    )
    slow = []
    for each in found:
        units = [*hostile(re.compile(as_python(each["pattern"]))), *UNITS]
        slow += modules.evaluate(run, [each["pattern"], each["flags"], units])
    assert slow == []
    # The check finds what is quadratic: the expression that froze a tab.
    assert modules.evaluate(run, ["[A-Za-z_.-]*(?:password|token)", "", ["y"]]) != []


@pytest.mark.parametrize(
    "what",
    [
        "text => secrets.isSecretText(text)",
        "text => secrets.isSecretName(text)",
        "text => secrets.scanEntry('event_notes', text)",
        "text => secrets.scanEntry('a', JSON.stringify({a: text, [text]: [text, '[' + text]}))",
        "text => secrets.scanEntry('a', '{\"a\":\"password\",\"a\":' + JSON.stringify(text) + '}')",
    ],
)
def test_looking_for_secrets_is_linear(modules: Any, what: str) -> None:
    run = (
        "async units => { const secrets = await import('http://expresso.test/secrets.js');"
        + GROW
        + f"return slow('secrets', {what}); }}"
    )
    assert modules.evaluate(run, UNITS) == []


@pytest.mark.parametrize(
    "make",
    [
        "n => Array.from({length: n}, (_, id) => ({id, name: 'Oat'}))",
        "n => Array.from({length: n}, (_, id) => ({name: `Oat ${id}`}))",
        "n => Array.from({length: n}, (_, x) => ({id: 'same', x}))",
        "n => Array.from({length: n}, (_, x) => x)",
    ],
)
def test_comparing_long_documents_is_linear(modules: Any, make: str) -> None:
    """The verification compares what came back with what was sent, item by item."""
    seconds = modules.evaluate(
        f"""async () => {{
          const {{ contained }} = await import('http://expresso.test/verification.js');
          const make = {make};
          const fastest = size => Math.min(...[1, 2, 3].map(() => {{
            const [part, whole] = [make(size), make(size).reverse()];
            whole.push({{id: 'more'}});
            const begun = performance.now();
            contained(part, whole);
            return performance.now() - begun;
          }}));
          return [fastest(5000), fastest(20000)];
        }}"""
    )
    assert seconds[1] < 8 * max(seconds[0], 60)
