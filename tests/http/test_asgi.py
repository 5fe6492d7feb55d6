"""ASGI apps as services, on both loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

import relay.asgi
from relay.errors import LocalError, Refused

pytest.importorskip("hypercorn")
pytestmark = pytest.mark.anyio

URL = "http://web1/"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Tunnel:
    """Publishes nothing, and says where it would lead."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.path = Path()
        self.published: list[str] = []
        self.withdrawn = anyio.Event()

    @asynccontextmanager
    async def publish(self, service: str, /, *, to: str) -> AsyncIterator[str]:
        if self.error is not None:
            raise self.error
        self.path = Path(to)
        self.published.append(service)
        try:
            yield f"{service} at last"
        finally:
            self.withdrawn.set()

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(self.path)))


class App:
    """Says hello when it is let."""

    def __init__(self, *, starts: bool = True, waits: bool = False) -> None:
        self.asked = anyio.Event()
        self.may_answer = anyio.Event()
        if not waits:
            self.may_answer.set()
        self.starts = starts
        self.ended = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.asked.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def _live(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        if not self.starts:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.ended = True
        await send({"type": "lifespan.shutdown.complete"})


async def test_an_app_is_served_until_it_is_cancelled() -> None:
    app, tunnel = App(), Tunnel()
    async with anyio.create_task_group() as tasks:
        assert await tasks.start(relay.asgi.serve, app, tunnel, "web1:80") == "web1:80 at last"
        assert tunnel.published == ["web1:80"]
        assert tunnel.path.parent.stat().st_mode & 0o777 == 0o700
        async with tunnel.client() as web:
            for _ in range(3):
                assert (await web.get(URL)).text == "hello"
        tasks.cancel_scope.cancel()
    assert app.ended
    assert tunnel.withdrawn.is_set()
    assert not tunnel.path.parent.exists()


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


async def refuses_a_lifespan(scope: Message, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await hello(scope, receive, send)


@pytest.mark.parametrize("app", [hello, refuses_a_lifespan])
async def test_an_app_without_a_lifespan(app: Any) -> None:
    tunnel = Tunnel()
    async with anyio.create_task_group() as tasks:
        await tasks.start(relay.asgi.serve, app, tunnel, "web1:80")
        async with tunnel.client() as web:
            assert (await web.get(URL)).text == "hello"
        tasks.cancel_scope.cancel()


async def test_what_is_under_way_is_answered_and_nothing_new_comes() -> None:
    app, tunnel = App(waits=True), Tunnel()
    answers: list[str] = []

    async def ask() -> None:
        async with tunnel.client() as web:
            answers.append((await web.get(URL)).text)

    async with anyio.create_task_group() as asking, anyio.create_task_group() as tasks:
        await tasks.start(relay.asgi.serve, app, tunnel, "web1:80")
        asking.start_soon(ask)
        await app.asked.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await tunnel.withdrawn.wait()
            app.may_answer.set()
    assert answers == ["hello"]
    assert app.ended


async def test_an_app_that_does_not_start_is_not_published() -> None:
    tunnel = Tunnel()
    with pytest.raises(LocalError, match="the app did not start"):
        await relay.asgi.serve(App(starts=False), tunnel, "web1:80")
    assert not tunnel.published


async def test_a_service_that_is_refused_ends_the_app() -> None:
    app = App()
    with pytest.raises(Refused, match="not yours"):
        await relay.asgi.serve(app, Tunnel(Refused("not yours")), "web1:80")
    assert app.ended
