"""Sessions within a channel: their fast path, other ways of packing, and flow control."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from relay.core.limits import RECEIVE_BUFFER
from relay.core.output import Output
from relay.io import nested
from relay.io.endpoint import Endpoint
from relay.io.engine import Engine
from relay.io.nested import MIN_DATA, NestedStream
from relay.ssh.connect import connect
from relay.ssh.leg import Leg
from relay.ssh.way import HERE
from relay.wire.encoding import string
from relay.wire.messages import tcpip_fields
from relay.wire.packet import DATA_OFFSET, MAX_DATA, OVERHEAD, TAIL_ROOM, frame_data
from tests.io.way import (
    EVENTS,
    GUARD,
    KEY,
    MIB,
    Way,
    a_way,
    endpoints,
    exchange,
    hop,
    listening,
    receive,
    send,
    until,
    write_keys,
)

MSG_IGNORE = 2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# -- the fast path


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
async def test_an_inner_packet_is_sealed_and_sent_in_the_outer_ones_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upload: bool
) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        sender, receiver = (client, service) if upload else (service, client)
        scratch = (way.outer if upload else way.far).engine.scratch.obj
        carried, written, opened = 0, 0, 0
        carry, add, received = NestedStream.carry, Output.add, Leg.received

        def spy_carry(stream: NestedStream, view: memoryview, start: int, size: int) -> bool:
            nonlocal carried
            if size > MAX_DATA // 2:
                assert view.obj is scratch
                assert size <= stream.channel.send_packet
                carried += 1
            return carry(stream, view, start, size)

        def spy_add(output: Output, view: memoryview, start: int, end: int) -> None:
            nonlocal written
            if end - start > MAX_DATA // 2:
                assert view.obj is scratch, "an inner packet was copied"
                written += 1
            add(output, view, start, end)

        def spy_received(leg: Leg, view: memoryview, start: int, end: int) -> int:
            nonlocal opened
            if isinstance(leg.out.stream, NestedStream) and end - start > MAX_DATA // 2:
                # Opened where the outer packet was.
                assert len(view.obj) == RECEIVE_BUFFER  # type: ignore[arg-type]
                opened += 1
            return received(leg, view, start, end)

        monkeypatch.setattr(NestedStream, "carry", spy_carry)
        monkeypatch.setattr(Output, "add", spy_add)
        monkeypatch.setattr(Leg, "received", spy_received)
        data = os.urandom(8 * MIB)
        async with asyncio.timeout(GUARD):
            _, came = await asyncio.gather(send(sender, data), receive(receiver))
        assert came == data
        # One outer packet for each inner one, and each was opened in one piece.
        assert carried == written == opened > 0
        client.close()
        service.close()


async def test_a_full_inner_packet_fits_in_one_outer_packet(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        inner, outer = way.inner.out, way.outer.out
        assert inner.max_data == MAX_DATA - DATA_OFFSET - TAIL_ROOM
        memory = memoryview(bytearray(MAX_DATA + 256))
        assert frame_data(memory, 0, inner.max_data) + OVERHEAD <= MAX_DATA
        assert inner.headroom == outer.headroom + DATA_OFFSET == DATA_OFFSET


# -- a peer that splits, has small windows, small packets


@pytest.mark.parametrize("piece", [1, 13, 1000, 100_001])
async def test_inner_packets_in_any_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    whole = NestedStream.data

    def in_pieces(
        stream: NestedStream, view: memoryview, start: int, length: int, size: int
    ) -> None:
        begin = start + DATA_OFFSET
        data = bytes(view[begin : begin + size])
        for at in range(0, len(data), piece):
            feed(stream, data[at : at + piece])

    def feed(stream: NestedStream, data: bytes) -> None:
        memory = memoryview(bytearray(DATA_OFFSET + len(data) + TAIL_ROOM))
        memory[DATA_OFFSET : DATA_OFFSET + len(data)] = data
        whole(stream, memory, 0, frame_data(memory, 0, len(data)), len(data))

    monkeypatch.setattr(NestedStream, "data", in_pieces)
    async with a_way(tmp_path) as way:
        await exchange(*await way.stream(), 20 * 1024 if piece < 1000 else 4 * MIB)


class Forwarder(asyncssh.SSHServer):
    """A stock server that forwards with a window and a packet size of its own."""

    window, packet = 24 * 1024, 32 * 1024

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, host: str, port: int, *origin: Any) -> Any:
        channel: Any = self._conn.create_tcp_channel(window=self.window, max_pktsize=self.packet)
        return channel, lambda *streams: self._forward(port, *streams)

    async def _forward(self, port: int, reader: Any, writer: Any) -> None:
        far_reader, far_writer = await asyncio.open_connection(HERE, port)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


async def copy(reader: Any, writer: Any) -> None:
    try:
        while data := await reader.read(16 * 1024):
            writer.write(data)
            await writer.drain()
    except (OSError, asyncssh.Error):
        pass
    writer.close()


class Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, *asked: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("window", "packet"),
    [(24 * 1024, 32 * 1024), (2 * MIB, 32 * 1024), (10_000, 200), (100, 100)],
    ids=["as dropbear's", "as sshd's", "small packets", "tiny"],
)
async def test_a_peer_with_small_windows_and_packets(
    tmp_path: Path, window: int, packet: int
) -> None:
    factory = type("B", (Forwarder,), {"window": window, "packet": packet})
    b = await asyncssh.listen(HERE, 0, server_factory=factory, server_host_keys=[KEY])
    c = await asyncssh.listen(HERE, 0, server_factory=Open, server_host_keys=[KEY])
    async with b, c:
        write_keys(tmp_path, b.get_port())
        target = hop(tmp_path, c.get_port(), host_key_alias="gpu1",
                     proxy_jump=(hop(tmp_path, b.get_port()),))  # fmt: skip
        inner = await connect(target, EVENTS, Engine(asyncio.get_running_loop()))
        assert inner.out.max_data >= MIN_DATA
        with listening() as service:
            way = Way(inner, inner.via, None, service, tmp_path)  # type: ignore[arg-type]
            await exchange(*await way.stream(), 4 * MIB if window > MIB else 64 * 1024)
        inner.close()
        await until(lambda: not way.outer.alive)


# -- flow control


async def test_what_waits_for_a_paused_session_is_within_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = MIB
    monkeypatch.setattr(nested, "NESTED_WINDOW", window)
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        [far_stream] = way.far.streams
        far_stream.pause("the test")
        data = os.urandom(3 * MIB)
        sending = asyncio.create_task(send(client, data))
        await until(lambda: not way.near_stream.channel.send_window)
        await until(lambda: not far_stream.channel.receive_window)
        # All of it came, and nothing was used.
        assert window // 2 < len(far_stream._pending) <= window
        assert not sending.done()
        far_stream.resume("the test")
        async with asyncio.timeout(GUARD):
            assert await receive(service) == data
            await sending
        assert len(far_stream._pending) == 0
        client.close()
        service.close()


async def test_a_slow_stream_holds_up_no_other_of_the_session(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        loop = asyncio.get_running_loop()
        filling = asyncio.create_task(loop.sock_sendall(client, bytes(64 * MIB)))
        # Nobody reads at the service: the stream's own window fills.
        await until(lambda: any(h.channel.send_window == 0 for h in endpoints(way.inner)))
        await exchange(*await way.stream())
        filling.cancel()
        client.close()
        service.close()


async def test_keys_of_both_change_at_once(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.inner.mux.rekey.limit = 200_000
        way.outer.mux.rekey.limit = 300_000
        await asyncio.gather(*[exchange(*await way.stream(), 2 * MIB) for _ in range(4)])


async def test_a_leg_that_was_told_of_room_and_found_none_is_told_again(tmp_path: Path) -> None:
    """Of two sessions in one leg, the first one to be told may take all the room."""
    async with a_way(tmp_path) as way:
        stream, told = way.near_stream, []

        class Waiting:
            def leg_has_room(self) -> None:
                told.append(self)

        window, stream.channel.send_window = stream.channel.send_window, 0
        waiting = Waiting()
        way.inner.out.await_room(waiting)
        for size in (0, 0, window):
            assert not told
            stream.window_adjust(size)
            way.outer.engine.flush()  # As at the end of the batch that it came in.
        assert told == [waiting]


async def test_what_waits_for_a_window_has_memory_of_its_own(tmp_path: Path) -> None:
    """An inner packet that was sealed where endpoints read must not be overwritten there."""
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        [endpoint] = endpoints(way.inner)
        await until(lambda: endpoint._reading)
        channel, data = way.near_stream.channel, os.urandom(5000)
        client.send(data)
        # The window ends within what goes before the data.
        window, channel.send_window = channel.send_window, 10
        way.inner.out.send_payload(bytes([MSG_IGNORE]) + string(bytes(100)))
        endpoint._readable()
        assert way.inner.out.waiting
        way.outer.engine.scratch[:] = bytes(len(way.outer.engine.scratch))
        way.near_stream.window_adjust(window - 10)
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(GUARD):
            assert await receive(service) == data
        client.close()
        service.close()


async def test_a_session_has_so_many_streams_and_no_more(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        [far] = way.far.inner
        far.limits = replace(far.limits, channels_per_leg=2)
        streams = [await way.stream() for _ in range(2)]
        client, theirs = socket.socketpair()
        endpoint = Endpoint(way.inner, lambda endpoint, reason: way.reasons.append(reason))
        fields = tcpip_fields(HERE, way.service.getsockname()[1], HERE, 0)
        endpoint.open(theirs, b"direct-tcpip", fields)
        await until(lambda: way.reasons)
        client.close()
        assert way.reasons[0].endswith("there are too many streams already")
        await exchange(*streams[0])
