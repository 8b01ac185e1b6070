"""Limits: how large a request may be, and how many of them an actor may make."""

from __future__ import annotations

import enum
import hashlib
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from expresso_persist.errors import InvalidConfiguration, TooManyRequests
from expresso_persist.http.access.guesses import Guesses
from expresso_persist.http.access.rates import DatabaseCounters

if TYPE_CHECKING:
    from expresso_persist.store import Store

__all__ = ["Limits", "NO_RATES", "Rate", "RateLimiter"]

logger: logging.Logger = logging.getLogger("expresso_persist.http")

MIB = 1024 * 1024
MEMORY = "memory://"
DATABASE = "database"


class Rate(enum.Enum):
    """What is counted together."""

    READ = "read"
    WRITE = "write"
    HEAVY = "heavy"


@attrs.frozen
class Limits:
    """What a host decides about requests; uploads of archives have the limits of the backups.

    Attributes:
        update_bytes: Size of a request's body.
        import_bytes: Size of a localStorage dump's body.
        batch: Updates in one batch.
        read: How often an actor may read, such as ``600/minute``; None for no
            limit. The notation is that of the package ``limits``.
        write: The same for updates, and for everything else that is no import or restore.
        heavy: The same for imports, uploads of archives and restores.
        guesses: How many different wrong credentials a network address may try; counted by each
            process. Beyond it every request from there is refused. None for no limit.
        storage: Where it is counted: ``memory://`` for each process of its own, ``database``
            for all processes together in the store's database, or an address that the
            package ``limits`` knows, such as ``redis://host:6379``.
    """

    update_bytes: int = attrs.field(default=MIB, validator=attrs.validators.ge(1))
    import_bytes: int = attrs.field(default=32 * MIB, validator=attrs.validators.ge(1))
    batch: int = attrs.field(default=1_000, validator=attrs.validators.ge(1))
    read: str | None = "600/minute"
    write: str | None = "300/minute"
    heavy: str | None = "10/minute"
    guesses: str | None = "60/minute"
    storage: str = MEMORY


NO_RATES: Limits = Limits(read=None, write=None, heavy=None, guesses=None)
"""The sizes of :class:`Limits`, without limits on the number of requests."""


class _Counters(Protocol):
    def hit(self, tenant: str, name: str, amount: int, period: int) -> float: ...


class RateLimiter:
    """Counts requests, and refuses those beyond the limits."""

    def __init__(self, settings: Limits, store: Store) -> None:
        """Count by ``settings``.

        Raises:
            InvalidConfiguration: A rate or the storage cannot be understood, or a package
                for it is not installed.
        """
        self._rates: dict[Rate, Any] = {
            rate: _parsed(text)
            for rate, text in (
                (Rate.READ, settings.read),
                (Rate.WRITE, settings.write),
                (Rate.HEAVY, settings.heavy),
            )
            if text is not None
        }
        self.guesses: Guesses = Guesses()
        if settings.guesses is not None:
            guesses = _parsed(settings.guesses)
            self.guesses = Guesses(guesses.amount, guesses.get_expiry())
        self._anonymous: _Counters | None = None
        self._known: _Counters | None = None
        if not self._rates:
            return
        # Requests without valid credentials cause no database work.
        self._anonymous = _InLibrary(MEMORY)
        if settings.storage == DATABASE:
            self._known = _Refusals(DatabaseCounters(store.database))
        elif settings.storage == MEMORY:
            self._known = self._anonymous
        else:
            self._known = _Elsewhere(settings.storage, self._anonymous)

    def count(self, rate: Rate, tenant: str, actor: str) -> None:
        """Count a request of an actor.

        Raises:
            TooManyRequests: There were too many.
        """
        self._count(self._known, rate, tenant, f"{rate.value}:actor:{actor}")

    def count_address(self, rate: Rate, address: str) -> None:
        """Count a request without valid credentials, by its network address.

        Raises:
            TooManyRequests: There were too many.
        """
        self._count(self._anonymous, rate, "", f"{rate.value}:address:{address}")

    def _count(self, counters: _Counters | None, rate: Rate, tenant: str, name: str) -> None:
        item = self._rates.get(rate)
        if item is None or counters is None:
            return
        # Names are of any length and hold any character, which no storage takes; and others
        # see what is in it.
        key = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        wait = counters.hit(tenant, key, item.amount, item.get_expiry())
        if wait > 0:
            raise TooManyRequests(
                f"Too many requests: at most {item.amount} in {item.get_expiry()} seconds here; "
                f"try again in {math.ceil(wait)} s.",
                retry_after=math.ceil(wait),
            )


