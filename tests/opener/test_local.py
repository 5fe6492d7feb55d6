"""A connection whose service is not there yet: what the server says of it by its code."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.core.services import NOT_PUBLISHED
from relay.io.endpoint import Endpoint
from relay.io.engine import Engine
from relay.opener.local import LocalEndpoint
from relay.wire.numbers import OpenFailure
from tests.ssh.bench import client_leg


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def failed(code: int, reason: str) -> tuple[list[str], list[str]]:
    """Why it was put off, and how it ended."""
    leg = client_leg(Engine(asyncio.get_running_loop()))
    put_off: list[str] = []
    ended: list[str] = []

    def not_yet(endpoint: Endpoint, code: OpenFailure) -> None:
        put_off.append(code.name)
        endpoint.take_back()

    ours, theirs = socket.socketpair()
    endpoint = LocalEndpoint(leg, lambda _, why: ended.append(why), not_yet)
    endpoint.open(theirs, b"direct-tcpip", b"")
    endpoint.failed(code, reason)
    ours.close()
    theirs.close()
    return put_off, ended


@pytest.mark.anyio
@pytest.mark.parametrize("code", [OpenFailure.NOT_PUBLISHED, OpenFailure.STOPPING])
async def test_it_waits_whatever_the_words_are(code: OpenFailure) -> None:
    assert await failed(code, "nichts da") == ([code.name], [])


@pytest.mark.anyio
@pytest.mark.parametrize("code", [2, 1, 0xFE0000FF])
async def test_words_are_for_people(code: int) -> None:
    """A service that says what a relay would say is there, and said no."""
    reason = f"gpu1:8000: {NOT_PUBLISHED}"
    assert await failed(code, reason) == ([], [f"refused: {reason}"])
