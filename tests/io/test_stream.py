"""The socket of a leg: when the kernel gives the peer up, and when the peer is gone."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from relay.io.engine import Engine
from relay.io.stream import Stream
from relay.system import new_event_loop

TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Reader:
    """A leg that is not there."""

    def received(self, view: memoryview, start: int, end: int) -> int:
        return end

    def flush(self) -> None: ...
    def wake(self) -> None: ...

    def stream_lost(self, error: Exception | None) -> None: ...


@pytest.mark.skipif(TCP_USER_TIMEOUT is None, reason="not on this system")
@pytest.mark.parametrize(("seconds", "milliseconds"), [(60, 60_000), (0.5, 500), (0, 0)])
def test_the_kernel_gives_up_when_the_keepalive_does(seconds: float, milliseconds: int) -> None:
    async def main() -> int:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sock = stack.enter_context(socket.create_connection(listener.getsockname()))
            stream = Stream(Engine(asyncio.get_running_loop()), sock, Reader())
            stream.give_up_after(seconds)
            assert TCP_USER_TIMEOUT is not None
            return sock.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT)

    assert asyncio.run(main()) == milliseconds


def test_what_is_no_tcp_has_no_such_thing() -> None:
    """A ProxyCommand's pipe."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            Stream(Engine(asyncio.get_running_loop()), ours, Reader()).give_up_after(60)

    asyncio.run(main())


@pytest.mark.parametrize("new_loop", [new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("paused", [False, True])
def test_a_reset_behind_the_last_bytes_is_noticed(
    new_loop: Callable[[], asyncio.AbstractEventLoop], paused: bool
) -> None:
    """Both are there before they are looked for, as when a server turns somebody away."""
    heard = bytearray()

    async def main() -> None:
        lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        class Listening(Reader):
            def received(self, view: memoryview, start: int, end: int) -> int:
                heard.extend(view[start:end])
                return end

            def stream_lost(self, error: Exception | None) -> None:
                if not lost.done():
                    lost.set_result(error)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        ours.sendall(b"which nobody reads")
        theirs.sendall(b"no")
        theirs.close()
        stream = Stream(Engine(asyncio.get_running_loop()), ours, Listening())
        stream.start()
        if paused:
            stream.pause("a while")
            asyncio.get_running_loop().call_later(0.05, stream.resume, "a while")
        assert isinstance(await lost, ConnectionResetError)
        stream.abort()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert heard == b"no"


def test_a_part_of_a_packet_is_not_held_by_who_holds_its_stream() -> None:
    """A dead leg is a circle of objects, which Python takes its time to find: each would hold half
    a MiB meanwhile."""

    class Waiting(Reader):
        def __init__(self) -> None:
            self.came = asyncio.Event()
            self.memory: weakref.ref[memoryview] | None = None

        def received(self, view: memoryview, start: int, end: int) -> int:
            self.memory = weakref.ref(view)
            self.came.set()
            return start

    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader = Waiting()
        stream = Stream(Engine(asyncio.get_running_loop()), ours, reader)
        with theirs:
            stream.start()
            theirs.send(b"half")
            await reader.came.wait()
            assert reader.memory is not None
            assert reader.memory() is not None
            stream.abort()
            assert reader.memory() is None

    asyncio.run(main())