def _parsed(text: str) -> Any:
    try:
        import limits
    except ModuleNotFoundError:
        raise InvalidConfiguration(
            'Counting requests needs one more package: pip install "expresso-persist[limits]"; '
            "or mount with limits=NO_RATES where something in front counts them."
        ) from None
    try:
        return limits.parse(text)
    except ValueError:
        raise InvalidConfiguration(
            f"{text!r} is no rate; write it like 600/minute or 10 per 5 minutes."
        ) from None


class _InLibrary:
    """Counted by the package ``limits``: a sliding window over two fixed ones.

    Attributes:
        failures: What a storage that does not answer raises.
    """

    failures: type[Exception] | tuple[type[Exception], ...]

    def __init__(self, uri: str) -> None:
        import limits
        from limits.errors import ConfigurationError
        from limits.storage import storage_from_string

        scheme = uri.partition(":")[0]
        # Those of Redis would wait for ever, or try again for seconds.
        patience = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
        options: dict[str, Any] = patience if scheme.startswith(("redis", "valkey")) else {}
        try:
            storage = storage_from_string(uri, **options)
        except ConfigurationError as error:
            raise InvalidConfiguration(
                f"Requests cannot be counted in {scheme!r}: use memory://, database, or a storage "
                f"of the package limits with its own package installed ({type(error).__name__})."
            ) from None
        self.failures = storage.base_exceptions
        self._item = limits.RateLimitItemPerSecond
        self._window = limits.strategies.SlidingWindowCounterRateLimiter(storage)

    def hit(self, tenant: str, name: str, amount: int, period: int) -> float:
        item = self._item(amount, period)
        if self._window.hit(item, tenant, name):
            return 0.0
        return max(1.0, self._window.get_window_stats(item, tenant, name).reset_time - time.time())


class _Elsewhere:
    """Counted in a server of its own; by each process while that does not answer."""

    _PAUSE = 5.0  # seconds between two attempts to reach it

    def __init__(self, uri: str, here: _Counters) -> None:
        self._scheme = uri.partition(":")[0]
        self._there = _InLibrary(uri)
        self._here = here
        self._again = 0.0  # when it is asked again; 0 while it answers

    def hit(self, tenant: str, name: str, amount: int, period: int) -> float:
        if time.monotonic() < self._again:
            return self._here.hit(tenant, name, amount, period)
        try:
            wait = self._there.hit(tenant, name, amount, period)
        except self._there.failures as error:
            if not self._again:
                # Not the error's own words, in which there may be an address with a password.
                logger.warning(
                    "Requests cannot be counted in %s now (%s); each process counts them by itself "
                    "until it answers again.",
                    self._scheme,
                    type(error).__name__,
                )
            self._again = time.monotonic() + self._PAUSE
            return self._here.hit(tenant, name, amount, period)
        self._again = 0.0
        return wait


class _Refusals:
    """Remembers refusals until they end, so that a flood causes no database work."""

    def __init__(self, counters: _Counters) -> None:
        self._counters = counters
        self._until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def hit(self, tenant: str, name: str, amount: int, period: int) -> float:
        key = (tenant, name)
        with self._lock:
            rest = self._until.get(key, 0.0) - time.monotonic()
        if rest > 0:
            return rest
        wait = self._counters.hit(tenant, name, amount, period)
        with self._lock:
            if wait > 0:
                self._until[key] = time.monotonic() + wait
            else:
                self._until.pop(key, None)
        return wait
