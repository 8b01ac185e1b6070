"""The page's rules for secrets, held against the server's: no less strict anywhere."""

from __future__ import annotations

import base64
import json
import random
import unicodedata
from typing import Any

import pytest

import secret_vectors as vectors
from expresso_persist import Store
from expresso_persist.model import secret_rules, secrets
from hostile import UNITS
from secret_disguises import BREAKS, DISGUISES, NOTES, SAMPLES

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
HIDDEN = base64.b64encode(JWT.encode()).decode()

SECRET = {
    "coffee_system_token": "anything",
    "TOKEN": "abc",
    "my-refresh_Token": "abc",
    "Api Key": "k",
    "note": f"copied from the log: {JWT}",
    "header": "Authorization: Bearer abcdefghij",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nabc",
    "wifi": "password=latte42",
    "hidden": HIDDEN,
    "hidden_url": HIDDEN.replace("+", "-").replace("/", "_").rstrip("="),
    "escaped": '"\\u0065yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"',
    "quoted": json.dumps("Bearer abcdefghij"),
    "broken": '{"password": "hunter2", ',
    "sms_secret": '"s3cr3t"',
    JWT: "a token as a key",
    "ｐａｓｓｗｏｒｄ": "full width",
}
NESTED = {
    "users": '[{"name":"Ann","password":"x"},{"name":"Bo","pass-word":"y"}]',
    "deep": '{"a":{"b":[{"c":{"apiKey":"k","keep":1}}]}}',
    "inner_text": json.dumps({"note": "ok", "log": f"saw {JWT}"}),
    "list": json.dumps(["keep", JWT, "keep too"]),
    "nested_json": json.dumps({"state": json.dumps({"auth": {"token": "abc"}}), "keep": 2}),
    "tokens": '{"sms":"A1b2C3d4E5f6G7h8","label":"front desk"}',
    "names": json.dumps({JWT: 1, "keep": 3}),
    "twice": '{"password":"first","password":""}',
    "credentials": '{"list":["A1b2C3d4E5f6G7h8","short"]}',
    "__proto__": '{"__proto__":{"secret":"s","keep":4}}',
}
HARMLESS = {
    "tokenExpiry": "2026-01-01",
    "coffee_system_token_expiry": "2026-01-01T00:00:00Z",
    "users_masked": '[{"name":"Ann","password":"********","token":""}]',
    "secretary": "Ann",
    "passport_stamp": "yes",
    "bearer": "The bearer brings cups",
    "flags": '{"passwordRequired":true,"tokenCount":3,"secret":null}',
    "loose": '{ "b" : 2.0 , "a" : [ 1e3 ] }',
    "empty": "",
    "monkeys": '{"keyboard":"piano"}',
}

FILTER = """
async entries => {
  const { withholdSecrets } = await import('http://expresso.test/secrets.js');
  const filtered = withholdSecrets(new Map(entries));
  return [[...filtered.entries], filtered.withheld.map(line => line.key), [...filtered.stripped]];
}
"""


