"""The control API of relay-server as OpenAPI: `openapi.py` has what is common."""

from __future__ import annotations

from typing import Final

from relay.control.limits import AFTER_LENGTH, PAGE_ROWS, SEARCH_LENGTH
from relay.control.openapi import (
    COUNT,
    ERROR,
    SECONDS,
    TEXT,
    Schema,
    answer,
    described,
    list_of,
    object_of,
    operation,
    ref,
)

VERSION: Final = described(
    "of this object: a field is added without another one, and none is dropped or changed",
    {"const": 1},
)
MAYBE_COUNT: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
MAYBE_SECONDS: Final[Schema] = {"type": ["number", "null"], "minimum": 0}

REFUSAL: Final = object_of({"what": TEXT, "why": TEXT, "count": COUNT})


def page_of(name: str, one: str) -> Schema:
    following = described(
        "give it as `after` for the next page; null: this is the last", {"type": ["string", "null"]}
    )
    return object_of({
        "version": VERSION, name: list_of(ref(one)),
        "total": described("rows of all pages", COUNT), "next": following,
    })  # fmt: skip


SCHEMAS: Final[Schema] = {
    "Status": object_of({
        "version": VERSION, "program": TEXT, "release": TEXT, "pid": COUNT, "uptime": SECONDS,
        "legs": COUNT, "connections": described("those that have not logged in as well", COUNT),
        "services": described("that are up", COUNT),
        "services_down": COUNT, "services_held": COUNT,
        "streams": COUNT, "streams_opened": COUNT,
        "bytes_there": described("to services", COUNT), "bytes_back": COUNT,
        "bytes_waiting": described("that a side has yet to take", COUNT),
        "stalls": described(
            "how often a side was held back, as too much waited for the other", COUNT),
        "rekeys": described("how often keys were changed", COUNT),
        "loop_delay": described("seconds that the program is late for its work, just now", SECONDS),
        "logins": COUNT, "logins_failed": COUNT, "refusals": list_of(REFUSAL),
        "limits_hit": {"type": "object", "additionalProperties": COUNT},
    }),
    "Legs": page_of("legs", "Leg"),
    "Leg": object_of({
        "leg": described("its number, which no other leg of the process has", COUNT),
        "fingerprint": TEXT, "comment": TEXT, "peer": TEXT, "user": TEXT, "client": TEXT,
        "cipher": TEXT, "seconds": SECONDS, "services": COUNT, "streams": COUNT,
        "bytes_received": COUNT, "bytes_sent": COUNT, "bytes_waiting": COUNT,
    }),
    "Services": page_of("services", "Service"),
    "Service": object_of({
        "service": TEXT,
        "state": described(
            "up: it is published; down: it does not answer, says its agent; held: its agent is "
            "gone, and who opens it waits a moment for it", {"enum": ["up", "down", "held"]}),
        "reason": described("why it is not up", TEXT),
        "leg": COUNT, "fingerprint": TEXT, "comment": TEXT, "peer": TEXT,
        "seconds": described("that it is in this state", SECONDS),
        "streams": COUNT, "streams_opened": COUNT,
        "bytes_there": COUNT, "bytes_back": COUNT, "bytes_waiting": COUNT, "stalls": COUNT,
    }),
    "Streams": page_of("streams", "Stream"),
    "Stream": object_of({
        "stream": described("its opener's leg, and its channel there", TEXT),
        "service": TEXT,
        "opener": described("a leg's number; null: it came by an open port", MAYBE_COUNT),
        "agent": COUNT, "comment": TEXT, "peer": TEXT, "seconds": MAYBE_SECONDS,
        "bytes_there": COUNT, "bytes_back": COUNT, "bytes_waiting": COUNT,
    }),
    "Ended": object_of({
        "version": VERSION,
        "legs": list_of(TEXT), "services": list_of(TEXT), "streams": list_of(TEXT),
    }),
    "Reloaded": object_of({"version": VERSION, "reloaded": {"type": "boolean"}}),
    "Draining": object_of({"version": VERSION, "pid": COUNT, "streams": COUNT}),
    "Error": ERROR,
}  # fmt: skip

STATUS: Final = operation("status", "How it is", {200: answer("so", ref("Status"))})


def list_operation(name: str, summary: str, one: str) -> Schema:
    """A list, a page at a time (pages.py)."""
    fields = list(SCHEMAS[one]["properties"])
    numbers: Schema = {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS}
    parameters = (
        ("limit", {**numbers, "default": PAGE_ROWS}, "rows at most"),
        ("after", {"type": "string", "maxLength": AFTER_LENGTH},
         "`next` of the page before, which was asked for in the same order"),
        ("sort", {"enum": [*fields, *(f"-{field}" for field in fields)]},
         "the field that they are in the order of; with a - the other way round"),
        ("search", {"type": "string", "maxLength": SEARCH_LENGTH},
         "only rows with a name, key or address in which this occurs"),
    )  # fmt: skip
    return operation(
        name,
        summary,
        {200: answer("a page", ref(f"{one}s"))},
        parameters=[
            {"name": name, "in": "query", "schema": schema, "description": description}
            for name, schema, description in parameters
        ],
    )


LEGS: Final = list_operation("legs", "Who has logged in", "Leg")
SERVICES: Final = list_operation("services", "What is published", "Service")
STREAMS: Final = list_operation("streams", "What is open", "Stream")
KICK: Final = operation(
    "kick",
    "End a key's legs (SHA256:...), a leg (12), a service with its streams (name:port), or a "
    "stream (12.3). Who may come back does",
    {200: answer("what was ended", ref("Ended")), 404: answer("nothing is", ref("Error"))},
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": object_of({"what": TEXT})}},
    },
)
RELOAD: Final = operation(
    "reload", "Read the configuration again, as on SIGHUP", {200: answer("read", ref("Reloaded"))}
)
DRAIN: Final = operation(
    "drain",
    "Take nothing new, and end when the streams have ended, or --drain is over",
    {202: answer("it ends", ref("Draining"))},
)
OPENAPI: Final = operation("openapi", "This document", {200: answer("it", {"type": "object"})})
