"""What is checked of a request's parameters and body, before and after the body is read."""

from __future__ import annotations

from expresso_persist.errors import (
    InvalidInput,
    MalformedJson,
    PayloadTooLarge,
    Problem,
    UnsupportedMediaType,
)
from expresso_persist.http.access.limits import MIB
from expresso_persist.http.endpoints import Endpoint
from expresso_persist.http.endpoints.endpoint import JSON
from expresso_persist.http.messages import Request
from expresso_persist.model.json_text import check_storable

__all__ = ["check_body", "check_headers", "check_parameters"]

MAX_PARAMETER = 8_192
"""Characters that a parameter of the path or the query may have."""


def check_parameters(request: Request) -> None:
    """Refuse names of a path or a query that no database could look up.

    Raises:
        InvalidInput: There is one.
    """
    parameters = {**request.query, **request.path_params}
    check_storable(**parameters)
    for name, value in parameters.items():
        if len(value) > MAX_PARAMETER:
            raise InvalidInput(
                f"{name[:50]} has more than {MAX_PARAMETER:,} characters.",
                problems=[Problem(name[:50], f"at most {MAX_PARAMETER:,} characters")],
            )


def check_headers(endpoint: Endpoint, request: Request, limit: int) -> None:
    """Check what the headers say of the body.

    Raises:
        UnsupportedMediaType: It is compressed, or of another media type.
        PayloadTooLarge: It is larger than ``limit``.
    """
    if endpoint.body is None:
        return
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    length = request.headers.get("content-length", "")
    if not endpoint.streams and length.isascii() and length.isdigit():
        # Compared as texts of digits: a number of a million digits is slow to convert.
        most, digits = str(limit), length.lstrip("0")
        if (len(digits), digits) > (len(most), most):
            raise _too_large(limit)
    kind = _media_type(request)
    if kind and length != "0" and not _consumes(endpoint, kind):
        raise _wrong_type(endpoint)


def check_body(endpoint: Endpoint, request: Request, limit: int) -> None:
    """Check a body that was read.

    Raises:
        PayloadTooLarge: It is larger than ``limit``.
        MalformedJson: It is empty, and may not be.
        UnsupportedMediaType: It is of another media type.
    """
    if endpoint.body is None:
        return
    if len(request.body) > limit:
        raise _too_large(limit)
    if not request.body and not endpoint.streams:
        if endpoint.body_required:
            raise MalformedJson("The body is empty at offset 0; send a JSON object.")
        return
    if not _consumes(endpoint, _media_type(request)):
        raise _wrong_type(endpoint)


def _too_large(limit: int) -> PayloadTooLarge:
    size = f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit:,} bytes"
    return PayloadTooLarge(f"The body is larger than {size}.")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _consumes(endpoint: Endpoint, kind: str) -> bool:
    if kind in endpoint.consumes:
        return True
    # RFC 6839: a media type that ends in +json is JSON too.
    return kind.startswith("application/") and kind.endswith("+json") and JSON in endpoint.consumes


def _wrong_type(endpoint: Endpoint) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"Send the body as {endpoint.consumes[0]}.")