def withhold(modules: Any, dump: dict[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    sent, withheld, stripped = modules.evaluate(FILTER, list(dump.items()))
    return dict(sent), withheld, [key for key, _ in stripped]


def test_secrets_are_withheld_whole_or_taken_out(modules: Any) -> None:
    """Each is found, by its name or by its looks, and the rest of its document is kept."""
    sent, withheld, stripped = withhold(modules, {**SECRET, **NESTED, **HARMLESS})
    assert len(withheld) == len(SECRET)
    assert set(withheld) - set(SECRET) == {"(a key that holds a token)"}
    assert sorted(stripped) == sorted(NESTED)
    assert {key: sent[key] for key in HARMLESS} == HARMLESS
    text = json.dumps(list(sent.items()))
    for trace in (JWT, HIDDEN[:40], "A1b2C3d4E5f6G7h8", "first", "latte42", "hunter2"):
        assert trace not in text
    assert sent["deep"] == '{"a":{"b":[{"c":{"keep":1}}]}}'
    assert sent["list"] == '["keep","keep too"]'
    assert sent["__proto__"] == '{"__proto__":{"keep":4}}'


def test_the_server_finds_nothing_more(modules: Any) -> None:
    """What the page sends holds nothing that the server would refuse or take out."""
    sent, _, _ = withhold(modules, {**SECRET, **NESTED, **HARMLESS})
    with Store("sqlite://", migrate=True) as store:
        receipt = store.importer.plan({"localStorage": sent}).to_json()
    found = [line for line in receipt["keys"] if line["class"] == "refused"]
    found += [line for line in receipt["keys"] if line["removed_secrets"]]
    assert found == []


@pytest.mark.parametrize("dump", [SECRET, NESTED, HARMLESS], ids=["secret", "nested", "harmless"])
def test_page_and_server_agree(modules: Any, dump: dict[str, str]) -> None:
    """Whole or in part, the two find secrets in the same keys."""
    _, withheld, stripped = withhold(modules, dump)
    with Store("sqlite://", migrate=True) as store:
        receipt = store.importer.plan({"localStorage": dump}).to_json()
    refused = [line["key"] for line in receipt["keys"] if line["class"] == "refused"]
    taken_out = [line["key"] for line in receipt["keys"] if line["removed_secrets"]]
    # The page sends a document whose twin member hides a secret without the twin.
    assert sorted(refused + taken_out) == sorted(
        key if key != "(a key that holds a token)" else "<name>" for key in withheld + stripped
    )


IN_BROWSER = """
async ({names, texts, documents}) => {
  const { isSecretName, isSecretText, scanEntry } = await import('http://expresso.test/secrets.js');
  return {
    names: names.map(isSecretName),
    texts: texts.map(text => isSecretText(text)),
    documents: documents.map(([key, raw]) => {
      const { raw: cleaned, removed, reason } = scanEntry(key, raw);
      return [reason === null ? cleaned : null, removed];
    }),
  };
}
"""


def test_the_browser_decides_alike(modules: Any) -> None:
    """The same rules, the same answers, in both languages."""
    names = [*vectors.NAMES, *vectors.OTHER_NAMES]
    texts = [*vectors.credentials().values(), *vectors.ASSIGNED, *vectors.HARMLESS, *names]
    documents = [[key, raw] for key, raw, _ in vectors.documents()]
    given = {"names": names, "texts": texts, "documents": documents}
    answer = modules.evaluate(IN_BROWSER, given)
    assert dict(zip(names, answer["names"], strict=True)) == {
        name: secrets.is_secret_name(name) for name in names
    }
    assert dict(zip(texts, answer["texts"], strict=True)) == {
        text: secrets.is_secret_text(text) for text in texts
    }
    for (key, raw), (cleaned, removed) in zip(documents, answer["documents"], strict=True):
        scan = secrets.scan(json.loads(raw), key)
        assert (json.loads(cleaned), tuple(removed)) == (scan.value, scan.removed), key


def any_character(chance: random.Random) -> str:
    """One that both languages' tables of Unicode know."""
    while True:
        character = chr(chance.choice([chance.randrange(0x3000), chance.randrange(0x1F700)]))
        if unicodedata.category(character) not in ("Cn", "Cs"):
            return character


def test_the_browser_reads_disguises_alike(modules: Any) -> None:
    """Samples in disguise, ordinary notes, and texts that chance puts together."""
    chance = random.Random("disguises")
    texts = [disguise(text, chance) for text in SAMPLES for disguise in DISGUISES.values()]
    texts += [note for notes in NOTES.values() for note in notes]
    words = [*secret_rules.CONTAINED, *secret_rules.FINAL, *secret_rules.SHORT]
    pieces = [*texts, *words, *vectors.ASSIGNED, *vectors.HARMLESS, *UNITS, *BREAKS]
    pieces += [
        "&",
        "&#",
        "&#x",
        "%",
        "%25",
        "\\",
        "\\u",
        "\\u{",
        ";",
        "}",
        "=",
        ":",
        '"',
        "0070",
        "70",
        "1",
    ]
    pieces += [
        "\x00",
        "\x85",
        "\u0903",
        "\u1100",
        "\u0130",
        "\u00df",
        "e\u0301",
        "\U0001d429",
        "\u0663",
    ]
    for _ in range(4000):
        parts = chance.choices(pieces, k=chance.randrange(1, 4))
        parts.insert(chance.randrange(4), any_character(chance))
        texts.append("".join(parts))
    answer = modules.evaluate(IN_BROWSER, {"names": texts, "texts": texts, "documents": []})
    for text, name, found in zip(texts, answer["names"], answer["texts"], strict=True):
        assert (secrets.is_secret_name(text), secrets.is_secret_text(text)) == (name, found), text
