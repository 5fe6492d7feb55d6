"""relay/ssh/leg.py without a socket: what comes in is bytes, what goes out is bytes.

Two legs of B with a splice between them, and streams that take what they are told to take. The
peers' ends of the ciphers are here, so every packet can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import FED_PACKET, FLUSH_PACKETS, PACKETS_PER_TURN
from relay.core.services import Service
from relay.core.traffic import Traffic
from relay.events import Events
from relay.io import engine as engine_module
from relay.io.engine import Engine
from relay.io.stream import Buffer
from relay.server.routes import AgentRoute
from relay.server.splices import SplicedStream
from relay.ssh.internals import GcmEncryption
from relay.ssh.leg import Leg
from relay.ssh.server import ServerLeg, server_options
from relay.trust.hostkeys import HostKey
from relay.wire import messages
from relay.wire.gcm import GcmCipher
from relay.wire.numbers import MSG_CHANNEL_DATA, MSG_IGNORE
from relay.wire.packet import (
    BLOCK_SIZE,
    LABEL_OFFSET,
    OVERHEAD,
    TAG_SIZE,
    frame,
    payload_end,
    read_length,
)

KEY, IV = bytes(16), bytes(12)
A_NUMBER, C_NUMBER = 10, 20
HOST_KEY: HostKey = asyncssh.generate_private_key("ssh-ed25519")


class TakingStream:
    """In place of a socket: takes `room` bytes, for ever if None. `sends` are the sizes of what it
    was offered."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.sends: list[int] = []
        self.taken = bytearray()
        self.paused: set[object] = set()

    def send(self, buffers: list[Buffer]) -> int:
        data = b"".join(buffers)
        self.sends.append(len(data))
        data = data[: self.room]
        if self.room is not None:
            self.room -= len(data)
        self.taken += data
        return len(data)

    def pause(self, reason: object) -> None:
        self.paused.add(reason)

    def resume(self, reason: object) -> None:
        self.paused.discard(reason)

    def await_room(self) -> None: ...
    def abort(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


AnyLeg = TypeVar("AnyLeg", bound=Leg)


def ready(leg: AnyLeg) -> AnyLeg:
    """The leg as it is after its login, with a stream that takes all."""
    leg._transport = leg.stream = TakingStream()  # type: ignore[assignment]
    leg._kex_complete = leg._auth_complete = True
    leg._recv_handler = leg._recv_pkthdr
    leg.opener, leg.sealer = GcmCipher(KEY, IV), GcmCipher(KEY, IV)
    leg._recv_encryption = GcmEncryption(leg.opener)
    leg._send_encryption = GcmEncryption(leg.sealer)
    leg._recv_blocksize, leg._recv_macsize = BLOCK_SIZE, TAG_SIZE
    return leg


class Bench:
    """B between A and C: `a` and `c` are its legs."""

    def __init__(self) -> None:
        options = server_options([HOST_KEY], ())
        self.engine = Engine(asyncio.get_running_loop())
        self.a, self.c = (ready(ServerLeg(self.engine, options)) for _ in range(2))
        self.traffic = Traffic()
        self.splice = SplicedStream(self.a, self.route(), Events())
        self.splice.open(A_NUMBER, 2**20, 2**17)
        self.splice.ends[1].confirmed(C_NUMBER, 2**20, 2**17)
        self.a.engine.flush()
        self.from_a, self.to_c = GcmCipher(KEY, IV), GcmCipher(KEY, IV)
        self.read_by_c(self.c)

    def route(self) -> AgentRoute:
        """Another way to C's service."""
        return AgentRoute(Service("gpu1", 8000, self.c, True), self.traffic)

    def another_splice(self) -> tuple[SplicedStream, ServerLeg]:
        """A stream of A's to another agent."""
        other = ready(ServerLeg(self.engine, server_options([HOST_KEY], ())))
        route = AgentRoute(Service("gpu2", 8000, other, True), self.traffic)
        splice = SplicedStream(self.a, route, Events())
        splice.open(A_NUMBER + 1, 2**20, 2**17)
        splice.ends[1].confirmed(C_NUMBER, 2**20, 2**17)
        self.a.engine.flush()
        self.stream(other).taken.clear()
        return splice, other

    def stream(self, leg: ServerLeg) -> TakingStream:
        assert isinstance(leg.stream, TakingStream)
        return leg.stream

    def seal(self, payload: bytes) -> bytes:
        """A's packet."""
        packet = frame(payload)
        self.from_a.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
        return bytes(packet)

    def data(self, data: bytes, splice: SplicedStream | None = None) -> bytes:
        label = (splice or self.splice).splice.channels[0].local_id
        head = bytes([MSG_CHANNEL_DATA]) + label.to_bytes(4, "big")
        return self.seal(head + len(data).to_bytes(4, "big") + data)

    def read_by_c(self, leg: ServerLeg) -> list[bytes]:
        """The payloads that have left on `leg` since the last time."""
        stream = self.stream(leg)
        view = memoryview(bytearray(stream.taken))
        payloads, start = [], 0
        while start < len(view):
            length = read_length(view, start)[0]
            if start + length + OVERHEAD > len(view):
                break
            self.to_c.open(view, start, length)
            payloads.append(
                bytes(view[start + LABEL_OFFSET - 1 : payload_end(view, start, length)])
            )
            start += length + OVERHEAD
        del stream.taken[:start]
        return payloads

    def receive(self, data: bytes, pieces: Iterator[int]) -> None:
        """A's bytes come in pieces, as a socket's do."""
        buffer = bytearray()
        while data:
            size = next(pieces)
            buffer += data[:size]
            data = data[size:]
            used = -1
            while used:  # A turn of the loop may end before the bytes do.
                used = self.a.received(memoryview(buffer), 0, len(buffer))
                self.a.engine.flush()
                buffer = buffer[used:]
        assert not buffer


def on_a_loop(test: Callable[[Bench], None]) -> None:
    async def run() -> None:
        test(Bench())

    asyncio.run(run())


def expected(data: bytes) -> bytes:
    head = bytes([MSG_CHANNEL_DATA]) + C_NUMBER.to_bytes(4, "big")
    return head + len(data).to_bytes(4, "big") + data


@given(
    st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8),
    st.lists(st.integers(1, 60), min_size=1, max_size=10),
)
def test_in_pieces_is_as_at_once(contents: list[bytes], sizes: list[int]) -> None:
    def test(bench: Bench) -> None:
        sent = b"".join(map(bench.data, contents))
        sent += bench.seal(messages.eof(bench.splice.splice.channels[0].local_id))
        bench.receive(sent, iter(sizes * len(sent)))
        assert bench.read_by_c(bench.c) == [*map(expected, contents), messages.eof(C_NUMBER)]

    on_a_loop(test)


