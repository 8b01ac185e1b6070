"""What is a secret, and what only looks near one; the browser is held to the same list."""

from __future__ import annotations

import importlib.util
import json
import random
import re
from pathlib import Path

import pytest

import secret_vectors as vectors
from expresso_persist.model import secret_rules, secrets
from secret_shapes import SHAPES, shaped

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    **{f"{name}: {text}": text for name, text in vectors.credentials().items()},
    **{f"in text: {name}": f"as of today, {text}!" for name, text in vectors.credentials().items()},
}
KEYS = [key for key, _, _ in vectors.documents()]


@pytest.mark.parametrize("text", TEXTS.values(), ids=[name.split(":")[0] for name in TEXTS])
def test_credentials_of_services_are_found(text: str) -> None:
    assert secrets.is_secret_text(text)


@pytest.mark.parametrize("service", SHAPES)
def test_any_credential_of_a_services_shape_is_found(service: str) -> None:
    """Whatever chance puts into it, and after any sign that may stand before it."""
    for shape in SHAPES[service]:
        chance = random.Random(f"{shape} again")
        for before in ("", "x=", '"', "(", "\n", ": ", "<b>", "ö "):
            text = before + shaped(shape, chance)
            assert secrets.is_secret_text(text), text


def test_every_format_has_a_shape() -> None:
    """Those that are no service's have vectors of their own."""
    assert {format_.name for format_ in secret_rules.FORMATS} - {*SHAPES} == {"bearer", "Discord"}


def test_pictures_hold_no_secret() -> None:
    for picture in vectors.pictures():
        assert not secrets.is_secret_text(picture)
        assert not secrets.is_secret_text(picture.replace("+", "-").replace("/", "_"))


@pytest.mark.parametrize("name", vectors.NAMES)
def test_names_of_secrets_in_many_languages_are_found(name: str) -> None:
    """In any case, with any separators, with and without accents."""
    assert secrets.is_secret_name(name)
    assert secrets.scan({"a": [{name: "x"}]}).value == {"a": [{}]}
    assert secrets.scan({name: "****", "keep": 1}).removed == ()


@pytest.mark.parametrize("name", vectors.OTHER_NAMES)
def test_names_that_only_look_near_are_not(name: str) -> None:
    assert not secrets.is_secret_name(name)
    assert secrets.scan({name: "Oat"}).removed == ()


@pytest.mark.parametrize("text", vectors.ASSIGNED)
def test_secrets_inside_text_are_found(text: str) -> None:
    """Also where the text is JSON that is broken off, in a string, with its escapes."""
    assert secrets.is_secret_text(text)
    assert secrets.scan({"note": text, "keep": 1}).removed == ("note",)
    assert secrets.scan({text: 1, "keep": 1}).removed == ("<name>",)


@pytest.mark.parametrize("text", vectors.HARMLESS)
def test_harmless_text_is_let_through(text: str) -> None:
    assert not secrets.is_secret_text(text)
    assert secrets.scan({"note": text, text: 1}).removed == ()


@pytest.mark.parametrize(("key", "raw", "paths"), vectors.documents(), ids=KEYS)
def test_members_are_taken_out_and_named(key: str, raw: str, paths: list[str]) -> None:
    scan = secrets.scan(json.loads(raw), key)
    assert [*scan.removed] == paths
    assert secrets.scan(scan.value, key).removed == ()


def test_what_the_fixtures_hold_is_taken_in_whole() -> None:
    """Real events have no text that is taken for a secret, but for the sign-in itself."""
    for file in (ROOT / "tests" / "fixtures").glob("localstorage-*.json"):
        for key, raw in json.loads(file.read_text())["localStorage"].items():
            if key in secret_rules.KEYS:
                continue
            try:
                found = secrets.findings(json.loads(raw), key)
            except ValueError:
                found = [("", raw)] if secrets.is_secret_text(raw, key) else []
            assert found == [], (file.name, key, [place for place, _ in found])


def test_words_are_written_as_they_are_looked_for() -> None:
    """A word in another spelling would never be found."""
    for word in (*secret_rules.CONTAINED, *secret_rules.FINAL, *secret_rules.SHORT):
        assert secrets.is_secret_name(word), word
        assert secrets.is_secret_name(word.replace("_", "")), word
        assert secrets.is_secret_name("".join(part.title() for part in word.split("_"))), word
        assert secrets.is_secret_text(f"{word.replace('_', '-')} = Lat3-Macchiato"), word


def test_every_format_has_a_vector_and_its_hint() -> None:
    """A format whose hint is not in it would never be looked at."""
    for format_ in secret_rules.FORMATS:
        pattern = re.compile(format_.pattern, re.ASCII)
        found = [text for text in vectors.credentials().values() if pattern.search(text)]
        assert found, format_.name
        assert all(any(hint in text.lower() for hint in format_.hints) for text in found)


def test_the_files_of_the_browser_are_fresh() -> None:
    """`python tools/web_data.py` writes them."""
    spec = importlib.util.spec_from_file_location("web_data", ROOT / "tools" / "web_data.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for file, text in tool.files().items():
        assert file.read_text(encoding="ascii") == text, f"{file.name} is stale"
