"""Guesses: wrong credentials, counted by network address before they are looked up."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import math
import re
import threading
import time
from collections.abc import Collection, Iterator

import attrs

from expresso_persist.errors import TooManyRequests, Unauthorized
from expresso_persist.http.access.rates import next_free, rolled
from expresso_persist.http.messages import Request

__all__ = ["ORDINARY_HEADERS", "Guesses", "credentials_in"]

# Each by its whole name, and no families: a host may read a token from a header that begins
# like an ordinary one, such as X-Forwarded-Access-Token or Sec-WebSocket-Protocol.
ORDINARY_HEADERS: re.Pattern[str] = re.compile(
    "accept(-(ch|charset|datetime|encoding|language|ranges))?|"
    "content-(digest|disposition|encoding|language|length|location|range|type)|"
    "sec-(fetch-(dest|mode|site|user)|gpc|purpose|websocket-(extensions|key|version))|"
    "sec-ch-(ua|dpr|prefers|width|viewport|device)[a-z-]*|"
    "if-(match|modified-since|none-match|range|unmodified-since)|"
    "access-control-request-(headers|method|private-network)|"
    "x-forwarded-(by|for|host|path|port|prefix|proto|protocol|scheme|server|ssl|uri)|"
    "expresso-(acknowledged|lost|since)|"
    "host|user-agent|connection|dnt|"
    "cache-control|pragma|te|upgrade-insecure-requests|origin|referer|via|forwarded|x-real-ip|"
    "x-request-id|traceparent|idempotency-key|last-event-id|keep-alive|upgrade|priority|expect|"
    "transfer-encoding|tracestate|x-correlation-id|x-amzn-trace-id|x-cloud-trace-context|"
    "cf-(ray|connecting-ip|ipcountry|visitor)"
)
"""Headers that carry no credentials."""

_MANY = 10_000  # addresses that are remembered
_GOOD = 1_000  # credentials that were right lately


@attrs.define
class _Address:
    """What one address tried.

    Attributes:
        window: Number of the period that `hits` is about.
        hits: Wrong credentials in it, and those that are being looked up.
        previous: Wrong credentials in the period before.
        wrong: Digests of those in it; to send the same again is no new guess.
        older: Of those in the period before.
        closed_until: Until then, by the monotonic clock, every request from there is refused.
    """

    window: int
    hits: int = 0
    previous: int = 0
    wrong: set[bytes] = attrs.field(factory=set)
    older: set[bytes] = attrs.field(factory=set)
    closed_until: float = 0.0


class Guesses:
    """Lets an address try so many different credentials in a period.

    An address that tried too many gets the same answer for whatever it sends, the right
    credentials included; otherwise the answers would reveal which those are.
    """

    def __init__(self, amount: int | None = None, period: int = 60) -> None:
        """Allow ``amount`` wrong credentials in ``period`` seconds; None for any number."""
        self._amount = amount
        self._period = period
        self._addresses: dict[str, _Address] = {}
        self._good: dict[bytes, None] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def attempt(self, client: str, tried: str) -> Iterator[bool]:
        """Count a guess while it is looked up, and keep it counted if it was wrong.

        Gives whether it is counted: the same wrong credentials again are no new guess.

        Args:
            client: The network address that it came from.
            tried: What was sent, see :func:`credentials_in`; without it there is no guess.

        Raises:
            TooManyRequests: There were too many from that address.
        """
        if not tried or self._amount is None:
            yield False  # no credentials, so nothing to guess
            return
        name = _network(client)
        digest = hashlib.sha256(tried.encode(errors="surrogatepass")).digest()
        counted = self._begin(name, digest, self._amount)
        try:
            yield counted
        except Unauthorized:
            with self._lock:
                if (address := self._addresses.get(name)) is not None and counted:
                    address.wrong.add(digest)
                self._good.pop(digest, None)
            raise
        except BaseException:
            self._give_back(name, counted=counted)
            raise
        self._give_back(name, counted=counted)
        with self._lock:
            self._good[digest] = None
            if len(self._good) > _GOOD:
                self._good.pop(next(iter(self._good)))

    def close(self, client: str, seconds: float) -> None:
        """Refuse an address for some seconds, for other reasons than guesses."""
        if self._amount is None:
            return
        now = time.monotonic()
        with self._lock:
            address = self._current(_network(client), int(now / self._period))
            address.closed_until = now + seconds

    def check(self, client: str) -> None:
        """Refuse an address that tried too many, without counting.

        Raises:
            TooManyRequests: There were too many from that address.
        """
        if self._amount is not None:
            now = time.monotonic()
            with self._lock:
                name = _network(client)
                self._refuse(self._current(name, int(now / self._period)), now, self._amount)

    def _refuse(self, address: _Address, now: float, amount: int) -> None:
        elapsed = now / self._period % 1
        wait = next_free(address.hits, address.previous, amount, elapsed) * self._period
        wait = max(wait, address.closed_until - now)
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooManyRequests(
                f"Too many attempts to sign in from this address: at most {amount} in "
                f"{self._period} seconds; try again in {seconds} s.",
                retry_after=seconds,
            )

    def _begin(self, name: str, digest: bytes, amount: int) -> bool:
        """Count it, unless it was counted before or is known to be right."""
        now = time.monotonic()
        with self._lock:
            address = self._current(name, int(now / self._period))
            self._refuse(address, now, amount)
            if digest in address.wrong or digest in address.older or digest in self._good:
                return False
            address.hits += 1
            return True

    def _current(self, name: str, window: int) -> _Address:
        address = self._addresses.get(name)
        if address is None:
            if len(self._addresses) >= _MANY:
                self._forget(window)
            address = self._addresses[name] = _Address(window)
        elif address.window != window:
            address.hits, address.previous = rolled(
                address.window, address.hits, address.previous, window
            )
            address.wrong, address.older = set(), address.wrong
            address.window = window
        return address

    def _forget(self, window: int) -> None:
        """Drop the addresses of which nothing counts any more; else those that tried least."""
        kept = {
            name: address
            for name, address in self._addresses.items()
            if address.window >= window - 1 and address.hits + address.previous
        }
        if len(kept) >= _MANY:
            least = sorted(kept, key=lambda name: kept[name].hits + kept[name].previous)
            for name in least[: _MANY // 2]:
                del kept[name]
        self._addresses = kept

    def _give_back(self, name: str, *, counted: bool) -> None:
        with self._lock:
            address = self._addresses.get(name)
            if counted and address is not None and address.hits:
                address.hits -= 1


def credentials_in(request: Request, parameters: Collection[str] = ()) -> str:
    """What may be credentials in a request, in one text; empty if there is nothing.

    Every header and every parameter of the query that is not known to be something else:
    where a host's own hook looks is not known here.

    Args:
        request: The request.
        parameters: Those of the query that the endpoint has.
    """
    # Iterating over a framework's own headers may give pairs.
    names = sorted(name.lower() for name in request.headers.keys())  # noqa: SIM118
    found = [f"{n}: {request.headers.get(n)}" for n in names if not ORDINARY_HEADERS.fullmatch(n)]
    query = sorted(request.query.items())
    return "\n".join(found + [f"{n}={v}" for n, v in query if n not in parameters])


def _network(address: str) -> str:
    """The address; of IPv6 the network of 64 bits, of which one person has all addresses."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