def test_byte_by_byte() -> None:
    def test(bench: Bench) -> None:
        bench.receive(bench.data(b"token") + bench.data(b"by token"), iter([1] * 1000))
        assert bench.read_by_c(bench.c) == [expected(b"token"), expected(b"by token")]

    on_a_loop(test)


def test_small_packets_share_a_send_but_do_not_wait_for_all_of_a_batch() -> None:
    contents = [b"%d" % number for number in range(2 * FLUSH_PACKETS + 3)]

    def test(bench: Bench) -> None:
        sent = b"".join(map(bench.data, contents))
        sends = bench.stream(bench.c).sends
        sends.clear()
        bench.receive(sent, iter([len(sent)]))
        assert bench.read_by_c(bench.c) == [*map(expected, contents)]
        packet = len(sent) // len(contents)
        assert [size // packet for size in sends] == [FLUSH_PACKETS, FLUSH_PACKETS, 3]

    on_a_loop(test)


def test_what_comes_while_keys_change_waits_in_its_order() -> None:
    """RFC 4253 §7.1: after our KEXINIT nothing but the key exchange is sent."""

    def test(bench: Bench) -> None:
        bench.c._send_kexinit = lambda: setattr(bench.c, "_kex_complete", False)  # type: ignore[method-assign]
        bench.c._send_kexinit()
        label = bench.splice.splice.channels[0].local_id
        sent = bench.data(b"one") + bench.data(b"two") + bench.seal(messages.eof(label))
        bench.receive(sent, iter([10**6]))
        assert bench.read_by_c(bench.c) == []
        assert bench.c.waiting > 0
        bench.c._kex_complete = True
        bench.c.keys_changed()
        bench.c.engine.flush()
        assert bench.read_by_c(bench.c) == [
            expected(b"one"), expected(b"two"), messages.eof(C_NUMBER),
        ]  # fmt: skip
        assert bench.c.waiting == 0

    on_a_loop(test)


@pytest.mark.parametrize("room", [0, 1, 30, 100])
def test_a_full_socket_gets_the_rest_later(room: int) -> None:
    def test(bench: Bench) -> None:
        stream = bench.stream(bench.c)
        stream.room = room
        contents = [bytes([number]) * 50 for number in range(20)]
        bench.receive(b"".join(map(bench.data, contents)), iter([333] * 100))
        while stream.room is not None and len(stream.taken) < 10**6 and bench.c.waiting:
            stream.room = 77
            bench.c.flush()
        stream.room = None
        bench.c.flush()
        assert bench.read_by_c(bench.c) == list(map(expected, contents))

    on_a_loop(test)


def test_a_forged_packet_ends_the_leg_and_goes_nowhere() -> None:
    def test(bench: Bench) -> None:
        good, bad, behind = (bench.data(word) for word in (b"good", b"bad", b"behind"))
        forged = bytearray(bad)
        forged[-1] ^= 1
        data = bytearray(good + forged + behind)
        assert bench.a.received(memoryview(data), 0, len(data)) == len(data)
        bench.a.engine.flush()
        assert not bench.a.alive
        assert bench.read_by_c(bench.c)[:1] == [expected(b"good")]
        assert bench.a.received(memoryview(bytearray(behind)), 0, len(behind)) == len(behind)
        assert all(payload[0] != MSG_CHANNEL_DATA for payload in bench.read_by_c(bench.c))

    on_a_loop(test)


MANY = 20_000
"""Small packets, which once were as many steps of a recursion."""


@pytest.mark.parametrize("fast", [True, False], ids=["aes-gcm", "another cipher"])
def test_many_that_waited_leave_in_a_loop(fast: bool) -> None:
    def test(bench: Bench) -> None:
        leg = bench.c
        leg._kex_complete = False
        contents = [b"%d" % number for number in range(MANY)]
        bench.receive(b"".join(map(bench.data, contents)), iter([10**9]))
        if not fast:  # What asyncssh seals: it can still be read as AES-GCM's.
            leg.sealer = None
        leg._kex_complete = True
        leg.keys_changed()
        leg.engine.flush()
        assert leg.alive
        assert bench.read_by_c(leg) == list(map(expected, contents))

    on_a_loop(test)


def test_a_leg_whose_flush_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was to be sent on the others is, be it later, and from memory of their own."""

    def test(bench: Bench) -> None:
        splice, other = bench.another_splice()

        def fail(buffers: list[Buffer]) -> int:
            raise RuntimeError("this leg only")

        bench.stream(bench.c).send = fail  # type: ignore[method-assign]
        memory = bytearray(bench.data(b"lost") + bench.data(b"kept", splice))
        bench.stream(other).room = 10
        assert bench.a.received(memoryview(memory), 0, len(memory)) == len(memory)
        bench.a.engine.flush()
        assert (bench.a.alive, bench.c.alive, other.alive) == (True, False, True)
        memory[:] = bytes(len(memory))  # What comes next is received there.
        bench.stream(other).room = None
        other.flush()
        bench.to_c = GcmCipher(KEY, IV)
        bench.to_c._counter = other.sealer._counter - 1  # type: ignore[union-attr]
        assert bench.read_by_c(other) == [expected(b"kept")]

    on_a_loop(test)
    assert "this leg only" in caplog.text


def test_a_leg_whose_early_flush_fails_does_not_end_the_one_that_feeds_it() -> None:
    """Enough packets are flushed in the middle of the batch that they come from."""

    def test(bench: Bench) -> None:
        def fail(buffers: list[Buffer]) -> int:
            raise RuntimeError("this leg only")

        bench.stream(bench.c).send = fail  # type: ignore[method-assign]
        memory = bytearray(b"".join(bench.data(b"%d" % n) for n in range(3 * FLUSH_PACKETS)))
        assert bench.a.received(memoryview(memory), 0, len(memory)) == len(memory)
        bench.a.engine.flush()
        assert (bench.a.alive, bench.c.alive) == (True, False)

    on_a_loop(test)


def test_nobody_waits_in_vain_behind_one_who_fails() -> None:
    class Fails:
        def leg_has_room(self, leg: Leg) -> None:
            raise RuntimeError("of the waiter")

    class Told:
        told = False

        def leg_has_room(self, leg: Leg) -> None:
            self.told = True

    def test(bench: Bench) -> None:
        told = Told()
        bench.c.await_room(Fails())
        bench.c.await_room(told)
        bench.c.engine.mark(bench.c)
        bench.c.engine.flush()
        assert told.told

    on_a_loop(test)


def test_who_is_told_of_room_may_send_and_make_room_elsewhere_without_end() -> None:
    """Two legs whose waiters send on the other one: once a recursion with no bottom."""

    class Sends:
        def __init__(self, there: Leg, times: int) -> None:
            self.there = there
            self.times = times

        def leg_has_room(self, leg: Leg) -> None:
            self.times -= 1
            if self.times:
                leg.await_room(self)
                for _ in range(FLUSH_PACKETS):
                    self.there.send_payload(bytes([MSG_IGNORE]) + bytes(4))
                leg.engine.mark(leg)

    def test(bench: Bench) -> None:
        ways = [Sends(bench.a, 2000), Sends(bench.c, 2000)]
        bench.c.await_room(ways[0])
        bench.a.await_room(ways[1])
        for leg in (bench.a, bench.c):
            leg.engine.mark(leg)
        bench.a.engine.flush()
        assert [way.times for way in ways] == [0, 0]

    on_a_loop(test)


def test_who_made_it_too_much_for_all_pays_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two legs that do not read: one holds nearly all that may wait in the process."""
    monkeypatch.setattr(engine_module, "RELEASE_BELOW", 100)

    def test(bench: Bench) -> None:
        splice, other = bench.another_splice()
        engine, greedy = bench.engine, bench.c
        for leg in (greedy, other):
            bench.stream(leg).room = 0
        for _ in range(2 * FLUSH_PACKETS):  # What is sealed before the socket is seen to be full.
            bench.receive(bench.data(bytes(50)) + bench.data(bytes(50), splice), iter([10**6]))
        engine.waiting_limit = engine.waiting + 2000
        bench.receive(b"".join(bench.data(bytes(500)) for _ in range(3)), iter([10**6]))
        assert engine.legs_waiting == 2
        assert not splice.failure
        # Now all is full. The modest one still gets what comes, and the greedy one is broken.
        bench.receive(bench.data(bytes(500)), iter([10**6]))
        bench.receive(bench.data(b"modest", splice), iter([10**6]))
        assert (bench.splice.failure, splice.failure) == (
            "too much waits for who does not read it", "",
        )  # fmt: skip
        assert engine.waiting < engine.waiting_limit
        for leg in (greedy, other):
            bench.stream(leg).room = None
            leg.flush()
        assert (engine.waiting, engine.legs_waiting) == (0, 0)

    on_a_loop(test)


def test_a_turn_of_the_loop_takes_only_so_many_packets() -> None:
    def test(bench: Bench) -> None:
        memory = bytearray(b"".join(bench.data(b"x") for _ in range(PACKETS_PER_TURN + 1)))
        size = len(memory) // (PACKETS_PER_TURN + 1)
        used = bench.a.received(memoryview(memory), 0, len(memory))
        assert used == PACKETS_PER_TURN * size
        assert "turn" in bench.stream(bench.a).paused
        assert bench.a.received(memoryview(memory), used, len(memory)) == len(memory)

    on_a_loop(test)


def test_what_asyncssh_has_to_handle_counts_for_more() -> None:
    def test(bench: Bench) -> None:
        request = bytes([MSG_IGNORE]) + bytes(4)
        memory = bytearray(b"".join(bench.seal(request) for _ in range(PACKETS_PER_TURN)))
        used = bench.a.received(memoryview(memory), 0, len(memory))
        assert 0 < used <= len(memory) / FED_PACKET

    on_a_loop(test)
