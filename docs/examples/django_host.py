"""Django: an adapter for another framework, complete.

    DATABASE_URL=postgresql://… EXPRESSO_PERSIST_TOKEN=… gunicorn --threads 40 django_host:app

docs/other-frameworks.md says what an adapter does; `urls` and the functions below it are all of
it. The rest is what any Django project has.
"""

import re

import attrs
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern, re_path
from django.views.decorators.csrf import csrf_exempt

from expresso_persist.http.adapter import (
    ASSETS,
    ENDPOINTS,
    Api,
    Endpoint,
    Request,
    Response,
    Store,
    serve_asset,
)


def urls(api: Api) -> list[URLPattern]:
    """Patterns for a project's ``urlpatterns``."""
    endpoints = [re_path(_pattern(api.prefix + e.path), _view(api, e)) for e in ENDPOINTS]
    assets = [re_path(_pattern(api.prefix + path), _asset(path)) for path in ASSETS]
    return endpoints + assets


def _pattern(path: str) -> str:
    parts = re.split(r"{(\w+)}", path.lstrip("/"))
    named = [f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)]
    return f"^{''.join(named)}$"


def _view(api: Api, endpoint: Endpoint):
    allowed = {endpoint.method, "HEAD"} if endpoint.method == "GET" else {endpoint.method}

    @csrf_exempt  # the library checks the origin itself
    def view(native: WSGIRequest, **path_params: str) -> HttpResponseBase:
        if native.method not in allowed:
            return HttpResponse(status=405, headers={"Allow": ", ".join(sorted(allowed))})
        request = _to_request(native, path_params)
        if endpoint.streams:
            request = attrs.evolve(request, stream=native)
        return _to_response(api.handle(endpoint, request, native.read))

    return view


def _asset(path: str):
    return lambda native: _to_response(serve_asset(path, _to_request(native, {})))


def _to_request(native: WSGIRequest, path_params: dict[str, str]) -> Request:
    return Request(
        native.method,
        native.path,
        dict(native.GET.items()),
        {name.lower(): value for name, value in native.headers.items()},
        path_params=path_params,
        client=native.META.get("REMOTE_ADDR", ""),
        scheme=native.scheme or "http",
        native=native,
        # A server with one thread for everything must not wait for anything.
        can_wait=bool(native.META.get("wsgi.multithread")),
    )


def _to_response(response: Response) -> HttpResponseBase:
    kind = HttpResponse if response.stream is None else StreamingHttpResponse
    body = response.body if response.stream is None else response.stream
    return kind(body, status=response.status, headers=dict(response.headers))


if not settings.configured:  # a project has these in its settings.py and urls.py
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    )
    urlpatterns = urls(Api(Store(migrate=True)))
app = get_wsgi_application()
