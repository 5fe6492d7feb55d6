"""What is kept of what happens, on trio's virtual clock."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
from trio.testing import MockClock

from relay.core.traffic import Traffic
from relay.events import Events, LegName, Note
from relay.events.server import (
    KeyRefused,
    LegUp,
    LimitHit,
    LoginFailed,
    ServicePublished,
    SpliceOpened,
    StreamRefused,
)
from relay.observe.lines import LINES
from relay.web import history as module
from relay.web.history import KIND_EVENTS, OTHERS, PEER_EVENTS, SOURCES_A_MINUTE, History
from relay.web.store import FILE_NAME, Batch, Store
from relay.web.told import KINDS, LONGEST_TEXT, TOLD, tell

START = 1_800_000_000.0 // 60 * 60
ME = LegName(1, "SHA256:me", "laptop", "192.0.2.1:5")
NOBODY = LegName(3, "", "", "192.0.2.3:7")


class Services(list[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.traffic = Traffic()


class Route:
    def __init__(self, name: str) -> None:
        self.name = name
        self.traffic = Traffic()


class B:
    """As much of it as is read; nothing is under way."""

    def __init__(self) -> None:
        self.services = Services()

    def publish(self, name: str) -> Route:
        route = Route(name)
        self.services.append(route)
        return route

    def move(self, route: Route, there: int, back: int) -> None:
        for traffic in (route.traffic, self.services.traffic):
            traffic.moved(received=back, sent=there)

    async def reading(self) -> None:
        await anyio.lowlevel.checkpoint()


class World:
    def __init__(self, store: Store) -> None:
        self.b = B()
        self.log: list[Note] = []
        self.store = store

    def run(self, story: Callable[[History], Awaitable[None]]) -> None:
        async def main() -> None:
            began = anyio.current_time()
            events = Events(lambda event: self.log.append(event))  # type: ignore[arg-type]

            async def at_once(call: Callable[[], Any]) -> Any:
                await anyio.lowlevel.checkpoint()
                return call()

            history = History(
                self.store, self.b, events, elsewhere=at_once,
                clock=lambda: START + anyio.current_time() - began,
            )  # fmt: skip
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(history.run)
                await anyio.sleep(1)
                await story(history)
                tasks.cancel_scope.cancel()

        trio.run(main, clock=MockClock(autojump_threshold=0))

    @property
    def said(self) -> list[str]:
        return [note.text.format(**note.fields) for note in self.log]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Store(tmp_path / FILE_NAME))


def test_events_are_there_soon_and_after_a_restart(world: World) -> None:
    async def first(history: History) -> None:
        history.started()
        history(ServicePublished("gpu1:8000", ME))
        await anyio.sleep(3)
        row = (await history.events(10))[0]
        assert row["time"] == START + 1
        assert (row["kind"], row["service"], row["key"]) == ("published", "gpu1:8000", "SHA256:me")
        assert row["text"] == "laptop published gpu1:8000"
        history(SpliceOpened("gpu1:8000", ME))  # There are too many of these.
        history(LegUp(ME, "192.0.2.1", "u", "SSH-2.0-x", "aes", inner=False))

    world.run(first)

    async def second(history: History) -> None:
        kinds = [row["kind"] for row in await history.events(10)]
        assert kinds == ["connected", "published", "server"]

    world.run(second)
    assert world.said == []


def test_each_minute_has_its_bytes(world: World) -> None:
    async def story(history: History) -> None:
        before = world.b.publish("gpu1:8000")
        world.b.move(before, 1000, 5000)
        await anyio.sleep(60)
        world.b.move(before, 10, 0)
        twin = world.b.publish("gpu1:8000")  # Shared by two agents.
        world.b.move(twin, 1, 7)
        world.b.services.remove(before)  # What it moved before is counted still.
        await anyio.sleep(60)
        world.b.publish("idle:1")
        await anyio.sleep(60 + 3)
        hour = await history.last_hour(["gpu1:8000", "", "idle:1", "unknown:1"])
        assert hour["gpu1:8000"][-3:] == hour[""][-3:] == [[1000, 5000], [11, 7], [0, 0]]
        assert hour["idle:1"] == hour["unknown:1"] == [[0, 0]] * 60

    world.run(story)


def test_streams_of_a_service_that_is_withdrawn_go_on(world: World) -> None:
    async def story(history: History) -> None:
        route = world.b.publish("gpu1:8000")
        route.traffic.begun()
        await anyio.sleep(60)
        world.b.services.remove(route)
        for _ in range(3):
            world.b.move(route, 5, 0)
            await anyio.sleep(60)
        route.traffic.ended()
        await anyio.sleep(61)
        hour = await history.last_hour(["gpu1:8000"])
        assert hour["gpu1:8000"][-4:] == [[5, 0], [5, 0], [5, 0], [0, 0]]
        assert history._meter._known == {}

    world.run(story)


def test_only_the_busiest_have_minutes_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SERVICES_A_MINUTE", 10)

    async def story(history: History) -> None:
        for number in range(1000):
            world.b.move(world.b.publish(f"service{number}:80"), number, 0)
        await anyio.sleep(63)
        names = [f"service{number}:80" for number in (989, 990, 999)]
        hour = await history.last_hour([*names, ""])
        assert [hour[name][-1][0] for name in names] == [0, 990, 999]
        assert hour[""][-1][0] == sum(range(1000))

    world.run(story)


def test_a_flood_of_strangers_pushes_nothing_out(world: World) -> None:
    async def story(history: History) -> None:
        history(ServicePublished("gpu1:8000", ME))
        for number in range(20_000):
            leg = LegName(number, "", "", f"192.0.2.{number % 250}:{number}")
            source = f"192.0.2.{number % 250}" if number < 1000 else f"2001:db8:{number:x}::/64"
            history(KeyRefused(leg, source, "SHA256:x", "unknown key"))
            history(LoginFailed(leg, source, "gone", inner=False))
        await anyio.sleep(66)
        kept = await history.events(50_000)
        assert kept[-1]["kind"] == "published"
        assert len(kept) == 1 + KIND_EVENTS + 1
        assert kept[0]["text"] == f"{40_000 - KIND_EVENTS} more like these in one minute"
        refused = await history.refused(1000, seconds=3600)
        assert len(refused) == SOURCES_A_MINUTE + 1
        assert sum(row["count"] for row in refused) == 20_000  # type: ignore[misc]
        assert refused[0]["source"] == OTHERS
        assert refused[1]["reason"] == "unknown key"

    world.run(story)


def test_one_peer_is_worth_so_many_of_a_kind(world: World) -> None:
    async def story(history: History) -> None:
        for number in range(1000):
            history(StreamRefused(f"x{number}:1", ME, 2, "no", inner=False))
        other = LegName(2, "SHA256:you", "", "192.0.2.9:1")
        history(StreamRefused("mine:1", other, 2, "no", inner=False))
        await anyio.sleep(3)
        kept = await history.events(5000)
        assert len(kept) == PEER_EVENTS + 1
        assert kept[0]["service"] == "mine:1"
        await anyio.sleep(60)
        history(StreamRefused("again:1", ME, 2, "no", inner=False))
        await anyio.sleep(3)
        assert (await history.events(1))[0]["service"] == "again:1"

    world.run(story)


def test_a_login_with_the_second_key_is_no_refusal(world: World) -> None:
    async def story(history: History) -> None:
        history(KeyRefused(NOBODY, "192.0.2.3", "SHA256:x", "unknown key"))
        await anyio.sleep(66)
        assert await history.refused(10, seconds=3600) == []

    world.run(story)


class Full(Store):
    """A disk on which there is no room, for a while."""

    full = True

    def write(self, batch: Batch) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().write(batch)


def test_a_full_disk_costs_what_does_not_fit_and_is_told_of_once(tmp_path: Path) -> None:
    store = Full(tmp_path / FILE_NAME)
    world = World(store)

    async def story(history: History) -> None:
        for _ in range(5):
            history(LimitHit("max-startups"))
            await anyio.sleep(3)
        assert len(world.log) == 1
        store.full = False
        history(LimitHit("channels-per-leg"))
        await anyio.sleep(3)
        assert [row["text"] for row in await history.events(9)] == [
            "the limit channels-per-leg was hit"
        ]

    world.run(story)
    assert "cannot be written: database or disk is full" in world.said[0]
    assert world.said[1:] == ["history: is written again; 5 entries were not kept"]


def test_a_disk_that_stands_still_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its real thread: the loop turns on, what waits is bounded, and the end does not wait."""
    monkeypatch.setattr(module, "WRITE_INTERVAL", 0.001)
    monkeypatch.setattr(module, "WAITING_EVENTS", 10)
    monkeypatch.setattr(module, "ANSWER", 0.01)
    monkeypatch.setattr(module, "LAST_WORDS", 0.01)
    stuck, writes = threading.Event(), threading.Event()

    class Still(Store):
        def write(self, batch: Batch) -> None:
            with self._connection():
                writes.set()
                assert stuck.wait(60)

    async def main() -> None:
        history = History(Still(tmp_path / FILE_NAME), B(), Events())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(history.run)
            history(LimitHit("first"))
            await anyio.to_thread.run_sync(writes.wait)
            for number in range(100):
                history(LimitHit(f"{number}"))
            assert len(history._batch.events) == 10
            assert history._lost == 90
            with pytest.raises(module.Unavailable, match="does not answer"):
                await history.events(1)
            tasks.cancel_scope.cancel()
        stuck.set()

    try:
        anyio.run(main)
    finally:
        stuck.set()


