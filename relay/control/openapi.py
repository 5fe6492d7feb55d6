"""The control API as an OpenAPI document, made beside the routes that it describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import relay
from relay.control.kinds import ENDPOINT, STATES

if TYPE_CHECKING:
    from relay.control.api import Route

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}


def object_of(fields: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required}


def described(description: str, schema: Schema) -> Schema:
    return {**schema, "description": description}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


ERROR: Final = object_of({"error": described("why not, in one line for a person", TEXT)})

FORWARD: Final = object_of(
    {
        "kind": {"enum": ["remote", "remote-dynamic", "local", "dynamic", ENDPOINT]},
        "forward": described("as it is written after -R, -L or -D", TEXT),
        "listening": TEXT,
        "target": TEXT,
        "state": {"enum": list(STATES)},
        "port": described(
            "where it listens, if it is known; null: not yet, or a unix socket",
            {"type": ["integer", "null"], "minimum": 0, "maximum": 65535},
        ),
        "reason": described("why it is refused, was taken, or is down; empty: it is not", TEXT),
        "again_in": described(
            "seconds until it is asked for again; null: it is not",
            {"type": ["number", "null"], "minimum": 0},
        ),
        "stream_refused": described(
            "-L: why the last connection to it was not served; empty: it was, or there was none",
            TEXT,
        ),
        "stream_refused_for": described(
            "seconds since one was first not served, and none since; null: it was",
            {"type": ["number", "null"], "minimum": 0},
        ),
    }
)

FORWARDS: Final = object_of({"forwards": list_of(ref("Forward"))})

CONNECTION: Final = object_of(
    {
        "up": {"type": "boolean"},
        "seconds": described("for so long it has been so", SECONDS),
        "reason": described("why there is none", TEXT),
        "server": described("the server's version line", TEXT),
        "cipher": TEXT,
        "resumable": described("of a session end to end: for how long it may be held, or is", TEXT),
    },
    optional=("server", "cipher", "resumable"),
)

STATUS_ANSWER: Final = object_of(
    {
        "version": described(
            "of this object: a field is added without another one, and none is dropped or changed",
            {"const": 1},
        ),
        "program": TEXT,
        "release": TEXT,
        "pid": COUNT,
        "uptime": SECONDS,
        "destination": TEXT,
        "connection": ref("Connection"),
        "streams": described("open, or waiting for a connection", COUNT),
        "forwards": list_of(ref("Forward")),
    }
)

ENDING: Final = object_of({"pid": COUNT, "streams": COUNT})


def answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def operation(
    name: str, summary: str, answers: Mapping[int, Schema], **more: object
) -> Mapping[str, object]:
    errors = {
        "400": "what was given is wrong",
        "403": "a web page asks",
        "421": "the Host is not localhost",
        "500": "it cannot be done",
    }
    responses: dict[str, Schema] = {str(status): one for status, one in answers.items()}
    responses |= {status: answer(text, ref("Error")) for status, text in errors.items()}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def refused(*statuses: int) -> dict[int, Schema]:
    texts = {404: "there is no such forward", 409: "it is refused", 503: "no answer, or no server"}
    return {status: answer(texts[status], ref("Error")) for status in statuses}


STATUS: Final = operation(
    "status", "How the program is, and what it forwards", {200: answer("so", ref("Status"))}
)
LIST: Final = operation(
    "forwards", "What shall be forwarded, and what is", {200: answer("all", ref("Forwards"))}
)
STOP: Final = operation(
    "stop",
    "Take no more connections, and end when the streams are over",
    {202: answer("it ends", ref("Ending"))},
)
EXIT: Final = operation("exit", "End at once", {202: answer("it ends", ref("Ending"))})
OPENAPI: Final = operation("openapi", "This document", {200: answer("it", {"type": "object"})})


def forward(kinds: Sequence[str]) -> Mapping[str, object]:
    schema = object_of({"kind": {"enum": list(kinds)}, "forward": TEXT})
    return operation(
        "forward",
        "Forward this too, on this connection and on those after it. What is refused is forgotten; "
        "so is what its client does not wait for",
        {
            200: answer("it is forwarded already", ref("Forward")),
            201: answer("it is forwarded", ref("Forward")),
            **refused(409, 503),
        },
        requestBody={"required": True, "content": {"application/json": {"schema": schema}}},
    )


def cancel(kinds: Sequence[str]) -> Mapping[str, object]:
    def parameter(name: str, schema: Schema, description: str = "") -> Mapping[str, object]:
        return {
            "name": name, "in": "query", "required": True, "schema": schema,
            "description": description,
        }  # fmt: skip

    return operation(
        "cancel",
        "Forward this no more. Streams that are open go on",
        {200: answer("those that were", ref("Forwards")), **refused(404, 503)},
        parameters=[
            parameter("kind", {"enum": list(kinds)}),
            parameter("forward", TEXT, "without a target it is the one that listens there"),
        ],
    )


SCHEMAS: Final[Schema] = {
    "Status": STATUS_ANSWER,
    "Forward": FORWARD,
    "Forwards": FORWARDS,
    "Connection": CONNECTION,
    "Ending": ENDING,
    "Error": ERROR,
}


def document(
    program: str, routes: Sequence[Route], schemas: Schema = SCHEMAS
) -> Mapping[str, object]:
    """All of it."""
    paths: dict[str, dict[str, object]] = {"/openapi.json": {"get": OPENAPI}}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = route.operation
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{program}: control socket", "version": relay.__version__},
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }
