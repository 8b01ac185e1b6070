"""Settings: what a host decides, given as an object or as keywords, on every adapter."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http import NO_RATES, Api, BearerTokens, Limits, LiveSettings, Settings
from expresso_persist.http.adapter import Keywords
from expresso_persist.testing import TOKENS

Send = Callable[[str, str, dict[str, str], bytes], Any]
JSON = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}


def test_the_keywords_are_the_settings() -> None:
    fields = {field.name for field in attrs.fields(Settings)}
    assert typing.get_type_hints(Keywords).keys() == fields


def test_an_object_and_keywords_mean_the_same(mount: Callable[..., Send], store: Store) -> None:
    """A keyword takes the place of the object's value."""
    settings = Settings(prefix="coffee/", authorize=BearerTokens(TOKENS), limits=Limits(batch=1))
    for options, path in (
        ({"settings": settings}, "/coffee"),
        ({"settings": settings, "prefix": "tea"}, "/tea"),
        ({"prefix": "/coffee", "authorize": BearerTokens(TOKENS), "limits": NO_RATES}, "/coffee"),
    ):
        send = mount(store, **options)
        assert send("GET", f"{path}/api/inventory/settings", JSON, b"").status == 200


@pytest.mark.parametrize("name", ["fastapi", "flask"])
def test_both_adapters_take_the_same(name: str) -> None:
    adapter = pytest.importorskip(f"expresso_persist_{name}")
    parameters = inspect.signature(adapter.register_routes).parameters
    assert [*parameters] == ["app", "store", "settings", "keywords"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefix", None),
        ("prefix", 7),
        ("authorize", "admin"),
        ("tenant", "north"),
        ("one_time_tokens", "token"),
        ("live", 5),
        ("limits", {"batch": 5}),
        ("origins", 5),
        ("origins", [5]),
        ("backups", "yes"),
        ("replace", 1),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_opened(name: str, value: Any) -> None:
    with pytest.raises(InvalidConfiguration, match=name):
        Settings(**{name: value})


def test_what_is_left_out_or_none_is_the_default() -> None:
    assert Settings(live=None, limits=None) == Settings()  # type: ignore[arg-type]
    assert Settings().limits == Limits()
    assert Settings().live == LiveSettings()
    assert Settings(origins="https://a.example").origins == {"https://a.example"}  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefixx"):
        Settings.of(None, {"prefixx": "/"})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("batch", [5, 1_000])
def test_the_description_says_the_limits_that_hold(
    mount: Callable[..., Send], store: Store, batch: int
) -> None:
    limits = attrs.evolve(NO_RATES, batch=batch)
    send = mount(store, authorize=BearerTokens(TOKENS), limits=limits)
    document = send("GET", "/api/migration/openapi.json", {}, b"").json
    operation = document["paths"]["/api/inventory/batch-update"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    most = schema["properties"]["updates"]["maxItems"]
    assert most == batch
    update = b'{"type":"setting","data":{"key":"a","value":1}}'
    for number, status in ((most, 200), (most + 1, 413)):
        body = b'{"updates":[%s]}' % b",".join([update] * number)
        assert send("POST", "/api/inventory/batch-update", JSON, body).status == status


def test_two_apis_describe_their_own_limits(store: Store) -> None:
    def most(api: Api) -> int:
        path = api.openapi()["paths"]["/api/inventory/batch-update"]["post"]
        schema = path["requestBody"]["content"]["application/json"]["schema"]
        found: int = schema["properties"]["updates"]["maxItems"]
        return found

    assert most(Api(store, limits=Limits(batch=5))) == 5
    assert most(Api(store)) == 1_000
