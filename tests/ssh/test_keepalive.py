"""ClientAliveInterval and ClientAliveCountMax on B, in the words of sshd_config(5)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from relay.io.engine import Engine
from relay.ssh.server import ServerLeg, server_options
from tests.ssh.bench import HOST_KEY, NoHost

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("interval", "count_max", "patience"),
    [
        (15, 3, 60),
        (0.5, 1, 1),
        (0, 3, 0),
        (15, 0, 0),
        # The kernel counts in milliseconds, up to 2^31.
        (DAY / 4, 3, DAY),
        (1e9, 3, 0),
    ],
)
def test_how_long_a_silent_client_is_borne(interval: float, count_max: int, patience: int) -> None:
    async def main() -> float:
        options = server_options(
            [HOST_KEY], (), client_alive_interval=interval, client_alive_count_max=count_max
        )
        return ServerLeg(Engine(asyncio.get_running_loop()), options).patience

    assert asyncio.run(main()) == patience


def test_the_kernel_asks_a_client_too() -> None:
    """TCPKeepAlive, which is on by default: where ClientAliveInterval is 0 nobody else asks."""

    async def main() -> int:
        options = server_options([HOST_KEY], (), client_alive_interval=0)
        leg = ServerLeg(Engine(asyncio.get_running_loop()), options)
        leg.host = cast(Any, NoHost())
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as sock,
        ):
            leg.attach(sock)
            asked = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            leg.abort()
            await asyncio.sleep(0)
        return asked

    assert asyncio.run(main()) != 0
