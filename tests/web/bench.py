"""`--http` without a program behind it, and clients for it that say what they like."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from relay.control import openapi_server as described
from relay.control.api import Answer, Api, Call, Route
from relay.observe.log import EventLog
from relay.web.app import Shown
from relay.web.live import Live
from relay.web.program import Web, web

TOKEN = "0123456789abcdef"


@dataclass
class Program:
    """What a server would be."""

    web: Web
    port: int = 0
    path: Path | None = None
    kicked: list[str] = field(default_factory=list)
    not_ready: str = ""
    filler: str = ""
    live: Live = field(init=False)

    def __post_init__(self) -> None:
        self.live = Live(self.totals)
        routes = [
            Route("GET", "/v1/status", self.status, described.STATUS),
            Route("POST", "/v1/kick", self.kick, described.KICK, body=("what",)),
        ]
        self.web.site.shown = Shown(
            lambda: self.not_ready, None, Api(routes, refused=lambda request: None), self.live
        )

    async def status(self, call: Call) -> Answer:
        return Answer(200, await self.totals())

    async def totals(self) -> dict[str, object]:
        return {"streams": 0, "filler": self.filler}

    async def kick(self, call: Call) -> Answer:
        self.kicked.append(str(call.body["what"]))
        return Answer(200, {})

    def connect(self) -> socket.socket:
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=60)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(self.path))
        return sock

    async def says(self, data: bytes) -> bytes:
        """All that is answered to these bytes, until the other side closes."""

        def talk() -> bytes:
            with self.connect() as sock:
                return talk_to(sock, data)

        return await in_thread(talk)


async def in_thread(work: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def talk_to(sock: socket.socket, data: bytes) -> bytes:
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = b""
    try:
        while chunk := sock.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


@asynccontextmanager
async def program(*, token_file: Path | None = None) -> AsyncIterator[Program]:
    """One that runs, at a port of loopback."""
    async with web(("127.0.0.1", 0), token_file, EventLog("test")) as one:
        yield Program(one, port=one.listening.sockets[0].getsockname()[1])


@asynccontextmanager
async def program_at(path: Path) -> AsyncIterator[Program]:
    """The same at a unix socket."""
    async with web(path, None, EventLog("test")) as one:
        yield Program(one, path=path)


def request(line: bytes, *headers: bytes, host: bytes = b"localhost:1", body: bytes = b"") -> bytes:
    """One, after which the connection is to end."""
    lines = [line + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])
