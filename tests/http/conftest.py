"""A service that speaks HTTP, and stand-ins for tunnels that lead to it by TCP."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from relay.errors import Refused
from relay.io.memory import StreamAttribute
from tests.programs.http_proxy import certificate

SERVICE = "gpu1:8000"


class Model(BaseHTTPRequestHandler):
    """Answers as a model does."""

    protocol_version = "HTTP/1.1"
    server: HttpService

    def do_GET(self) -> None:
        match self.path:
            case "/who":
                self._answer({"peer": self.client_address[1], "host": self.headers["Host"]})
            case "/tokens":
                self._tokens()
            case "/half":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"half")
                self.close_connection = True
            case "/last":
                self._answer({})
                self.close_connection = True  # Without a word of it.
            case "/never":
                self.server.ends.wait()
                self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"size": len(body), "first": body[:1].decode()})

    def _tokens(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            token = f"token {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(token), token))
            # The next one when this one has been asked for.
            if number < 2:
                self.server.tokens.acquire()
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """To nobody."""


class HttpService(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Model)
        self.tokens = threading.Semaphore(0)
        self.ends = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client has gone."""


@pytest.fixture
def service() -> Iterator[HttpService]:
    with HttpService() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.ends.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def tls_service(service: HttpService, tmp_path: Path) -> tuple[HttpService, Path]:
    """The service, with a certificate for 127.0.0.1; and the file by which it is trusted."""
    context, trusted = certificate(tmp_path, "127.0.0.1")
    service.socket = context.wrap_socket(service.socket, server_side=True)
    return service, trusted


class Direct:
    """In place of a tunnel: its streams are TCP connections to the service."""

    def __init__(self, port: int, names: tuple[str, ...] = (SERVICE,)) -> None:
        self.port = port
        self.names = names
        self.opened: list[str] = []
        # The socket of the last stream.
        self.last: Any = None

    def _check(self, service: str) -> None:
        self.opened.append(service)
        if service not in self.names:
            raise Refused(f"{service}: this key may not open it")

    async def open(self, service: str) -> Any:
        self._check(service)
        stream: Any = await anyio.connect_tcp("127.0.0.1", self.port)
        self.last = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        return WithReadable(stream, self.last)

    def open_socket(self, service: str) -> Any:
        self._check(service)
        self.last = socket.create_connection(("127.0.0.1", self.port))
        return self.last

    def wait_for_the_end(self) -> None:
        """Return when the service has closed the last stream, and this side can see it, if it has
        not seen it by itself."""
        if self.last.fileno() >= 0:
            select.select([self.last], [], [])


class WithReadable(anyio.abc.ByteStream):
    """A TCP stream that tells what a tunnel's does."""

    def __init__(self, stream: Any, sock: Any) -> None:
        self._stream = stream
        self._sock = sock

    @property
    def extra_attributes(self) -> Any:
        return {StreamAttribute.readable: self._readable}

    def _readable(self) -> bool:
        return bool(select.select([self._sock], [], [], 0)[0])

    async def receive(self, max_bytes: int = 65536) -> bytes:
        received: bytes = await self._stream.receive(max_bytes)
        return received

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
