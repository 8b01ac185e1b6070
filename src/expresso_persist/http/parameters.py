"""Parameters, bodies, data and links of the endpoints, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from expresso_persist.importing.receipt import OUTCOMES
from expresso_persist.model.records import RECORD_TYPES
from expresso_persist.stock.requests import UPDATE_TYPES

__all__ = ["DATA", "LINKS", "Query", "Schema"]

Schema: TypeAlias = Mapping[str, Any]


@attrs.frozen
class Query:
    """A parameter of the query: a sentence for people, and its JSON Schema."""

    text: str
    schema: Schema = attrs.field(factory=lambda: {"type": "string"})


# In any case of letters: str(True) of Python is one too.
FLAG: Schema = {
    "type": "string",
    "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|1|0)$",
}
DRY_RUN = Query("true: only say what would be done", FLAG)
DEEP = Query("true: what the doctor finds, for who may read", FLAG)
MODE = Query(
    "merge (default): nothing stored is removed, nothing empty takes the place of something "
    "full; replace: the business data becomes the dump's",
    {"enum": ["merge", "replace"]},
)
ON_CONFLICT = Query(
    "whose value stands where both have one: incoming (default), existing (class kept); or fail",
    {"enum": ["incoming", "existing", "fail"]},
)
INCLUDE = Query("caches: also take caches and interface state", {"enum": ["caches", ""]})
DEVICE = Query("whose preferences to include")
RECIPIENT = Query("public keys of age, separated by commas, to encrypt it for")
FROM_TENANT = Query("the tenant it was written for, if that is another one")
# Both accept more than the pattern says: every time of ISO 8601, and a cursor is opaque.
_CURSOR = r"^(0|[^.]+\.[0-9]{1,18}\..+|now)$"
SINCE = Query(
    "the cursor of an earlier answer, 0 for everything, or now",
    {"type": "string", "pattern": _CURSOR},
)
STREAM_SINCE = Query(
    "a cursor, 0 for everything, or now; Last-Event-ID goes before it",
    {"type": "string", "pattern": _CURSOR},
)
_POSITION: Schema = {"type": "string", "pattern": r"^[^.\s]{1,256}\.[0-9]{1,18}\.[0-9a-f]{1,64}$"}
STANDING = {
    "Expresso-Since": Query(
        "a cursor that the client knows; 409 timeline_lost from a database that does not have it",
        _POSITION,
    ),
    "Expresso-Acknowledged": Query(
        "the cursor of this write's first answer, when it is offered again after a loss",
        _POSITION,
    ),
    "Expresso-Lost": Query(
        "with an offer, the oldest cursor that the client knows and this database does not have",
        _POSITION,
    ),
}
AS_OF = Query(
    "a revision, or an ISO 8601 time with its offset: as it was then",
    {
        "type": "string",
        "pattern": r"^([0-9]{1,18}"
        r"|[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
        r"(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9]))$",
    },
)
LIMIT = Query("1 to 1000", {"type": "integer", "minimum": 1, "maximum": 1000})
WAIT = Query(
    "seconds to wait for something after the cursor, 0 to 55",
    {"type": "number", "minimum": 0, "maximum": 55},
)
_REVISION: Schema = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
BEFORE = Query(
    "only commits before this revision",
    _REVISION,
)
STATION = Query("a station, instead of a record")
KIND = Query("kind of the record; together with key")
KEY = Query("key of the record, a JSON list of texts; together with kind")

SESSION: Schema = {
    "type": "object",
    "properties": {"one_time_token": {"type": "string", "maxLength": 256}},
    "required": ["one_time_token"],
}
DUMP: Schema = {
    "type": "object",
    "description": (
        '{"localStorage": {key: raw string}, "origin", "device_id"}, with texts of at most '
        "256 characters; or an object of the keys themselves."
    ),
}
OBJECT: Schema = {"type": "object"}
NEW_BACKUP: Schema = {
    "type": "object",
    "properties": {"notes": {"type": "string", "maxLength": 1000}},
}
_TEXTS: Schema = {"type": ["array", "null"], "minItems": 1, "items": {"type": "string"}}
_KINDS: Schema = {**_TEXTS, "items": {"enum": sorted(RECORD_TYPES)}}
_KEYS: Schema = {
    **_TEXTS,
    "items": {"type": "string", "pattern": rf"^({'|'.join(sorted(RECORD_TYPES))}):."},
}
RESTORE: Schema = {
    "type": "object",
    "properties": {"kinds": _KINDS, "stations": _TEXTS, "keys": _KEYS},
}
BATCH: Schema = {
    "type": "object",
    "properties": {
        "updates": {
            "type": "array",
            "maxItems": 1000,
            "items": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": kind},
                            "data": {"$ref": f"#/components/schemas/{cls.__name__}"},
                        },
                        "required": ["type", "data"],
                    }
                    for kind, cls in UPDATE_TYPES.items()
                ]
            },
        }
    },
    "required": ["updates"],
}

DATA: Mapping[str, Schema] = {
    "Backup": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "revision": {"type": "integer"},
            "backup_type": {"type": "string"},
            "backup_status": {"type": "string"},
        },
        "required": ["id", "revision", "backup_type", "backup_status"],
    },
    "ImportReceipt": {
        "type": "object",
        "properties": {
            "committed": {"type": "boolean"},
            "revision": {"type": "integer"},
            "totals": {
                "type": "object",
                "properties": {
                    name: {"type": "integer", "minimum": 0} for name in ("keys", *OUTCOMES)
                },
                "required": ["keys", *OUTCOMES],
            },
            "keys": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "key": {"type": "string"},
                        "class": {"enum": [*OUTCOMES]},
                        "kept": {"type": "integer", "minimum": 0},
                    },
                    "required": ["key", "class", "kept"],
                },
            },
            "conflicts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "cause": {"enum": ["different", "empty", "text", "shape", "ambiguous"]},
                        "resolution": {"enum": ["incoming", "existing", "both"]},
                    },
                    "required": ["document", "key", "path", "cause", "resolution"],
                },
            },
            "matched": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["document", "incoming", "stored"],
                },
            },
            "alike": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "cause": {"enum": ["same_name", "other_category", "same_id"]},
                        "items": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {"side": {"enum": ["stored", "dump", "both"]}},
                                "required": ["key", "name", "side", "holdings"],
                            },
                        },
                    },
                    "required": ["document", "cause", "items"],
                },
            },
            "safety_backup_id": {"type": ["string", "null"]},
        },
        "required": [
            "committed",
            "revision",
            "totals",
            "keys",
            "conflicts",
            "matched",
            "alike",
            "safety_backup_id",
        ],
    },
    "Backups": {
        "type": "object",
        "properties": {
            "backups": {"type": "array", "items": {"$ref": "#/components/schemas/Backup"}}
        },
        "required": ["backups"],
    },
    "Changes": {
        "type": "object",
        "properties": {
            "commits": {"type": "array", "items": {"type": "object"}},
            "cursor": {"type": "string"},
            "reset": {"type": "boolean"},
            "has_more": {"type": "boolean"},
            "waited": {"type": "boolean"},
        },
        "required": ["commits", "cursor", "reset", "has_more"],
    },
}
"""Schemas of the ``data`` of answers that say where to go on."""

_ID = "$response.body#/data/id"
_FIRST = "$response.body#/data/backups/0/id"


def _of_backup(operation: str, backup_id: str) -> Schema:
    return {"operationId": operation, "parameters": {"backup_id": backup_id}}


LINKS: Mapping[str, Schema] = {
    "look": _of_backup("get_backup", _ID),
    "verify": _of_backup("verify_backup", _ID),
    "export": _of_backup("export_backup", _ID),
    "restore": _of_backup("restore_backup", _ID),
    "look_at_newest": _of_backup("get_backup", _FIRST),
    "verify_newest": _of_backup("verify_backup", _FIRST),
    "restore_newest": _of_backup("restore_backup", _FIRST),
    "go_on": {
        "operationId": "changes",
        "parameters": {"since": "$response.body#/data/cursor"},
    },
    "undo": {
        "operationId": "undo",
        "requestBody": {"revision": "$response.body#/revision"},
    },
    "as_it_was": {
        "operationId": "get_all",
        "parameters": {"as_of": "$response.body#/revision"},
    },
}
"""How an answer leads to the next request."""

OF_BACKUP = ("look", "verify", "export", "restore")
OF_NEWEST = ("look_at_newest", "verify_newest", "restore_newest")
OF_WRITE = ("undo", "as_it_was")
