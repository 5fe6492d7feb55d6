"""`/v1/live`: what is told to whom, and what to nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from relay.events import Events, LegName
from relay.events.server import LegUp, LimitHit
from relay.web.limits import EVENTS_PER_SECOND, SUBSCRIBERS, WAITING_EVENTS
from relay.web.live import Live

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """With a clock that goes on when everybody waits."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Status:
    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self) -> dict[str, object]:
        self.asked += 1
        return {"asked": self.asked}


def read(text: str) -> tuple[str, Any]:
    event, data, *rest = text.splitlines()
    assert rest == [""]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def begun(live: Live) -> AsyncGenerator[str, None]:
    """One that listens, and has heard the first totals."""
    listening = live.listen()
    assert (await anext(listening)).startswith("retry: ")
    assert read(await anext(listening))[0] == "totals"
    return listening


async def test_an_event_is_told_as_it_happens() -> None:
    live = Live(Status())
    events = Events(live)
    events.emit(LimitHit("nobody listens"))
    async with aclosing(await begun(live)) as listening:
        events.note("info", "for the log", "alone")
        leg = LegName(3, "SHA256:x", "me\n\nevent: totals", "10.0.0.1:5")
        events.emit(LegUp(leg, "10.0.0.1", "u" * 1000, "SSH-2.0-x", "aes", inner=False))
        name, body = read(await anext(listening))
        assert (name, body["name"]) == ("happened", "LegUp")
        assert body["fields"]["leg"] == {
            "number": 3, "fingerprint": "SHA256:x", "comment": "me\n\nevent: totals",
            "peer": "10.0.0.1:5",
        }  # fmt: skip
        assert len(body["fields"]["user"]) < 500
        assert body["fields"]["inner"] is False


async def test_totals_are_asked_for_once_for_all() -> None:
    status = Status()
    live = Live(status)
    heard: list[int] = []

    async def listen() -> None:
        listening = await begun(live)
        for _ in range(3):
            heard.extend([read(await anext(listening))[1]["asked"]])
        await listening.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        tasks.start_soon(listen)
    assert heard == [2, 2, 3, 3, 4, 4]


async def test_of_too_many_events_they_hear_how_many() -> None:
    live = Live(Status())
    listening = await begun(live)
    for number in range(EVENTS_PER_SECOND + 7):
        live(LimitHit(str(number)))
    for number in range(EVENTS_PER_SECOND):
        assert read(await anext(listening))[1]["fields"] == {"limit": str(number)}
    name, body = read(await anext(listening))
    assert (name, body["events_left_out"]) == ("totals", 7)


async def test_who_does_not_take_them_is_dropped() -> None:
    live = Live(Status())
    slow = await begun(live)
    for _ in range(WAITING_EVENTS + 1):
        live._told = 0  # (Many seconds.)
        live(LimitHit("x"))
    assert not live._subscribers
    heard = [one async for one in slow]
    assert len(heard) <= WAITING_EVENTS


async def test_who_goes_is_forgotten() -> None:
    live = Live(Status())
    listening = [await begun(live) for _ in range(SUBSCRIBERS)]
    assert live.full
    for one in listening:
        await one.aclose()
    assert not live._subscribers
