"""What can be asked of a program: the routes, and the rules that are the same for all of them.

A route is a method and a path with its handler; the program gives a list of them, and nothing else
of the HTTP that they come by is known to it. Errors are `{"error": "one line for a person"}`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from relay.errors import AddressError, LegLost, Refused, RelayError, UsageError

HOST: Final = "localhost"
"""The only Host there is. A web page that has made its own name resolve to this machine, or that
reaches the socket through somebody's port, would come with another one."""

JSON: Final = "application/json"

MAX_PARAMETERS: Final = 16
"""Of a query; no route has more than four."""

STATUS_OF: Final[tuple[tuple[type[RelayError], int], ...]] = (
    (UsageError, 400),
    (Refused, 409),
    (AddressError, 409),
    (LegLost, 503),
)
"""The status by which each error is told; the others are 500."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler sees it."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: a JSON object."""

    status: int
    body: Mapping[str, object]
    allow: str = ""
    """The methods that there are instead (RFC 9110 §15.5.6)."""
    after: Callable[[], object] = lambda: None
    """Called when the answer has been sent."""


Handler = Callable[[Call], Awaitable[Answer]]
"""Raises `RelayError` for what cannot be done."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation, and how OpenAPI describes it."""

    method: str
    path: str
    handler: Handler
    operation: Mapping[str, object]
    query: tuple[str, ...] = ()
    """The parameters, all of which must be there."""
    may: tuple[str, ...] = ()
    """More parameters, which need not be."""
    body: tuple[str, ...] = ()
    """The fields of the body, all of them texts, all of which must be there."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. Names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def problem(status: int, text: str, allow: str = "") -> Answer:
    return Answer(status, {"error": text}, allow=allow)


class Api:
    """The routes of one program."""

    def __init__(
        self, routes: list[Route], refused: Callable[[Request], Answer | None] | None = None
    ) -> None:
        """`refused` has the rules of the door that requests come by, where it is no unix socket:
        the answer to what is not to be asked there."""
        self._routes = {(route.method, route.path): route for route in routes}
        self._refused = refused or refused_at_socket

    async def answer(self, request: Request) -> Answer:
        if refusal := self._refused(request):
            return refusal
        path, _, query = request.target.partition("?")
        route = self._routes.get((request.method, path))
        if route is None:
            methods = sorted(method for method, other in self._routes if other == path)
            if not methods:
                return problem(404, "there is no such path: /openapi.json names all")
            return problem(405, f"give {' or '.join(methods)}", ", ".join(methods))
        try:
            return await route.handler(call(route, query, request))
        except RelayError as error:
            status = next((code for kind, code in STATUS_OF if isinstance(error, kind)), 500)
            return problem(status, str(error))


def refused_at_socket(request: Request) -> Answer | None:
    """The answer to whom a web page may have sent."""
    host = request.headers.get("host", "")
    if host.partition(":")[0].lower() != HOST:
        return problem(421, f"Host must be {HOST}: give http://{HOST}/...")
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        return problem(403, "no web page has business here")
    return None


def call(route: Route, query: str, request: Request) -> Call:
    """What the handler is given. Raises `UsageError`."""
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise UsageError(f"there are more than {MAX_PARAMETERS} parameters") from None
    require(given, route.query, "parameter", route.may)
    if not route.body:
        if request.body:
            raise UsageError("give no body")
        return Call(query=given)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        # A form of a web page cannot say so.
        raise UsageError(f"give Content-Type: {JSON}")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise UsageError("the body is no JSON") from None
    if not isinstance(body, dict):
        raise UsageError("the body is no JSON object")
    require(body, route.body, "field")
    return Call(query=given, body=body)


def require(
    given: Mapping[str, object], names: tuple[str, ...], what: str, may: tuple[str, ...] = ()
) -> None:
    """Raise UsageError unless these are there, as texts, and no others but those that `may` be."""
    for name in names:
        if name not in given:
            raise UsageError(f"the {what} {name} is missing")
    for name, value in given.items():
        if name not in names and name not in may:
            raise UsageError(f"there is no {what} {name!r}")
        if not isinstance(value, str):
            raise UsageError(f"the {what} {name} is no text")
        try:
            # Bytes of a path that are no UTF-8 come so; else half a character does.
            value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise UsageError(f"the {what} {name} is no text") from None
