"""The socket of a leg: when the kernel gives the peer up."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import pytest

from relay.ssh.engine import Engine
from relay.ssh.stream import Stream

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
