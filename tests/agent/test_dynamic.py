"""A stream whose client says in SOCKS where it is to go, on a leg without a socket."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.agent import dynamic
from relay.agent.dynamic import SocksExit, SocksStream
from relay.core.grants import Permit
from relay.events import Events
from relay.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN_CONFIRMATION,
)
from relay.wire.packet import DATA_OFFSET, TAIL_ROOM, frame_data
from tests.ssh.bench import Bench

REQUEST = b"\5\1\0\5\1\0\3\4gpu2\0\x50"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """One stream, its client's side of the leg, and a target that is dialled for ever or is the
    other end of a pair."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *permits: Permit, window: int = 2**20):
        self.bench = Bench()
        self.leg = self.bench.c
        self.dialled: list[tuple[str, int]] = []
        self.cancelled = False
        self.connected: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self.ends: list[str] = []
        monkeypatch.setattr(dynamic, "dial_service", self._dial)
        way = SocksExit("gpu1:1080", permits or None, Events())
        self.stream = SocksStream(self.leg, way, lambda stream, reason: self.ends.append(reason))
        self.stream.opened_by_peer(7, window, 2**15)

    async def _dial(self, host: str, port: int) -> socket.socket:
        self.dialled.append((host, port))
        try:
            return await self.connected
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def says(self, data: bytes) -> None:
        buffer = memoryview(bytearray(DATA_OFFSET + len(data) + TAIL_ROOM))
        buffer[DATA_OFFSET : DATA_OFFSET + len(data)] = data
        self.stream.data(buffer, 0, frame_data(buffer, 0, len(data)), len(data))

    def hears(self) -> tuple[list[int], bytes]:
        """The messages that left since the last time, and the data in them."""
        self.leg.engine.flush()
        payloads = self.bench.read(self.leg)
        data = b"".join(p[9:] for p in payloads if p[0] == MSG_CHANNEL_DATA)
        return [payload[0] for payload in payloads], data


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    for byte in REQUEST + b"for the target":
        world.says(bytes((byte,)))
    await turns()
    assert world.dialled == [("gpu2", 80)]
    messages, data = world.hears()
    assert (messages, data) == ([MSG_CHANNEL_OPEN_CONFIRMATION, MSG_CHANNEL_DATA], b"\5\0")
    ours, theirs = socket.socketpair()
    with theirs:
        world.connected.set_result(ours)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(theirs, 64) == b"for the target"
        assert world.hears()[1] == b"\5\0\0\1" + bytes(6)
        world.stream.leg_lost()
    assert world.ends == ["the connection to the relay was lost"]


@pytest.mark.parametrize("end", ["leg_lost", "peer_closed"])
async def test_what_is_dialled_ends_with_the_stream(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    world = World(monkeypatch)
    world.says(REQUEST)
    await turns()
    assert world.dialled
    getattr(world.stream, end)()
    await turns()
    assert world.cancelled
    assert len(world.ends) == 1


async def test_an_answer_waits_for_the_clients_window(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, window=0)
    world.says(REQUEST)
    assert world.hears() == ([MSG_CHANNEL_OPEN_CONFIRMATION], b"")
    world.stream.window_adjust(1)
    assert world.hears()[1] == b"\5"
    world.stream.window_adjust(1)
    assert world.hears()[1] == b"\0"
    world.stream.leg_lost()


async def test_what_is_not_permitted_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Permit("gpu3", None))
    world.says(REQUEST + b"and more")
    world.says(b"and more")
    await turns()
    assert not world.dialled
    messages, data = world.hears()
    assert data == b"\5\0\5\2\0\1" + bytes(6)
    assert messages[-1] == MSG_CHANNEL_EOF
    world.stream.eof()
    assert world.hears()[0] == [MSG_CHANNEL_CLOSE]
    assert world.ends == [""]


async def test_who_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "NEGOTIATION_TIMEOUT", 0.0)
    world = World(monkeypatch)
    await turns()  # In one the client is turned away, in the next its time to read why is over.
    assert world.ends == [""]
    assert world.hears()[0][-2:] == [MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]


async def test_who_is_gone_before_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.says(b"\5\1")
    world.stream.eof()
    assert world.hears()[0][-2:] == [MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]
    assert world.ends == [""]