def test_a_file_that_is_no_good_is_a_line_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"no history" * 1000)
    world = World(Store(path))

    async def story(history: History) -> None:
        history(LimitHit("x"))
        await anyio.sleep(3)

    world.run(story)
    (line,) = world.said
    assert "file is not a database; moved to history.sqlite3.unusable" in line


def test_every_event_of_a_server_is_told_or_left_out_on_purpose() -> None:
    """In words that are the user's, and whatever strangers have put in it."""
    # (Sessions are an agent's endpoint's.)
    left_out = {"SpliceOpened", "SpliceClosed", "PortStreamClosed", "SessionStreamClosed",
                "SessionHeld", "SessionResumed", "StreamHeld"}  # fmt: skip
    ours = [kind for kind in LINES if kind.__module__ == "relay.events.server"]
    assert {kind.__name__ for kind in ours} - left_out == {kind.__name__ for kind in TOLD}
    evil = LegName(1, "SHA256:me", "<img onerror=x>\x1b[2J\u202e" + "c" * 9999, "192.0.2.1:5")
    for kind in TOLD:
        values: dict[str, Any] = {
            field.name: evil if field.type == "LegName" else "e\n" * 9999 for field in fields(kind)
        }
        told = tell(kind(**values))
        assert told is not None
        assert told.kind in KINDS
        for text in (told.text, told.service, told.comment):
            assert text.isprintable()
            assert len(text) <= LONGEST_TEXT
        assert not {"leg", "splice"} & set(told.text.replace("<", " ").split())
