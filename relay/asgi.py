"""An ASGI app as a service: `await relay.asgi.serve(app, tunnel, "web1:80")`.

No port is opened on this machine: the app's server listens on a unix socket in a folder that only
this user can enter, and the tunnel leads there. The server is uvicorn on asyncio, and hypercorn on
trio (`pip install 'ssh-relay[asgi]'`).
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskStatus

from relay.errors import LocalError
from relay.io.local import listen_unix
from relay.library.host import in_trio

__all__ = ["serve"]

GRACE: Final = 5
"""Seconds, at the end, for the requests that are under way."""

DID_NOT_START: Final = "the app did not start"
ENDED: Final = "the app's server ended"


class Publishes(Protocol):
    """What a tunnel does for these."""

    def publish(self, service: str, /, *, to: str) -> AbstractAsyncContextManager[Any]: ...


async def serve(
    app: Any,
    tunnel: Publishes,
    service: str,
    *,
    task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the app until cancelled; requests that are under way then have five seconds.

    Args:
        app: an ASGI 3 application.
        tunnel: where it is published.
        service: its name and port there, as of `tunnel.publish`.
        task_status: for `await tasks.start(relay.asgi.serve, app, tunnel, "web1:80")`, which
            returns what `tunnel.publish` gave when the app has started and is published.

    Raises:
        LocalError: the app did not start, or its server ended.
        RelayError: as `tunnel.publish` raises it.
    """
    with _as_itself(), _private_socket() as (path, sock):
        async with _server()(app, sock), tunnel.publish(service, to=str(path)) as published:
            task_status.started(published)
            await anyio.sleep_forever()


@contextmanager
def _as_itself() -> Iterator[None]:
    """An error that is alone in its group."""
    try:
        yield
    except ExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


@contextmanager
def _private_socket() -> Iterator[tuple[Path, socket.socket]]:
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:  # Its mode is 0700.
        path = Path(folder) / "app"
        with listen_unix(str(path)) as sock:
            yield path, sock


def _server() -> Callable[[Any, socket.socket], AbstractAsyncContextManager[None]]:
    """What serves on this loop."""
    return _by_hypercorn if in_trio() else _by_uvicorn


@asynccontextmanager
async def _by_uvicorn(app: Any, sock: socket.socket) -> AsyncIterator[None]:
    import uvicorn

    ready = anyio.Event()
    ending = False

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # They are the caller's.

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            try:
                await super().startup(sockets)
            except SystemExit:
                raise LocalError(DID_NOT_START) from None
            ready.set()

    server = Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=GRACE))

    async def run() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve([sock])
        if not ending:
            raise LocalError(ENDED)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            await ready.wait()
            yield
        finally:
            ending = server.should_exit = True


@asynccontextmanager
async def _by_hypercorn(app: Any, sock: socket.socket) -> AsyncIterator[None]:
    from hypercorn.config import Config
    from hypercorn.trio import serve as run_hypercorn
    from hypercorn.utils import LifespanFailureError

    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.graceful_timeout = GRACE
    config.errorlog = None
    ending = anyio.Event()
    failed = told = False

    async def observed(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            nonlocal failed, told
            told = True
            failed = failed or message["type"] == "lifespan.startup.failed"
            await send(message)

        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await app(scope, receive, tell)
        if not told:
            # An app that returns without a word has no lifespan. (By the specification it raises,
            # and hypercorn knows only that.)
            raise NotImplementedError

    async def run(*, task_status: TaskStatus[Any]) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await run_hypercorn(
                    observed, config, shutdown_trigger=ending.wait, task_status=task_status
                )
            except* LifespanFailureError as errors:
                raise LocalError(DID_NOT_START) from errors
        if not ending.is_set():
            raise LocalError(ENDED)

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        try:
            if failed:  # It has said that it is up all the same; `run` is about to raise.
                await anyio.sleep_forever()
            yield
        finally:
            ending.set()
