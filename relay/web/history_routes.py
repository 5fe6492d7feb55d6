"""`/v1/history/…`: what happened and how much went where, for the page and for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from relay.control.api import Answer, Call, Route, problem
from relay.control.of_server import VERSION
from relay.control.openapi import (
    COUNT,
    TEXT,
    Schema,
    answer,
    described,
    list_of,
    object_of,
    operation,
    ref,
)
from relay.control.openapi_server import VERSION as VERSION_SCHEMA
from relay.errors import UsageError
from relay.web.history import History, Unavailable
from relay.web.store import KEPT_DAYS
from relay.web.told import KINDS

MOST_ROWS: Final = 200
"""Of one answer: what a page shows at once, several times over."""
ROWS: Final = 50

MOST_SERVICES: Final = 200
"""Whose last hour is asked for at once."""

MOST_ID: Final = (1 << 63) - 1
MOST_HOURS: Final = KEPT_DAYS * 24

NUMBER: Final[Schema] = {"type": "number"}
MINUTES: Final = described(
    "bytes to services and back, of each of the last sixty whole minutes, oldest first",
    list_of({"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2}),
)

SCHEMAS: Final[Schema] = {
    "Events": object_of({
        "version": VERSION_SCHEMA,
        "kinds": described("all there are", list_of(TEXT)),
        "events": described("the newest first", list_of(ref("Event"))),
    }),
    "Event": object_of({
        "id": described("of two events the later one has the larger", COUNT),
        "time": described("in Unix time", NUMBER),
        "kind": described("one of few words, for programs", TEXT),
        "level": {"enum": ["info", "warning", "error", "debug"]},
        "text": described("a sentence, for people", TEXT),
        "service": TEXT, "key": TEXT, "comment": TEXT, "peer": TEXT,
    }),
    "Rates": object_of({
        "version": VERSION_SCHEMA, "all": MINUTES,
        "services": list_of(object_of({"service": TEXT, "minutes": MINUTES})),
    }),
    "RefusedLogins": object_of({
        "version": VERSION_SCHEMA,
        "refused": described(
            "by where they came from, the most first",
            list_of(object_of({"source": TEXT, "count": COUNT, "time": NUMBER, "reason": TEXT})),
        ),
    }),
}  # fmt: skip


def routes(history: History) -> list[Route]:
    """Those of one history."""

    async def events(call: Call) -> Mapping[str, Any]:
        kind = call.query.get("kind", "")
        if kind and kind not in KINDS:
            raise UsageError(f"the kind is one of: {', '.join(KINDS)}")
        found = await history.events(
            number(call, "limit", ROWS, MOST_ROWS),
            kind=kind,
            search=call.query.get("search", ""),
            before=number(call, "before", MOST_ID, MOST_ID),
        )
        return {"kinds": KINDS, "events": found}

    async def rates(call: Call) -> Mapping[str, Any]:
        names = call.query.get("services", "").split()
        if len(names) > MOST_SERVICES:
            raise UsageError(f"give {MOST_SERVICES} services at most")
        found = await history.last_hour(["", *names])
        minutes = {"all": found.pop("")}
        rows = [{"service": name, "minutes": one} for name, one in found.items()]
        return minutes | {"services": rows}

    async def refused(call: Call) -> Mapping[str, Any]:
        hours = number(call, "hours", 24, MOST_HOURS)
        limit = number(call, "limit", ROWS, MOST_ROWS)
        return {"refused": await history.refused(limit, seconds=hours * 3600)}

    return [
        Route("GET", "/v1/history/events", answered(events), EVENTS,
              may=("limit", "kind", "search", "before")),
        Route("GET", "/v1/history/rates", answered(rates), RATES, may=("services",)),
        Route("GET", "/v1/history/refused", answered(refused), REFUSED,
              may=("hours", "limit")),
    ]  # fmt: skip


def answered(
    ask: Callable[[Call], Awaitable[Mapping[str, Any]]],
) -> Callable[[Call], Awaitable[Answer]]:
    async def handler(call: Call) -> Answer:
        try:
            body = await ask(call)
        except Unavailable as error:
            return problem(503, str(error))
        return Answer(200, {"version": VERSION, **body})

    return handler


def number(call: Call, name: str, default: int, most: int) -> int:
    """A parameter. Raises `UsageError`."""
    text = call.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
        raise UsageError(f"the parameter {name} is a number from 1 to {most}")
    return int(text)


def _parameter(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _number(name: str, default: int, most: int, text: str) -> Schema:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return _parameter(name, schema, text)


def _operation(name: str, about: str, schema: str, *parameters: Schema) -> Mapping[str, object]:
    answers = {
        200: answer("so", ref(schema)),
        503: answer("the disk does not answer", ref("Error")),
    }
    return operation(name, about, answers, parameters=list(parameters))


EVENTS: Final = _operation(
    "events", f"What happened in the last {KEPT_DAYS} days", "Events",
    _number("limit", ROWS, MOST_ROWS, "so many events at most"),
    _parameter("kind", {"enum": ["", *KINDS]}, "of one kind"),
    _parameter("search", TEXT, "with these characters in the sentence, the key or the address"),
    _number("before", MOST_ID, MOST_ID, "older than the one with this id"),
)  # fmt: skip
RATES: Final = _operation(
    "rates", "How much went in each minute of the last hour", "Rates",
    _parameter("services", TEXT, "apart from all together, of these: name:port, spaces between"),
)  # fmt: skip
REFUSED: Final = _operation(
    "refused", "Who did not get in", "RefusedLogins",
    _number("hours", 24, MOST_HOURS, "in so many hours back"),
    _number("limit", ROWS, MOST_ROWS, "so many sources at most"),
)  # fmt: skip
