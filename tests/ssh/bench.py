"""B between A and C without a socket: what comes in is bytes, what goes out is bytes.

The legs are as they are after a login, on streams that take what they are told to take. The peers'
ends of the ciphers are here, so every packet can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import asyncssh

from relay.core.output import Buffer
from relay.core.services import Service
from relay.core.traffic import Traffic
from relay.events import Events
from relay.io.engine import Engine
from relay.server.routes import AgentRoute
from relay.server.splices import SplicedStream
from relay.ssh.ciphers import Cipher
from relay.ssh.client import ClientLeg
from relay.ssh.leg import Leg
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.trust.hostkeys import HostKey
from relay.wire.gcm import GcmCipher
from relay.wire.numbers import MSG_CHANNEL_DATA, MSG_KEXINIT, MSG_NEWKEYS
from relay.wire.packet import OVERHEAD, PAYLOAD_OFFSET, frame, payload_end

A_NUMBER, C_NUMBER = 10, 20
HOST_KEY: HostKey = asyncssh.generate_private_key("ssh-ed25519")


def gcm(sequence: int = 0) -> GcmCipher:
    """One side of any direction, at its beginning."""
    return GcmCipher(bytes(16), bytes(12))


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
    def start(self) -> None: ...
    def abort(self) -> None: ...


class Reading:
    """A peer that reads what leaves on a leg."""

    def __init__(self, cipher: Callable[[int], Cipher] = gcm) -> None:
        # What opens the packets behind each NEWKEYS.
        self.cipher = cipher
        self._opener = cipher(0)

    def payloads(self, stream: TakingStream) -> list[bytes]:
        """What has left since the last time; a part of a packet is left for the next."""
        view = memoryview(bytearray(stream.taken))
        payloads, start = [], 0
        while len(view) - start >= self._opener.head:
            length = self._opener.length(view, start)
            end = start + length + self._opener.overhead
            if end > len(view):
                break
            opened = self._opener.open(view, start, length)
            packet, at = (view, start) if opened is None else (opened, 0)
            payload = bytes(packet[at + PAYLOAD_OFFSET : payload_end(packet, at, length)])
            payloads.append(payload)
            start = end
            if payload[0] == MSG_NEWKEYS:
                self._opener = self.cipher(0)
        del stream.taken[:start]
        return payloads


class NoHost:
    """The `Host` of serving legs, which keeps in mind what it was told."""

    def __init__(self) -> None:
        self.down: list[Exception | None] = []

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        self.down.append(error)


AnyLeg = TypeVar("AnyLeg", bound=Leg)


def ready(leg: AnyLeg) -> AnyLeg:
    """The leg as it is after its login, with a stream that takes all."""
    stream = TakingStream()
    leg.run_on(stream, {})
    leg.flush()
    stream.taken.clear()  # Our version.
    leg.lines_are_over()
    leg.seal_with(gcm, strict=False)
    leg.open_with(gcm, strict=False)
    leg.login_over()
    return leg


def server_leg(engine: Engine, host: NoHost | None = None) -> ServerLeg:
    """One of B's."""
    leg = ServerLeg(engine, server_options([HOST_KEY], ()))
    leg.host = cast(Any, host or NoHost())
    return ready(leg)


def client_leg(engine: Engine) -> ClientLeg:
    """One of A's or C's."""
    options = asyncssh.SSHClientConnectionOptions(config=None, client_keys=None, host="b")
    return ready(ClientLeg(engine, options))


def begin_key_exchange(leg: Leg) -> None:
    """Our KEXINIT goes out."""
    leg.guest_sends(bytes([MSG_KEXINIT]))


def end_key_exchange(leg: Leg, cipher: Callable[[int], Cipher] = gcm) -> None:
    """Our NEWKEYS goes out."""
    leg.guest_sends(bytes([MSG_NEWKEYS]))
    leg.seal_with(cipher, strict=True)
    leg.keys_changed()


class Bench:
    """`a` and `c` are B's legs, with a splice between them."""

    def __init__(self) -> None:
        self.engine = Engine(asyncio.get_running_loop())
        self.a, self.c = server_leg(self.engine), server_leg(self.engine)
        self._readers: dict[Leg, Reading] = {}
        self._from_a = gcm()
        self.traffic = Traffic()
        self.splice = self.open(A_NUMBER, self.c)
        self.splice.ends[1].confirmed(C_NUMBER, 2**20, 2**17)
        self._forget()

    def route(self, to: ServerLeg | None = None) -> AgentRoute:
        """Another way to C's service, or to that of another agent."""
        return AgentRoute(Service("gpu1", 8000, to or self.c, True), self.traffic)

    def open(self, number: int, to: ServerLeg, packet: int = 2**17) -> SplicedStream:
        """A stream of A's, which has not been answered."""
        splice = SplicedStream(self.a, self.route(to), Events())
        splice.open(number, 2**20, packet)
        return splice

    def another_splice(self) -> tuple[SplicedStream, ServerLeg]:
        """A stream of A's to another agent."""
        other = server_leg(self.engine)
        splice = self.open(A_NUMBER + 1, other)
        splice.ends[1].confirmed(C_NUMBER, 2**20, 2**17)
        self._forget(other)
        return splice, other

    def _forget(self, *others: ServerLeg) -> None:
        """How a stream begins is read by those who ask for that."""
        self.engine.flush()
        for leg in (self.a, self.c, *others):
            self.read(leg)

    def stream(self, leg: Leg) -> TakingStream:
        assert isinstance(leg.out.stream, TakingStream)
        return leg.out.stream

    def reader(self, leg: Leg) -> Reading:
        return self._readers.setdefault(leg, Reading())

    def read(self, leg: Leg) -> list[bytes]:
        """The payloads that have left on `leg` since the last time."""
        return self.reader(leg).payloads(self.stream(leg))

    def seal(self, payload: bytes) -> bytes:
        """A's packet."""
        packet = frame(payload)
        self._from_a.seal(memoryview(packet), 0, len(packet) - OVERHEAD)
        return bytes(packet)

    def data(self, data: bytes, splice: SplicedStream | None = None) -> bytes:
        label = (splice or self.splice).splice.channels[0].local_id
        head = bytes([MSG_CHANNEL_DATA]) + label.to_bytes(4, "big")
        return self.seal(head + len(data).to_bytes(4, "big") + data)

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
                self.engine.flush()
                buffer = buffer[used:]
        assert not buffer


def on_a_loop(test: Callable[[Bench], None]) -> None:
    async def run() -> None:
        test(Bench())

    asyncio.run(run())


def expected(data: bytes) -> bytes:
    """C's packet."""
    head = bytes([MSG_CHANNEL_DATA]) + C_NUMBER.to_bytes(4, "big")
    return head + len(data).to_bytes(4, "big") + data
