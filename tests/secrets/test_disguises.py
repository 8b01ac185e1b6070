"""A secret is found however it is written, and ordinary notes are let through."""

from __future__ import annotations

import base64
import json
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import secret_vectors as vectors
from expresso_persist.model import plain_text, secret_rules, secrets
from secret_disguises import BREAKS, DISGUISES, NOTES, SAMPLES

KEY = vectors.credentials()["aws"]
PARTED = [
    *(
        "jwt",
        "base64 of a jwt",
        "aws",
        "stripe",
        "npm",
        "github p",
        "google",
        "slack bot",
        "openai",
    ),
]


@given(st.sampled_from(SAMPLES), st.sampled_from(sorted(DISGUISES)), st.randoms())
def test_every_sample_is_found_in_every_disguise(
    sample: str, disguise: str, chance: random.Random
) -> None:
    """At places of chance, and in the middle of other text."""
    hidden = DISGUISES[disguise](sample, chance)
    assert secrets.is_secret_text(hidden), hidden
    assert secrets.is_secret_text(f"as of today,\n{hidden}"), hidden
    assert secrets.scan({"note": hidden, "keep": "50% off"}).value == {"keep": "50% off"}


@given(
    st.sampled_from(SAMPLES),
    st.sampled_from(sorted(DISGUISES)),
    st.sampled_from(("references", "percent", "JavaScript", "JavaScript, bytes")),
    st.randoms(),
)
def test_a_disguise_may_be_in_another(
    sample: str, inner: str, outer: str, chance: random.Random
) -> None:
    assert secrets.is_secret_text(DISGUISES[outer](DISGUISES[inner](sample, chance), chance))


@pytest.mark.parametrize("disguise", DISGUISES)
def test_names_are_read_in_every_disguise(disguise: str) -> None:
    for seed, name in enumerate(("password", "accessToken", "userPin", "mot_de_passe")):
        hidden = DISGUISES[disguise](name, random.Random(seed))
        assert secrets.is_secret_name(hidden), hidden


@pytest.mark.parametrize("line_break", BREAKS, ids=repr)
def test_a_key_that_a_line_break_parts_is_found(line_break: str) -> None:
    """Also by markup, by an escape, indented, and as in quoted mail."""
    for name in PARTED:
        key = vectors.credentials()[name]
        for cut in (len(key) // 3, len(key) // 2, len(key) - 3):
            broken = key[:cut] + line_break + key[cut:]
            assert secrets.is_secret_text(broken), broken


@pytest.mark.parametrize(
    "text",
    [
        "anna:hunter2",
        "admin@example.org:S3cret!",
        "password=hunter2",
        '{"password": "hunter2"}',
        KEY,
    ],
)
def test_base64_of_a_secret_is_found(text: str) -> None:
    """Alone, after ``Basic``, in other text, without padding, in lines."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(text.encode()).decode()
        for hidden in (whole, whole.rstrip("="), f"Basic {whole}", f"see data:,{whole}!"):
            assert secrets.is_secret_text(hidden), hidden
        assert secrets.is_secret_text(f"{whole[:7]}\n  {whole[7:]}")


@pytest.mark.parametrize(
    "text", ["Product:4711", "https://example.org", "words of an event", "a:b"]
)
def test_base64_of_other_text_is_let_through(text: str) -> None:
    assert not secrets.is_secret_text(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize("language", NOTES)
def test_ordinary_notes_hold_no_secret(language: str) -> None:
    for note in NOTES[language]:
        assert not secrets.is_secret_text(note), note
        assert secrets.scan({"note": note, note: 1}).removed == ()
    together = "\n".join(NOTES[language])
    assert not secrets.is_secret_text(together)
    assert not secrets.is_secret_text(json.dumps(NOTES[language]))


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("name", vectors.OTHER_SCRIPTS)
def test_names_in_other_scripts_are_found_in_every_form(name: str, form: str) -> None:
    written = unicodedata.normalize(form, name)
    assert secrets.is_secret_name(written)
    assert secrets.is_secret_name(f"wifi {written}")
    assert secrets.is_secret_text(f"{written}: Lat3-Macchiato")
    assert secrets.is_secret_text(f"☕ {written} = Lat3-Macchiato")


def test_vowels_of_india_tell_a_pin_from_water() -> None:
    assert secrets.is_secret_text("पिन: 4711")
    assert not secrets.is_secret_text("पानी: 4711")
    assert not secrets.is_secret_name("पानी")
    assert not secrets.is_secret_text("பன்: 1200")
    assert not secrets.is_secret_text("머핀: 1200")  # ends with PIN, and is a muffin


def test_look_alikes_are_read_alike_in_both_cases() -> None:
    """Otherwise a word of that script would be known in one of them."""
    differing = {"Η", "Ν", "Υ", "Ӏ"}  # the small ones pass for n, v, u and l
    for letter, plain in plain_text.LOOK_ALIKES.items():
        upper = letter.upper()
        if letter.islower() and len(upper) == 1 and upper not in differing and not upper.isascii():
            other = plain_text.LOOK_ALIKES.get(upper, upper)
            assert other.lower() in (plain.lower(), letter) or letter in "ɑɡɩɪʏɴʀʜʟʙɢ", letter


def test_words_are_folded_once() -> None:
    for word in (*secret_rules.CONTAINED, *secret_rules.FINAL, *secret_rules.SHORT):
        assert plain_text.folded(word) == word


def test_encodings_within_encodings_are_read_a_few_times() -> None:
    text = "password=hunter2".replace("p", "&#112;").replace("=", "%3D")
    assert [*plain_text.versions(text)] == ["password=hunter2"]
    assert [*plain_text.versions("a%25252525b")][-1] == "a%25b"
    assert [*plain_text.versions("plain")] == []
    assert plain_text.decoded("&equals;&quot;&#x3a;%C3%A9\\u{e9}\\x41\\101\\n%u0041&nope;") == (
        '=":eeAA\nA&nope;'
    )
    assert (
        plain_text.decoded("\\ud835\\udc29 &#x110000; &#1114112; %ff") == "p \ufffd \ufffd \ufffd"
    )
