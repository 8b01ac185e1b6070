"""Settings: what a host decides when it mounts the API."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict

import attrs

from expresso_persist.errors import InvalidConfiguration
from expresso_persist.http.access.auth import Authorize, OneTimeTokens
from expresso_persist.http.access.connections import LiveSettings
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.access.tenants import TenantOf

__all__ = ["Keywords", "Settings", "normal_prefix"]


def normal_prefix(prefix: str) -> str:
    """The prefix with one leading slash and none at the end, or nothing."""
    inner = prefix.strip("/")
    return f"/{inner}" if inner else ""


def _prefix(prefix: str) -> str:
    if not isinstance(prefix, str):
        raise InvalidConfiguration(
            f"prefix is a path, such as /coffee, not {type(prefix).__name__}."
        )
    return normal_prefix(prefix)


def _live(live: LiveSettings | None) -> LiveSettings:
    return LiveSettings() if live is None else live


def _limits(limits: Limits | None) -> Limits:
    return Limits() if limits is None else limits


def _origins(origins: Collection[str]) -> frozenset[str]:
    # A text is a collection too, of letters.
    given: Any = [origins] if isinstance(origins, str) else origins
    if not isinstance(given, Collection) or not all(isinstance(each, str) for each in given):
        raise InvalidConfiguration(
            "origins is a list of texts, such as ['https://display.example']."
        )
    return frozenset(given)


def _is(*kinds: type) -> Any:
    def check(_settings: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise InvalidConfiguration(
                f"{field.name} is of type {names}, not {type(value).__name__}."
            )

    return check


def _function(_settings: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidConfiguration(
            f"{field.name} is a function of the request, not {type(value).__name__}."
        )


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of ``register_routes``, which takes them as keywords too.

    Attributes:
        prefix: The path in front of every endpoint, such as ``/coffee``.
        authorize: Returns the actor of a request, or None. When left out, the bearer tokens of
            the environment and of ``expresso-persist token create``; without any, everything
            but health, the description and the page answers 401.
        tenant: Returns the tenant that a request is about; when left out, it is the store's.
        one_time_tokens: Links that can be exchanged for a session, as ``serve`` prints them.
        backups: Make automatic backups while the application runs.
        live: How many connections may stay open.
        limits: How large requests may be, and how many there may be.
        origins: Other origins, such as ``https://display.example``, whose pages may use the
            cookies of this one, for writes and for WebSockets.
        replace: Take over the paths for which the application has routes already.

    Raises:
        InvalidConfiguration: A setting has the wrong type.
    """

    prefix: str = attrs.field(default="", converter=_prefix)
    authorize: Authorize | None = attrs.field(default=None, validator=_function)
    tenant: TenantOf | None = attrs.field(default=None, validator=_function)
    one_time_tokens: OneTimeTokens | None = attrs.field(
        default=None, validator=_is(OneTimeTokens, type(None))
    )
    backups: bool = attrs.field(default=False, validator=_is(bool))
    live: LiveSettings = attrs.field(default=None, converter=_live, validator=_is(LiveSettings))
    limits: Limits = attrs.field(default=None, converter=_limits, validator=_is(Limits))
    origins: frozenset[str] = attrs.field(default=frozenset(), converter=_origins)
    replace: bool = attrs.field(default=False, validator=_is(bool))

    @classmethod
    def of(cls, settings: Settings | None, keywords: Keywords) -> Settings:
        """The settings with those of the keywords that are given instead."""
        return cls(**keywords) if settings is None else attrs.evolve(settings, **keywords)


class Keywords(TypedDict, total=False):
    """The names and types of :class:`Settings`, for functions that take them as keywords."""

    prefix: str
    authorize: Authorize | None
    tenant: TenantOf | None
    one_time_tokens: OneTimeTokens | None
    backups: bool
    live: LiveSettings | None
    limits: Limits | None
    origins: Collection[str]
    replace: bool
