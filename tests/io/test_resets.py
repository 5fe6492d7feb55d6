"""A peer that sends something and breaks off at once: what it sent is read, and then the reset.

libuv tells of an error once and polls the socket no more, so that whoever read anything but the
error in that call was never called again: a program that B turned away waited for a minute.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.io.endpoint import Endpoint
from relay.io.engine import Engine, Pool
from relay.io.stream import Stream
from tests.programs.process import GUARD
from tests.programs.traffic import reset
from tests.ssh.bench import Bench


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection: a pair of AF_UNIX knows no reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


class Reader:
    """A leg that takes what comes."""

    def __init__(self) -> None:
        self.came = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.pauses = False
        self.stream: Stream | None = None

    def received(self, view: memoryview, start: int, end: int) -> int:
        self.came += view[start:end]
        if self.pauses and self.stream is not None:
            self.stream.pause(self)
            asyncio.get_running_loop().call_later(0, self.stream.resume, self)
        return end

    def flush(self) -> None: ...
    def wake(self) -> None: ...

    def stream_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(error)


class SmallPool(Pool):
    """Its buffers are full before all is read."""

    def take(self) -> memoryview:
        return memoryview(bytearray(4))


@pytest.mark.parametrize("pool", [Pool, SmallPool])
@pytest.mark.parametrize("pauses", [False, True])
async def test_the_socket_of_a_leg(pauses: bool, pool: type[Pool]) -> None:
    ours, theirs = pair()
    reader = Reader()
    reader.pauses = pauses
    engine = Engine(asyncio.get_running_loop())
    engine.pool = pool()
    stream = reader.stream = Stream(engine, ours, reader)
    stream.start()
    theirs.sendall(b"Exceeded MaxStartups\r\n")
    reset(theirs)
    assert isinstance(await asyncio.wait_for(reader.lost, GUARD), ConnectionResetError)
    assert reader.came == b"Exceeded MaxStartups\r\n"
    stream.abort()


async def test_a_local_socket() -> None:
    ours, theirs = pair()
    bench = Bench()
    ended = asyncio.get_running_loop().create_future()
    endpoint = Endpoint(bench.c, lambda endpoint, reason: ended.set_result(reason))
    endpoint.open(ours, b"direct-tcpip", b"")
    endpoint.confirmed(1, 2**20, 2**15)
    theirs.sendall(b"half an ans")
    reset(theirs)
    assert "reset" in await asyncio.wait_for(ended, GUARD)
    assert endpoint.sent_bytes == len(b"half an ans")
