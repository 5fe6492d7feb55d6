"""Sessions within a channel: real legs in one event loop, between sockets of this process.

    client socket ─ Endpoint ─ inner leg, within outer leg ══ outer leg, around inner leg ─ service

The far outer leg hands its `direct-tcpip` to a `SessionEndpoint` at once: it is B and C in one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from relay.agent.config import EndpointConfig
from relay.agent.session import SessionEndpoint
from relay.core.limits import RECEIVE_BUFFER
from relay.errors import LegLost
from relay.events import Events
from relay.io.engine import Engine
from relay.io.local import Acceptor
from relay.io.output import Output
from relay.life.admission import Startup
from relay.ssh import nested
from relay.ssh.client import HERE, ClientLeg, _connect, connect
from relay.ssh.endpoint import Endpoint
from relay.ssh.leg import Leg
from relay.ssh.nested import MIN_DATA, NestedStream
from relay.ssh.server import ServerLeg, server_options
from relay.sshconfig.client import ClientConfig
from relay.trust.keyfile import KeyFile
from relay.trust.known_hosts import line_for
from relay.wire import messages
from relay.wire.encoding import string
from relay.wire.messages import tcpip_fields
from relay.wire.packet import DATA_OFFSET, MAX_DATA, OVERHEAD, TAIL_ROOM, frame_data, read_header

MIB = 1 << 20
KEY = asyncssh.generate_private_key("ssh-ed25519")
MSG_IGNORE = 2
GUARD = 20.0
"""Seconds after which a test that waits gives up."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD):
        while not happened():  # noqa: ASYNC110  # Each turn of the loop does a part of it.
            await asyncio.sleep(0)


class Far:
    """The far end of outer legs. The `Host` of them."""

    def __init__(self, folder: Path, events: Events) -> None:
        (folder / "authorized_keys").write_bytes(KEY.export_public_key())
        self.events = events
        self.key_file = KeyFile(folder / "authorized_keys", events)
        self.sessions = SessionEndpoint(EndpointConfig("gpu1", 22, folder), events)
        self.options = server_options([KEY], ())
        self.engine = Engine(asyncio.get_running_loop())
        self.legs: list[ServerLeg] = []
        self.streams: list[NestedStream] = []

    def accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        leg = ServerLeg(self.engine, self.options)
        startup = Startup(address[0], lambda startup: leg, lambda reason: None, sock)
        leg.introduce(self, startup, address)  # type: ignore[arg-type]
        self.legs.append(leg)
        leg.attach(sock)

    def leg_up(self, leg: ServerLeg) -> None:
        pass

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        pass

    def open_stream(self, leg: ServerLeg, *asked: Any) -> NestedStream:
        stream = self.sessions.stream(leg, "192.0.2.1", 1)
        self.streams.append(stream)
        return stream

    @property
    def inner(self) -> list[ServerLeg]:
        """The far ends of inner legs that are there."""
        return list(self.sessions._legs)


