"""What `--http` answers: the paths, as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from relay.control.api import JSON, Api, Request, problem
from relay.control.http import encoded
from relay.web.access import Guard
from relay.web.limits import MAX_BODY
from relay.web.live import Live

PAGE: Final = Path(__file__).with_name("page")

SCRIPTS: Final = (
    "dom", "format", "graph", "kick", "live", "page", "server", "table", "tables", "theme"
)  # fmt: skip

PAGES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{one}.js": (f"{one}.js", "text/javascript; charset=utf-8") for one in SCRIPTS},
}
"""The files of the page: these, and no others of the folder."""

METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

STARTING: Final = "starting"


@dataclass(frozen=True, slots=True)
class Shown:
    """A running program, as far as it is shown."""

    not_ready: Callable[[], str]
    """Why it takes nothing new; empty: it does."""
    metrics: Callable[[], AsyncIterator[bytes]] | None = None
    """The pieces of Prometheus' text format."""
    api: Api | None = None
    """None: there is no page either."""
    live: Live | None = None


class Site:
    """What there is to see: nothing, until the program runs."""

    def __init__(self) -> None:
        self.shown: Shown | None = None

    # -- for machines that watch

    async def healthz(self, request: WebRequest) -> Response:
        """The loop turns: this has been answered."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: WebRequest) -> Response:
        reason = self.shown.not_ready() if self.shown is not None else STARTING
        return PlainTextResponse(f"{reason or 'ready'}\n", 503 if reason else 200)

    async def metrics(self, request: WebRequest) -> Response:
        shown = self.shown
        if shown is None or shown.metrics is None:
            return PlainTextResponse(f"{STARTING}\n", 503)
        return StreamingResponse(shown.metrics(), headers={"content-type": METRICS})

    # -- for people

    async def page(self, request: WebRequest) -> Response:
        name, kind = PAGES[request.url.path]
        try:
            body = (PAGE / name).read_bytes()
        except FileNotFoundError:
            return PlainTextResponse("there is no page\n", 404)
        return Response(body, headers={"content-type": kind})

    async def live(self, request: WebRequest) -> Response:
        live = self.shown.live if self.shown is not None else None
        if live is None:
            return PlainTextResponse(f"{STARTING}\n", 503)
        if live.full:
            return PlainTextResponse("there are too many who listen\n", 503)
        return StreamingResponse(live.listen(), media_type="text/event-stream")

    async def api(self, scope: Any, receive: Any, send: Any) -> None:
        """The rest is the control API's, as an ASGI application."""
        shown = self.shown
        if shown is None or shown.api is None:
            answer = (
                problem(503, STARTING) if shown is None else problem(404, "there is no such path")
            )
        else:
            request = await read(scope, receive)
            answer = problem(413, f"a body has at most {MAX_BODY} bytes")
            if request is not None:
                answer = await shown.api.answer(request)
        headers = {"content-type": JSON} | ({"allow": answer.allow} if answer.allow else {})
        response = Response(await encoded(answer.body), answer.status, headers)
        await response(scope, receive, send)
        answer.after()


async def read(scope: Any, receive: Any) -> Request | None:
    """A request as the control API has it. None: its body is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            break
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return Request(
        method=scope["method"],
        target=target.decode("latin-1"),
        headers={key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]},
        body=bytes(body),
    )


def application(site: Site, guessed: Callable[[], object] = lambda: None) -> Guard:
    """The whole, behind its rules."""
    routes = [
        Route("/healthz", site.healthz),
        Route("/readyz", site.readyz),
        Route("/metrics", site.metrics),
        Route("/v1/live", site.live),
        *(Route(path, site.page) for path in PAGES),
        Mount("/", app=site.api),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return Guard(app, guessed)
