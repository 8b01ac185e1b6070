"""The OpenAPI 3.1 document, made from the table of endpoints."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from expresso_persist import errors
from expresso_persist.http.access.auth import Permission
from expresso_persist.http.access.limits import Limits
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint
from expresso_persist.http.endpoints.endpoint import JSON

__all__ = ["add_to_host", "name_in_host", "openapi_document"]

_SCHEMAS = "#/components/schemas/"


def _schema(endpoint: Endpoint, limits: Limits, components: dict[str, Any]) -> dict[str, Any]:
    body = endpoint.body
    if isinstance(body, type):
        return _described(body, components)
    return {**(body(limits) if callable(body) else body)}


def _described(cls: type, components: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a class, with what is checked beyond its types."""
    (schema,), found = msgspec.json.schema_components([cls], ref_template=_SCHEMAS + "{name}")
    for definition in found.values():
        properties = definition.get("properties", {})
        properties.pop("extra", None)
        if {"item_id", "item_name"} <= {*properties}:
            definition["anyOf"] = [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("item_name", "item_id")
            ]
    components.update(found)
    return schema


def openapi_document(prefix: str, version: str, limits: Limits) -> dict[str, Any]:
    """Describe the endpoints under ``prefix``, with what ``limits`` allow."""
    components: dict[str, Any] = {
        "Success": {
            "type": "object",
            "properties": {
                "success": {"const": True},
                "message": {"type": "string"},
                "data": {},
                "revision": {"type": "integer"},
                "cursor": {"type": "string"},
                "before": {"type": "string"},
            },
            "required": ["success", "message"],
        },
        "Failure": {
            "type": "object",
            "properties": {
                "success": {"const": False},
                "error": {"type": "string"},
                "code": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["success", "error", "code"],
        },
    }
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(prefix + endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, limits, components, prefix
        )
        if endpoint.data is not None:
            components[endpoint.data.name] = endpoint.data.schema
    return {
        "openapi": "3.1.0",
        "info": {"title": "expresso-persist", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def name_in_host(prefix: str, endpoint: str) -> str:
    """The name of an endpoint in a host, which has names of its own and perhaps several stores."""
    return re.sub(r"\W+", "_", f"expresso{prefix}_{endpoint}")


def add_to_host(host: dict[str, Any], ours: dict[str, Any], prefix: str) -> None:
    """Merge our document into the host's, under names that hide none of the host's.

    Args:
        host: The host's OpenAPI document; changed in place, and the same when done twice.
        ours: The document of the endpoints under ``prefix``; left as it is.
        prefix: Path in front of the endpoints.
    """
    renamed = _renamed(ours, prefix)
    for path, operations in renamed["paths"].items():
        host.setdefault("paths", {}).setdefault(path, {}).update(operations)
    for section, members in ours["components"].items():
        of_host = host.setdefault("components", {}).setdefault(section, {})
        of_host.update({_ours(n): _renamed(member, prefix) for n, member in members.items()})


def _ours(name: str) -> str:
    return f"Expresso{name[0].upper()}{name[1:]}"


def _renamed(node: Any, prefix: str, key: str = "") -> Any:
    """A part of the document with the names that it has in a host."""
    if isinstance(node, dict):
        return {k: _renamed(value, prefix, k) for k, value in node.items()}
    if isinstance(node, list):
        if key == "security":
            return [{_ours(name): scopes for name, scopes in one.items()} for one in node]
        return [_renamed(value, prefix) for value in node]
    if isinstance(node, str) and key == "operationId":
        return name_in_host(prefix, node)
    if isinstance(node, str) and node.startswith(_SCHEMAS):
        return _SCHEMAS + _ours(node.removeprefix(_SCHEMAS))
    return node


def _operation(
    endpoint: Endpoint, limits: Limits, components: dict[str, Any], prefix: str
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": ["expresso-persist"],
        "parameters": [
            {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
            for n in re.findall(r"{(\w+)}", prefix + endpoint.path)
        ]
        + [
            {"name": n, "in": place, "description": query.text, "schema": query.schema}
            for place, queries in (("query", endpoint.query), ("header", endpoint.headers))
            for n, query in queries.items()
        ],
        "responses": {
            "200": _success(endpoint),
            **{str(status): _failed(status) for status in sorted(_failures(endpoint, prefix))},
        },
    }
    if endpoint.permission is not Permission.NONE:
        operation["security"] = [{"bearer": []}]
    if endpoint.body is not None:
        schema = _schema(endpoint, limits, components)
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": {kind: {"schema": schema} for kind in endpoint.consumes},
        }
    return operation


def _failures(endpoint: Endpoint, prefix: str) -> set[int]:
    """The statuses that an endpoint can answer with besides success."""
    found = {429, 500, 503, *endpoint.error_statuses}
    if endpoint.permission is not Permission.NONE:
        found |= {401, 403, 404}  # 404: no such tenant
    if endpoint.query or endpoint.body is not None:
        found.add(422)
    if endpoint.body is not None:
        found |= {400, 408, 413, 415}
    if endpoint.method != "GET":
        found |= {409, 507}
    if "{" in prefix + endpoint.path:
        found |= {404, 422}
    return found


# Statuses for which no error's docstring is short and general enough.
_WORDS = {
    304: "The client has it already: If-None-Match names the current revision.",
    404: "There is no such thing here.",
    409: "It conflicts with what is stored, or with something that runs at the moment.",
    422: "The input does not have the expected form; details says where.",
    500: "Something went wrong on the server; its log says more under the reference.",
    503: "The database does not answer, or too many connections are open; try again later.",
    400: "The body is not valid JSON, or no object.",
}


def _failed(status: int) -> dict[str, Any]:
    if status == 304:
        return {"description": _WORDS[304]}
    words = _WORDS.get(status) or next(
        (cls.__doc__ or "").split("\n", 1)[0]
        for cls in (getattr(errors, name) for name in errors.__all__)
        if getattr(cls, "status", None) == status
    )
    answer = _answer(words, "Failure")
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    elif status == 429:
        answer["headers"] = {"Retry-After": {"required": True, "schema": {"type": "integer"}}}
    return answer


def _success(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.produces != (JSON,):
        content: dict[str, Any] = {kind: {} for kind in endpoint.produces}
        return {"description": "Success.", "content": content}
    answer = _answer("Success.", "Success")
    if endpoint.data is not None:
        schema = answer["content"]["application/json"]["schema"]
        data = {"properties": {"data": {"$ref": f"#/components/schemas/{endpoint.data.name}"}}}
        answer["content"]["application/json"]["schema"] = {
            "allOf": [schema, {**data, "required": ["data"]}]
        }
    if endpoint.links:
        answer["links"] = {name: {**link} for name, link in endpoint.links.items()}
    return answer


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