@dataclass
class Way:
    """An outer leg and an inner one, logged in, and the far end of both."""

    inner: ClientLeg
    outer: ClientLeg
    far: Far
    service: socket.socket
    folder: Path
    reasons: list[str] = field(default_factory=list)

    async def stream(self, leg: ClientLeg | None = None) -> tuple[socket.socket, socket.socket]:
        """A stream through an inner leg: the client's socket and the service's."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fields = tcpip_fields(HERE, self.service.getsockname()[1], HERE, 0)
        endpoint = Endpoint(leg or self.inner, lambda _, reason: self.reasons.append(reason))
        endpoint.open(theirs, b"direct-tcpip", fields)
        far, _ = await asyncio.get_running_loop().sock_accept(self.service)
        far.setblocking(False)
        return ours, far

    @property
    def near_stream(self) -> NestedStream:
        assert isinstance(self.inner.stream, NestedStream)
        return self.inner.stream

    async def second(self) -> ClientLeg:
        """Another session within the same outer leg, which outlives the first from now on."""
        self.inner.via = None
        return await _connect(hop(self.folder, 22, "gpu1"), EVENTS, self.outer.engine, self.outer)


def hop(folder: Path, port: int, host: str = HERE, **options: Any) -> ClientConfig:
    return ClientConfig(
        host=host, user="x", port=port, identity_files=(folder / "key",), identity_agent="",
        user_known_hosts_files=(folder / "known_hosts",), global_known_hosts_files=(), **options,
    )  # fmt: skip


def write_keys(folder: Path, port: int) -> None:
    (folder / "key").touch(mode=0o600)
    KEY.write_private_key(folder / "key")
    lines = [line_for(HERE, port, KEY), line_for("gpu1", 22, KEY)]
    (folder / "known_hosts").write_text("".join(f"{line}\n" for line in lines))


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server((HERE, 0)) as sock:
        sock.setblocking(False)
        yield sock


EVENTS = Events()


@asynccontextmanager
async def a_way(folder: Path) -> AsyncIterator[Way]:
    with listening() as sock, listening() as service:
        port = sock.getsockname()[1]
        write_keys(folder, port)
        (folder / "ssh_host_ed25519_key").touch(mode=0o600)
        KEY.write_private_key(folder / "ssh_host_ed25519_key")
        far = Far(folder, EVENTS)
        engine = Engine(asyncio.get_running_loop())
        acceptor = Acceptor(sock, far.accept)
        try:
            jump = hop(folder, port)
            inner = await connect(hop(folder, 22, "gpu1", proxy_jump=(jump,)), EVENTS, engine)
            assert inner.via is not None
            outer = inner.via
            yield Way(inner, outer, far, service, folder)
            inner.close()
            outer.close()
            await until(lambda: not any(leg.alive for leg in [outer, *far.legs]))
        finally:
            acceptor.close()


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
    sock.shutdown(socket.SHUT_WR)


async def receive(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while part := await loop.sock_recv(sock, MIB):
        data += part
    return bytes(data)


async def exchange(one: socket.socket, other: socket.socket, size: int = MIB) -> None:
    """Random bytes each way, which must arrive as they went."""
    there, back = os.urandom(size), os.urandom(size)
    async with asyncio.timeout(GUARD):
        results = await asyncio.gather(
            send(one, there), send(other, back), receive(other), receive(one)
        )
    one.close()
    other.close()
    assert results[2:] == [there, back]


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
            if isinstance(leg.stream, NestedStream) and end - start > MAX_DATA // 2:
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
        inner, outer = way.inner, way.outer
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
        assert inner.max_data >= MIN_DATA
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
    monkeypatch.setattr(nested, "GRANT_SIZE", window // 4)
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


def endpoints(leg: Leg) -> list[Endpoint]:
    return [handler for handler in leg.handlers.values() if isinstance(handler, Endpoint)]


async def test_keys_of_both_change_at_once(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.inner.rekey_limit = 200_000
        way.outer.rekey_limit = 300_000
        await asyncio.gather(*[exchange(*await way.stream(), 2 * MIB) for _ in range(4)])


# -- how it ends


async def test_the_near_side_ends_it(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        client, service = await way.stream()
        way.inner.via = None
        way.inner.close()
        await until(lambda: not way.outer.handlers and not way.far.legs[0].handlers)
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
        await until(lambda: not way.outer.handlers and not way.far.legs[0].handlers)
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
            await _connect(hop(tmp_path, 22, "gpu1"), EVENTS, way.outer.engine, way.outer)


async def test_who_breaks_the_inner_protocol_loses_the_inner_leg_alone(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        other = await way.second()
        client, service = await way.stream(other)
        await way.stream()
        for _ in range(2):
            way.inner.send_payload(messages.window_adjust(0, 2**32 - 1))
        await until(lambda: len(way.far.inner) == 1)
        await until(lambda: not way.inner.alive)
        assert isinstance(way.inner.error, asyncssh.ProtocolError)
        await exchange(client, service)
        assert len(way.outer.handlers) == len(way.far.legs[0].handlers) == 1
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

    def flush(self) -> None:
        pass

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
        way.far.sessions._options.login_timeout = 0.05
        reader = Silent()
        await opened(way, reader)
        await until(lambda: reader.lost)
        assert reader.came.startswith(b"SSH-2.0-")
        assert len(way.outer.handlers) == 1
        await exchange(*await way.stream())


async def test_who_falls_silent_is_given_up(tmp_path: Path) -> None:
    async with a_way(tmp_path) as way:
        way.inner.via = None
        [far] = way.far.inner
        way.near_stream.pause("the test")
        far.set_keepalive(0.02, 1)
        await until(lambda: not far.alive)
        assert way.far.legs[0].alive


async def test_an_end_that_comes_with_the_opening_is_noticed(tmp_path: Path) -> None:
    """Before there is an inner leg to tell."""
    async with a_way(tmp_path) as way:
        way.far.sessions._begin = lambda _, stream, origin: stream.confirm() and stream.abort()  # type: ignore[assignment]
        with pytest.raises(LegLost, match="the other side closed the session"):
            await _connect(hop(tmp_path, 22, "gpu1"), EVENTS, way.outer.engine, way.outer)
        assert len(way.outer.handlers) == 1


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
        await until(lambda: stream._ended)
        assert not reader.lost
        stream.resume("enough")
        await until(lambda: not stream._pending)
        # It took all, and asks to be left alone with it.
        assert not reader.lost
        reader.enough = 0
        stream.resume("enough")
        await until(lambda: reader.lost)
        assert b"this is why" in reader.came
        assert len(way.outer.handlers) == 1


async def test_a_leg_that_was_told_of_room_and_found_none_is_told_again(tmp_path: Path) -> None:
    """Of two sessions in one leg, the first one to be told may take all the room."""
    async with a_way(tmp_path) as way:
        stream, told = way.near_stream, []

        class Waiting:
            def leg_has_room(self, leg: Leg) -> None:
                told.append(leg)

        window, stream.channel.send_window = stream.channel.send_window, 0
        way.inner.await_room(Waiting())
        for size in (0, 0, window):
            assert not told
            stream.window_adjust(size)
            way.outer.engine.flush()  # As at the end of the batch that it came in.
        assert told == [way.inner]


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
        way.inner.send_payload(bytes([MSG_IGNORE]) + string(bytes(100)))
        endpoint._readable()
        assert way.inner._blocked
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
