"""relay/ssh/leg.py without a socket: what comes in is bytes, what goes out is bytes.

Two legs of B with a splice between them, and streams that take what they are told to take. The
peers' ends of the ciphers are here, so every packet can be read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.log import EventLog
from relay.policy.limits import FLUSH_PACKETS
from relay.policy.services import Service
from relay.server.splices import SplicedStream
from relay.ssh.hostkeys import HostKey
from relay.ssh.internals import GcmEncryption
from relay.ssh.leg import Leg
from relay.ssh.server import ServerLeg, server_options
from relay.ssh.stream import Buffer
from relay.wire import messages
from relay.wire.gcm import GcmCipher
from relay.wire.numbers import MSG_CHANNEL_DATA
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
        self.a, self.c = (ready(ServerLeg(asyncio.get_running_loop(), options)) for _ in range(2))
        self.splice = SplicedStream(
            self.a, Service("gpu1", 8000, self.c, True), b"", EventLog("test"), Counter()
        )
        self.splice.open(A_NUMBER, 2**20, 2**17)
        self.splice.ends[1].confirmed(C_NUMBER, 2**20, 2**17)
        self.a.flusher.flush()
        self.from_a, self.to_c = GcmCipher(KEY, IV), GcmCipher(KEY, IV)
        self.read_by_c(self.c)

    def stream(self, leg: ServerLeg) -> TakingStream:
        assert isinstance(leg.stream, TakingStream)
        return leg.stream

    def seal(self, payload: bytes) -> bytes:
        """A's packet."""
        packet = frame(payload)
        self.from_a.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
        return bytes(packet)

    def data(self, data: bytes) -> bytes:
        label = self.splice.splice.channels[0].local_id
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
            used = self.a.received(memoryview(buffer), 0, len(buffer))
            self.a.flusher.flush()
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
        bench.c.flusher.flush()
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
        bench.a.flusher.flush()
        assert not bench.a.alive
        assert bench.read_by_c(bench.c)[:1] == [expected(b"good")]
        assert bench.a.received(memoryview(bytearray(behind)), 0, len(behind)) == len(behind)
        assert all(payload[0] != MSG_CHANNEL_DATA for payload in bench.read_by_c(bench.c))

    on_a_loop(test)
