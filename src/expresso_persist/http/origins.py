"""Whether a request comes from a page that may use the browser's cookies here."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from expresso_persist.http.messages import Request

__all__ = ["same_origin"]


def same_origin(request: Request, allowed: Collection[str]) -> bool:
    """Whether no page of another origin made the browser send this.

    Browsers add what they keep for a site (cookies, passwords, certificates) to whatever
    request any page makes; only ``Sec-Fetch-Site`` and ``Origin`` tell, which no page can
    set. A bearer token in the header is nothing that browsers add, and who sends neither
    header is no browser. See OWASP's Cross-Site Request Forgery Prevention Cheat Sheet,
    "Fetch Metadata headers".

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
    host = headers.get("host", "").lower()
    return bool(host) and urlsplit(origin).netloc.lower() == host
