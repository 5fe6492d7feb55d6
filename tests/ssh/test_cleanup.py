"""How a leg ends when something of ours fails meanwhile: it is told, and the rest is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from relay.errors import INTERNAL, LegLost
from relay.io.engine import Engine
from relay.ssh.endpoint import Endpoint
from relay.ssh.server import Owner, ServerLeg, server_options
from tests.ssh.test_leg import HOST_KEY, ready


class NoHost:
    """A host that keeps in mind what it was told."""

    def __init__(self) -> None:
        self.down: list[Exception | None] = []

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        self.down.append(error)


class BrokenHost(NoHost):
    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        super().leg_down(leg, error)
        raise RuntimeError("a bug in leg_down")


def make_leg(host: Any) -> ServerLeg:
    leg = ready(ServerLeg(Engine(asyncio.get_running_loop()), server_options([HOST_KEY], ())))
    leg.host = host
    owner = Owner()
    owner.connection_made(leg)
    leg._owner = owner
    return leg


def endpoint(leg: ServerLeg, ended: Callable[[Endpoint, str], None]) -> Endpoint:
    return Endpoint(leg, ended)


async def lose(leg: ServerLeg) -> None:
    """The leg is lost, and all that comes of it is done."""
    leg.fail(LegLost("the test is over"))
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR, INTERNAL)
    logging.getLogger(INTERNAL).propagate = True
    return caplog


@pytest.mark.anyio
async def test_a_channel_that_fails_keeps_nobody_from_hearing(
    told: pytest.LogCaptureFixture,
) -> None:
    host = NoHost()
    leg = make_leg(host)
    ends: list[str] = []

    def broken(_: Endpoint, reason: str) -> None:
        raise RuntimeError("a bug in a channel")

    for ended in (broken, lambda _, reason: ends.append(reason), broken):
        endpoint(leg, ended)
    await lose(leg)
    assert ends == ["the connection to the relay was lost"]
    assert len(host.down) == 1
    assert told.text.count("RuntimeError: a bug in a channel") == 2
    assert told.text.count("internal error while ending a channel") == 2


@pytest.mark.anyio
async def test_a_host_that_fails_is_told(told: pytest.LogCaptureFixture) -> None:
    host = BrokenHost()
    leg = make_leg(host)
    await lose(leg)
    assert len(host.down) == 1
    assert "RuntimeError: a bug in leg_down" in told.text


@pytest.mark.anyio
async def test_the_host_hears_though_asyncsshs_part_fails(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = NoHost()
    leg = make_leg(host)

    class Listener:
        def close(self) -> None:
            raise RuntimeError("a bug before the owner's turn")

    leg._local_listeners["port"] = Listener()  # type: ignore[index,assignment]
    await lose(leg)
    assert len(host.down) == 1
    assert "a bug before the owner's turn" in told.text


@pytest.mark.anyio
async def test_what_a_leg_has_begun_ends_with_it() -> None:
    """A dial that is under way for a channel of the leg."""
    leg = make_leg(NoHost())
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def dial() -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    channel = endpoint(leg, lambda _, reason: None)
    channel.serve(dial)
    channel.opened_by_peer(0, 1 << 20, 1 << 15)
    await begun.wait()
    await lose(leg)
    assert cancelled.is_set()
    assert not leg._tasks


@pytest.mark.anyio
async def test_what_fails_in_a_task_after_the_end_is_told(
    told: pytest.LogCaptureFixture,
) -> None:
    leg = make_leg(NoHost())
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("a bug in the end of a task")

    leg.create_task(work())
    await begun.wait()
    await lose(leg)
    assert "RuntimeError: a bug in the end of a task" in told.text
