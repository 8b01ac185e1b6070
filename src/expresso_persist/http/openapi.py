"""The OpenAPI 3.1 document, made from the table of endpoints."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from expresso_persist.http.auth import Permission
from expresso_persist.http.endpoints import ENDPOINTS, Endpoint

__all__ = ["openapi_document"]


def _schema(endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    if isinstance(endpoint.body, dict):
        return endpoint.body
    forms = endpoint.body if isinstance(endpoint.body, tuple) else (endpoint.body,)
    schemas, found = msgspec.json.schema_components(
        forms, ref_template="#/components/schemas/{name}"
    )
    for definition in found.values():
        definition.get("properties", {}).pop("extra", None)
    components.update(found)
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def openapi_document(prefix: str, version: str) -> dict[str, Any]:
    """Describe the endpoints under ``prefix``."""
    components: dict[str, Any] = {
        "Success": {
            "type": "object",
            "properties": {
                "success": {"const": True},
                "message": {"type": "string"},
                "data": {},
                "revision": {"type": "integer"},
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
            endpoint, components, prefix
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "expresso-persist", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, components: dict[str, Any], prefix: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": ["expresso-persist"],
        "parameters": [
            {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
            for n in re.findall(r"{(\w+)}", prefix + endpoint.path)
        ]
        + [
            {"name": n, "in": "query", "description": text, "schema": {"type": "string"}}
            for n, text in endpoint.query.items()
        ],
        "responses": {
            "200": _success(endpoint),
            "default": _answer("What is wrong, and what to do.", "Failure"),
        },
    }
    if endpoint.permission is not Permission.NONE:
        operation["security"] = [{"bearer": []}]
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": {kind: {"schema": _schema(endpoint, components)} for kind in endpoint.takes},
        }
    return operation


def _success(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.gives == "application/json":
        return _answer("What was asked for.", "Success")
    return {"description": "What was asked for.", "content": {endpoint.gives: {}}}


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
