"""How a leg ends when something of ours fails meanwhile: it is told, and the rest is done."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from relay.errors import INTERNAL, LegLost
from relay.io.endpoint import Endpoint
from relay.io.engine import Engine
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from tests.ssh.bench import HOST_KEY, NoHost, server_leg
from tests.turns import until


class BrokenHost(NoHost):
    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        super().leg_down(leg, error)
        raise RuntimeError("a bug in leg_down")


def make_leg(host: NoHost) -> ServerLeg:
    return server_leg(Engine(asyncio.get_running_loop()), host)


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
        Endpoint(leg, ended)
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
@pytest.mark.parametrize(
    ("part", "doing"),
    [("stream", "closing a stream"), ("guest", "ending a handshake")],
)
async def test_the_host_hears_though_what_comes_before_it_fails(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, part: str, doing: str
) -> None:
    host = NoHost()
    leg = make_leg(host)

    def fail() -> None:
        raise RuntimeError("a bug before the host's turn")

    monkeypatch.setattr(leg.guest if part == "guest" else leg.out.stream, "abort", fail)
    await lose(leg)
    assert len(host.down) == 1
    assert "RuntimeError: a bug before the host's turn" in told.text
    assert f"internal error while {doing}" in told.text


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

    channel = Endpoint(leg, lambda _, reason: None)
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


@pytest.mark.anyio
async def test_the_login_timer_of_a_leg_that_never_began() -> None:
    """The connection was reset before it was accepted."""
    faults: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: faults.append(context))
    options = server_options([HOST_KEY], (), login_grace_time=0.001)
    leg = ServerLeg(Engine(loop), options)
    await until(lambda: leg.guest.ended)
    assert faults == []
