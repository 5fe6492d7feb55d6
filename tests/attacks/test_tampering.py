"""A relay that reads and changes what passes, built on the relay's own classes.

It runs inside the test, between a relay-agent and a relay-connect that are as they always are, so
that it can be told what to do, and asked what it saw.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from relay.core.splice import Side
from relay.events import Events
from relay.io.engine import Engine
from relay.io.local import Acceptor
from relay.server.program import load_host_keys
from relay.server.relay import Relay
from relay.server.splices import SpliceEnd
from relay.settings.server import ServerSettings
from relay.ssh.way import HERE
from relay.wire.encoding import string, uint32
from relay.wire.gcm import GcmCipher
from relay.wire.messages import tcpip_fields
from relay.wire.packet import DATA_OFFSET, PAYLOAD_OFFSET, frame_data
from tests.programs.chain import Server, Site, relay_server
from tests.programs.process import GUARD
from tests.programs.sessions import (
    admit,
    agent_itself,
    configure,
    endpoint,
    relay_connect,
    ssh,
)
from tests.programs.traffic import MIB, closing, content, dial, exchange, free_port

Tamper = Callable[[bytes], list[bytes]]
"""What B makes of the data of one packet: the packets that go on in its place."""

SIZE = 4 * MIB
MARK = b"the very words that B must not read: "


class HostileRelay:
    """B in a thread of this process. `tamper` is applied to data from one side."""

    def __init__(self, site: Site) -> None:
        # Every packet that B opened, as it lay there in the clear.
        self.seen: list[bytes] = []
        self.tamper: Tamper | None = None
        self.side = Side.OPENER
        self.tampered = threading.Event()
        self._site = site
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(GUARD)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        events = Events()
        config = ServerSettings(state_dir=self._site.folder / "state")
        relay = Relay(config, load_host_keys(config, events), events, Engine(self._loop))
        self._sock.setblocking(False)
        acceptor = Acceptor(self._sock, relay.accept)
        self._ready.set()
        await self._stop.wait()
        acceptor.close()
        relay.close()
        await asyncio.sleep(0)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(GUARD)

    def data(self, end: SpliceEnd, view: memoryview, start: int, size: int, on: Pass) -> None:
        """In the place of `SpliceEnd.data`, which is `on`."""
        data = bytes(view[start + DATA_OFFSET : start + DATA_OFFSET + size])
        pieces = [data]
        if self.tamper is not None and end.side is self.side:
            pieces = self.tamper(data)
            if pieces != [data]:
                self.tampered.set()
        for piece in pieces:
            memory = memoryview(bytearray(DATA_OFFSET + len(piece) + 64))
            memory[DATA_OFFSET : DATA_OFFSET + len(piece)] = piece
            on(end, memory, 0, frame_data(memory, 0, len(piece)), len(piece))


Pass = Callable[[SpliceEnd, memoryview, int, int, int], None]


@pytest.fixture
def hostile(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileRelay]:
    site.key("agent"), site.key("client")
    relay = HostileRelay(site)
    site.trust(relay.port)
    data, open_packet = SpliceEnd.data, GcmCipher.open

    def tampered(end: SpliceEnd, view: memoryview, start: int, length: int, size: int) -> None:
        relay.data(end, view, start, size, data)

    def recorded(cipher: GcmCipher, view: memoryview, start: int, length: int) -> None:
        open_packet(cipher, view, start, length)
        relay.seen.append(bytes(view[start + PAYLOAD_OFFSET : start + length]))

    monkeypatch.setattr(SpliceEnd, "data", tampered)
    monkeypatch.setattr(GcmCipher, "open", recorded)
    try:
        yield relay
    finally:
        relay.close()


@contextmanager
def stream(site: Site, hostile: HostileRelay) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A stream end to end through the hostile relay: the client's socket and the service's."""
    b = Server(None, hostile.port)  # type: ignore[arg-type]  # It is no process.
    agent_itself(site, b)
    service = site.service()
    _, port = relay_connect(site, configure(site, b), f"127.0.0.1:{service.port}", "--once")
    client = dial(port)
    with closing(client):
        far = service.accept()
        with closing(far):
            yield client, far


# -- what B makes of the third packet with data of the stream; the rest goes on as it came


class Once:
    """Strikes at one packet among those that are large: they hold the stream's data, in an inner
    packet each."""

    def __init__(self, strike: Callable[[bytes], list[bytes]], at: int) -> None:
        self._strike = strike
        self._left = at

    def __call__(self, data: bytes) -> list[bytes]:
        if len(data) < 1024:
            return [data]
        self._left -= 1
        return self._strike(data) if self._left == 0 else [data]


class Swap(Once):
    """Lets two packets change places."""

    def __init__(self, at: int) -> None:
        super().__init__(self._keep, at)
        self._kept: bytes | None = None

    def _keep(self, data: bytes) -> list[bytes]:
        self._kept = data
        return []

    def __call__(self, data: bytes) -> list[bytes]:
        kept, self._kept = self._kept, None
        return [data, kept] if kept is not None else super().__call__(data)


def flip(place: int) -> Callable[[bytes], list[bytes]]:
    def strike(data: bytes) -> list[bytes]:
        changed = bytearray(data)
        changed[place] ^= 1
        return [bytes(changed)]

    return strike


