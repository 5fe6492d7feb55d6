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


def _object(fields: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required}


def _with(description: str, schema: Schema) -> Schema:
    return {**schema, "description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


ERROR: Final = _object({"error": _with("why not, in one line for a person", TEXT)})

FORWARD: Final = _object(
    {
        "kind": {"enum": ["remote", "remote-dynamic", "local", "dynamic", ENDPOINT]},
        "forward": _with("as it is written after -R, -L or -D", TEXT),
        "listening": TEXT,
        "target": TEXT,
        "state": {"enum": list(STATES)},
        "port": _with(
            "where it listens, if it is known; null: not yet, or a unix socket",
            {"type": ["integer", "null"], "minimum": 0, "maximum": 65535},
        ),
        "reason": _with("why it is refused, or was taken; empty: it is not", TEXT),
        "again_in": _with(
            "seconds until it is asked for again; null: it is not",
            {"type": ["number", "null"], "minimum": 0},
        ),
    }
)

FORWARDS: Final = _object({"forwards": _list_of(_ref("Forward"))})

CONNECTION: Final = _object(
    {
        "up": {"type": "boolean"},
        "seconds": _with("for so long it has been so", SECONDS),
        "reason": _with("why there is none", TEXT),
        "server": _with("the server's version line", TEXT),
        "cipher": TEXT,
    },
    optional=("server", "cipher"),
)

STATUS_ANSWER: Final = _object(
    {
        "version": _with(
            "of this object: a field is added without another one, and none is dropped or changed",
            {"const": 1},
        ),
        "program": TEXT,
        "release": TEXT,
        "pid": COUNT,
        "uptime": SECONDS,
        "destination": TEXT,
        "connection": _ref("Connection"),
        "streams": _with("open, or waiting for a connection", COUNT),
        "forwards": _list_of(_ref("Forward")),
    }
)

ENDING: Final = _object({"pid": COUNT, "streams": COUNT})


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _operation(
    name: str, summary: str, answers: Mapping[int, Schema], **more: object
) -> Mapping[str, object]:
    errors = {
        "400": "what was given is wrong",
        "403": "a web page asks",
        "421": "the Host is not localhost",
        "500": "it cannot be done",
    }
    responses: dict[str, Schema] = {str(status): one for status, one in answers.items()}
    responses |= {status: _answer(text, _ref("Error")) for status, text in errors.items()}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _refused(*statuses: int) -> dict[int, Schema]:
    texts = {404: "there is no such forward", 409: "it is refused", 503: "no answer, or no server"}
    return {status: _answer(texts[status], _ref("Error")) for status in statuses}


STATUS: Final = _operation(
    "status", "How the program is, and what it forwards", {200: _answer("so", _ref("Status"))}
)
LIST: Final = _operation(
    "forwards", "What shall be forwarded, and what is", {200: _answer("all", _ref("Forwards"))}
)
STOP: Final = _operation(
    "stop",
    "Take no more connections, and end when the streams are over",
    {202: _answer("it ends", _ref("Ending"))},
)
EXIT: Final = _operation("exit", "End at once", {202: _answer("it ends", _ref("Ending"))})
OPENAPI: Final = _operation("openapi", "This document", {200: _answer("it", {"type": "object"})})


def forward(kinds: Sequence[str]) -> Mapping[str, object]:
    schema = _object({"kind": {"enum": list(kinds)}, "forward": TEXT})
    return _operation(
        "forward",
        "Forward this too, on this connection and on those after it. What is refused is forgotten; "
        "so is what its client does not wait for",
        {
            200: _answer("it is forwarded already", _ref("Forward")),
            201: _answer("it is forwarded", _ref("Forward")),
            **_refused(409, 503),
        },
        requestBody={"required": True, "content": {"application/json": {"schema": schema}}},
    )


def cancel(kinds: Sequence[str]) -> Mapping[str, object]:
    def parameter(name: str, schema: Schema, description: str = "") -> Mapping[str, object]:
        return {
            "name": name, "in": "query", "required": True, "schema": schema,
            "description": description,
        }  # fmt: skip

    return _operation(
        "cancel",
        "Forward this no more. Streams that are open go on",
        {200: _answer("those that were", _ref("Forwards")), **_refused(404, 503)},
        parameters=[
            parameter("kind", {"enum": list(kinds)}),
            parameter("forward", TEXT, "without a target it is the one that listens there"),
        ],
    )


def document(program: str, routes: Sequence[Route]) -> Mapping[str, object]:
    """All of it."""
    paths: dict[str, dict[str, object]] = {"/openapi.json": {"get": OPENAPI}}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = route.operation
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{program}: control socket", "version": relay.__version__},
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {
            "schemas": {
                "Status": STATUS_ANSWER, "Forward": FORWARD, "Forwards": FORWARDS,
                "Connection": CONNECTION, "Ending": ENDING, "Error": ERROR,
            },
        },
    }  # fmt: skip
