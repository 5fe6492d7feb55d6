"""How sessions within a channel end: by whom, and with whom."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh
import pytest

from relay.core.port import State
from relay.errors import LegLost
from relay.io.nested import NestedStream
from relay.life.admission import Startup
from relay.ssh.connect import _connect
from relay.ssh.way import HERE
from relay.wire import messages
from relay.wire.messages import tcpip_fields
from relay.wire.packet import OVERHEAD, read_header
from tests.io.way import (
    EVENTS,
    MIB,
    Way,
    a_way,
    exchange,
    hop,
    receive,
    until,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_near_side_ends_it(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        way.inner.via = None
        way.inner.close()
        await until(lambda: not way.outer.mux.channels and not way.far.legs[0].mux.channels)
        await until(lambda: not way.far.inner)
        assert way.outer.alive
        with pytest.raises(ConnectionResetError):
            await receive(service)
        assert way.reasons == ["the connection to the relay was lost"]
        client.close()


async def test_the_far_side_ends_it(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        way.inner.via = None
        way.far.sessions.close()
        await until(lambda: not way.outer.mux.channels and not way.far.legs[0].mux.channels)
        assert not way.inner.alive
        assert way.outer.alive
        with pytest.raises(ConnectionResetError):
            await receive(service)
        client.close()


@pytest.mark.parametrize("near", [True, False])
async def test_the_outer_leg_is_lost(tmp_path: Path, near: bool) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        leg = way.outer if near else way.far.legs[0]
        leg.abort()
        await until(lambda: not way.inner.alive and not way.far.inner)
        with pytest.raises(ConnectionResetError):
            await receive(service)
        client.close()


async def test_the_outer_leg_is_gone_already(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.outer.abort()
        with pytest.raises(LegLost):
            NestedStream(way.outer)
        with pytest.raises(LegLost, match="gpu1:22 through the jump host"):
            await _connect(
                (to := hop(tmp_path, 22, "gpu1")), EVENTS, way.outer.engine, way.outer, to
            )


async def test_who_breaks_the_inner_protocol_loses_the_inner_leg_alone(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        other = await way.second()
        client, service = await way.stream(other)
        await way.stream()
        for _ in range(2):
            way.inner.out.send_payload(messages.window_adjust(0, 2**32 - 1))
        await until(lambda: len(way.far.inner) == 1)
        await until(lambda: not way.inner.alive)
        assert isinstance(way.inner.error, asyncssh.ProtocolError)
        await exchange(client, service)
        assert len(way.outer.mux.channels) == len(way.far.legs[0].mux.channels) == 1
        other.close()


@pytest.mark.parametrize("forged", [0, 1, 2])
async def test_nothing_behind_a_forged_packet_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: int
) -> None:
    """Packets that come in one batch, of which one was changed on the way: those behind it are
    genuine, and yet must not be delivered."""
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        loop = asyncio.get_running_loop()
        held: list[bytes] = []
        original = NestedStream.data

        def hold(
            stream: NestedStream, view: memoryview, start: int, length: int, size: int
        ) -> None:
            if stream is way.far.streams[0]:
                held.append(bytes(view[start : start + length + OVERHEAD]))
            else:
                original(stream, view, start, length, size)

        monkeypatch.setattr(NestedStream, "data", hold)
        pieces = [os.urandom(3000) for _ in range(4)]
        for number, piece in enumerate(pieces):
            await loop.sock_sendall(client, piece)
            await until(lambda number=number: len(held) > number)  # type: ignore[misc]
        for number, packet in enumerate(held):
            memory = memoryview(bytearray(packet))
            if number == forged:
                memory[1000] ^= 1
            size = read_header(memory, 0)[4]
            original(way.far.streams[0], memory, 0, len(packet) - OVERHEAD, size)
        came = bytearray()
        try:
            while part := await loop.sock_recv(service, MIB):
                came += part
            pytest.fail("it ended in peace")
        except ConnectionResetError:
            pass
        assert b"".join(pieces[:forged]).startswith(came)
        client.close()


class Silent:
    """An inner leg that says nothing."""

    def __init__(self) -> None:
        self.came = bytearray()
        self.lost: list[str] = []
        self.stream: NestedStream | None = None
        # Bytes after which it wants no more for now.
        self.enough = 0

    def received(self, view: memoryview, start: int, end: int) -> int:
        self.came += view[start:end]
        if self.enough and self.stream is not None:
            self.stream.pause("enough")
        return end

    def flush(self) -> None: ...
    def wake(self) -> None: ...

    def stream_lost(self, error: Exception | None) -> None:
        self.lost.append(str(error))


async def opened(way: Way, reader: Silent) -> NestedStream:
    stream = NestedStream(way.outer)
    await stream.open(b"direct-tcpip", tcpip_fields("gpu1", 22, HERE, 0))
    reader.stream = stream
    stream.attach(reader)
    stream.start()
    return stream


async def test_who_does_not_log_in_is_given_up(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.far.sessions._options.asyncssh.login_timeout = 0.05
        reader = Silent()
        await opened(way, reader)
        await until(lambda: reader.lost)
        assert reader.came.startswith(b"SSH-2.0-")
        assert len(way.outer.mux.channels) == 1
        await exchange(*await way.stream())


async def test_who_falls_silent_is_given_up(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.inner.via = None
        [far] = way.far.inner
        way.near_stream.pause("the test")
        far.keepalive.set(0.02, 1)
        await until(lambda: not far.alive)
        assert way.far.legs[0].alive


async def test_an_end_that_comes_with_the_opening_is_noticed(tmp_path: Path) -> None:
    """Before there is an inner leg to tell."""
    async with a_way(tmp_path) as way:

        def end(startup: Startup, stream: NestedStream, origin: str) -> None:
            assert stream.confirm()
            stream.abort()

        way.far.sessions._begin = end  # type: ignore[method-assign]
        reader = Silent()
        await opened(way, reader)
        await until(lambda: reader.lost)
        assert reader.lost == ["the other side closed the session"]
        assert len(way.outer.mux.channels) == 1
        with pytest.raises(LegLost, match="the other side closed the session"):
            await _connect(
                (to := hop(tmp_path, 22, "gpu1")), EVENTS, way.outer.engine, way.outer, to
            )


async def test_what_came_before_the_end_is_used_before_it(tmp_path: Path) -> None:
    """It may say why it ended; and an inner leg may be busy just then."""
    async with a_way(tmp_path) as way:
        reader = Silent()
        reader.enough = 1
        stream = await opened(way, reader)
        await until(lambda: reader.came)
        await until(lambda: len(way.far.inner) == 2)
        newest = next(leg for leg in way.far.inner if not leg.logged_in)
        newest.disconnect(asyncssh.DISC_BY_APPLICATION, "this is why")
        await until(lambda: stream.state is State.OVER)
        assert not reader.lost
        stream.resume("enough")
        await until(lambda: not stream._pending)
        # It took all, and asks to be left alone with it.
        assert not reader.lost
        reader.enough = 0
        stream.resume("enough")
        await until(lambda: reader.lost)
        assert b"this is why" in reader.came
        assert len(way.outer.mux.channels) == 1