STRIKES: dict[str, Callable[[int], Tamper]] = {
    "flips a byte of the length": lambda at: Once(flip(2), at),
    "flips the first byte of the ciphertext": lambda at: Once(flip(4), at),
    "flips a byte of the data": lambda at: Once(flip(600), at),
    "flips the last byte of the tag": lambda at: Once(flip(-1), at),
    "drops a packet": lambda at: Once(lambda data: [], at),
    "drops a byte": lambda at: Once(lambda data: [data[:500] + data[501:]], at),
    "repeats a packet": lambda at: Once(lambda data: [data, data], at),
    "repeats a byte": lambda at: Once(lambda data: [data[:500] + data[499:]], at),
    "swaps two packets": Swap,
    "swaps two bytes": lambda at: Once(
        lambda data: [data[:500] + data[501:502] + data[500:501] + data[502:]], at
    ),
    "adds a packet": lambda at: Once(lambda data: [data, bytes(64)], at),
    "cuts a packet and goes on": lambda at: Once(lambda data: [data[:700]], at),
}


@pytest.mark.parametrize("side", list(Side), ids=["upload", "download"])
@pytest.mark.parametrize("strike", STRIKES.values(), ids=STRIKES.keys())
def test_not_one_wrong_byte_is_delivered(
    site: Site, hostile: HostileRelay, strike: Callable[[int], Tamper], side: Side
) -> None:
    with stream(site, hostile) as (client, service):
        sender, receiver = (client, service) if side is Side.OPENER else (service, client)
        sent = b"".join(content(SIZE))
        hostile.side = side
        hostile.tamper = strike(3)

        def send() -> None:
            with suppress(OSError):  # Reset, or gone already.
                sender.sendall(sent)
                sender.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        came = bytearray()
        with suppress(ConnectionResetError):
            while data := receiver.recv(MIB):
                came += data
            # What ends in peace must be whole; and this cannot be.
            pytest.fail(f"the stream ended in peace after {len(came)} bytes")
        sending.join(GUARD)
        assert hostile.tampered.is_set()
        assert len(came) < SIZE
        assert sent.startswith(came)


@pytest.mark.parametrize("size", [1, 100, 4000])
def test_what_b_handles_in_the_clear_holds_no_plaintext(
    site: Site, hostile: HostileRelay, size: int
) -> None:
    marks = [MARK + b"%d, %d" % (size, number) * size for number in range(50)]
    with stream(site, hostile) as (client, service):
        for mark in marks:
            for sender, receiver in ((client, service), (service, client)):
                sender.sendall(mark)
                assert receiver.recv(len(mark), socket.MSG_WAITALL) == mark
        target = string(HERE) + uint32(service.getsockname()[1])
        exchange(client, service, MIB)
    everything = b"".join(hostile.seen)
    assert len(everything) > 2 * MIB
    assert MARK not in everything
    assert not any(bytes(piece[:24]) in everything for piece in content(MIB))
    # Nor where the stream goes: that is asked for within the session too.
    assert tcpip_fields("gpu1", 22, HERE, 0) in everything
    assert target not in everything


def test_the_recording_sees_what_is_not_end_to_end(site: Site, hostile: HostileRelay) -> None:
    """Else the test before would prove nothing."""
    service = site.service()
    b = Server(None, hostile.port)  # type: ignore[arg-type]
    agent = site.ours(
        "relay-agent", *site.leg(b, "agent"), "-R", f"gpu1:8000:127.0.0.1:{service.port}",
        "x@127.0.0.1",
    )  # fmt: skip
    agent.wait_for("published")
    config = configure(site, b)
    a = site.ours("relay-connect", "-F", config, "-L", "127.0.0.1:0:gpu1:8000", "b")
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> ")[1])
    with dial(port) as client, service.accept() as far:
        client.sendall(MARK)
        assert far.recv(len(MARK), socket.MSG_WAITALL) == MARK
    assert MARK in b"".join(hostile.seen)


# -- and one that answers in the place of C


@pytest.mark.parametrize("opener", ["relay-connect", "ssh"])
def test_another_in_the_place_of_gpu1_is_caught(site: Site, opener: str) -> None:
    b = relay_server(site)
    agent, _ = agent_itself(site, b)
    agent.stop()
    # B's owner has a key of B's, but not gpu1's; and lets everyone in, to hear more.
    admit(site, "client", state="impostor")
    impostor = endpoint(site, b, state="impostor")
    config = configure(site, b)
    if opener == "ssh":
        a = ssh(site, config, "-L", f"{free_port()}:127.0.0.1:1")
        a.wait_for("Host key verification failed")
        assert a.end() == 255
    else:
        a = site.ours("relay-connect", "-F", config, "-J", "b", "-L", "0:127.0.0.1:1", "gpu1")
        a.wait_for("gpu1.*(changed|verif|known_hosts)")
        assert a.end() == 1
        assert not a.said("ready|end to end")
    impostor.wait_for("end to end session over: nobody")
    # A has not even named a key, let alone opened a stream.
    assert not impostor.said("session: SHA256|key .* refused|stream")
