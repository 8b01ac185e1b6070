"""The migration page and its files, from the package, under a strict content policy."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from expresso_persist.http.messages import Request, Response

__all__ = ["ASSETS", "PAGE", "serve_asset"]

PAGE = "/static/localStorage-to-database-migration.html"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _find_assets() -> dict[str, str]:
    """Path -> name of the file in the package."""
    found: dict[str, str] = {}
    for file in resources.files("expresso_persist.web").iterdir():
        if file.name == PAGE.rsplit("/", 1)[-1]:
            found[PAGE] = file.name
        elif file.name.endswith((".js", ".css")):
            found[f"/static/expresso-persist/{file.name}"] = file.name
    return found


ASSETS = _find_assets()


@cache
def _content(name: str) -> tuple[bytes, str]:
    body = (resources.files("expresso_persist.web") / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def serve_asset(path: str, request: Request) -> Response:
    """The file at ``path`` (one of :data:`ASSETS`), or 304 where the browser has it."""
    name = ASSETS[path]
    body, etag = _content(name)
    kind = _TYPES[name[name.rfind(".") :]]
    headers = {**_HEADERS, "ETag": etag, "Content-Type": f"{kind}; charset=utf-8"}
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", headers)
    return Response(200, body, headers)
