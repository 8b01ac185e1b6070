"""Whether a request comes from a page that may use the browser's cookies here."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from expresso_persist.http.messages import Request

__all__ = ["same_origin"]

_PORTS = {"http": 80, "https": 443}


def same_origin(request: Request, allowed: Collection[str]) -> bool:
    """Whether no page of another origin made the browser send this.

    Browsers add what they keep for a site (cookies, passwords, certificates) to whatever
    request any page makes; only ``Sec-Fetch-Site`` and ``Origin`` say so, which no page can
    set. A bearer token in the header is nothing that browsers add, and a client that sends neither
    header is no browser. See OWASP's Cross-Site Request Forgery Prevention Cheat Sheet,
    "Fetch Metadata headers". Where only ``Origin`` came, it is compared with the scheme, host
    and port of the request, as the framework reports them.

    Args:
        request: The request.
        allowed: Other origins that are trusted, such as ``https://display.example``.
    """
    headers = request.headers
    if headers.get("authorization", "").partition(" ")[0].lower() == "bearer":
        return True
    origin = headers.get("origin")
    if origin is not None and origin in allowed:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    if origin is None:
        return True
    asked = _parts(f"{request.scheme}://{headers.get('host', '')}")
    return asked is not None and _parts(origin) == asked


def _parts(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port, which make an origin (RFC 6454); None for what is none."""
    try:
        url = urlsplit(origin.lower())
        port = url.port or _PORTS.get(url.scheme)
    except ValueError:
        return None
    if not url.hostname or url.geturl() != f"{url.scheme}://{url.netloc}" or "@" in url.netloc:
        return None
    return url.scheme, url.hostname, port
