"""How a socket to a service ends that nobody has begun to use."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio
import pytest

from relay.ssh.local import dial, dial_service
from tests.programs.traffic import is_reset

Dial = Callable[[str, int], Awaitable[socket.socket]]


@pytest.mark.parametrize(("dial", "reset"), [(dial_service, True), (dial, False)])
def test_a_service_is_not_told_that_a_stream_ended_which_never_began(
    dial: Dial, reset: bool
) -> None:
    """(A leg to B, which the other is for, may close in peace.)"""

    async def dial_and_close(port: int) -> None:
        (await dial("127.0.0.1", port)).close()

    with socket.create_server(("127.0.0.1", 0)) as service:
        anyio.run(dial_and_close, service.getsockname()[1])
        assert is_reset(service.accept()[0]) is reset
