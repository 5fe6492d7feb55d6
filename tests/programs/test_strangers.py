"""Among strangers: a client with a good key and a raw packet writer, and what comes before a login.

Whatever it sends, only its own leg may end; B's memory stays bounded, and a stream of somebody else
runs on meanwhile with no byte lost.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncssh
import pytest
from asyncssh import SSHClientConnection
from asyncssh.packet import Boolean, Byte, String, UInt32

from relay.wire import numbers
from tests.programs.chain import Chain, Site, start_chain
from tests.programs.process import GUARD
from tests.programs.stock import login, may_login, may_publish
from tests.programs.test_hostile import VERSION, packet
from tests.programs.traffic import MIB, closing, dial, exchange, receive

CHANNELS = 220
"""What one leg may open here."""

IGNORE = 2
CHANNEL_REQUEST = 98

MAX_GROWTH = 64 * MIB
"""What an offence may cost B in memory. One leg may make it hold that much and no more."""


@pytest.fixture(scope="module")
def shared_chain(shared_site: Site) -> Chain:
    options = ("--channels-per-leg", str(CHANNELS), "--legs-per-key", "200")
    return start_chain(shared_site, b_options=(*options, "--login-grace-time", "5"))


@pytest.fixture
def busy_chain(shared_chain: Chain) -> Iterator[Chain]:
    """The chain with a stream in use all the while."""
    client, service = shared_chain.stream()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(exchange, client, service, 32 * MIB)
        yield shared_chain
        running.result()
    for program in (shared_chain.a, shared_chain.b.process, shared_chain.c):
        assert not program.said("Traceback|internal error|mistake in"), program


@pytest.fixture
def bystander(busy_chain: Chain) -> Iterator[Chain]:
    """The same, and B's memory is looked at."""
    before = busy_chain.b.process.memory
    yield busy_chain
    assert busy_chain.b.process.memory - before < MAX_GROWTH


# -- a client that writes what it likes


def seal(leg: SSHClientConnection, body: bytes) -> None:
    """Send a packet of this body, padding length and padding included, however wrong."""
    leg_: Any = leg
    sealed, mac = leg_._send_encryption.encrypt_packet(leg_._send_seq, UInt32(len(body)), body)
    leg_._send(sealed + mac)
    leg_._send_seq += 1


def write(leg: SSHClientConnection, payload: bytes) -> None:
    """Send a message now, whatever state the leg is in."""
    padding = 16 - (1 + len(payload)) % 16
    padding += 16 if padding < 4 else 0
    seal(leg, Byte(padding) + payload + os.urandom(padding))


async def settled(leg: SSHClientConnection) -> None:
    """B has taken all that was sent: it answers what came last, or has ended the leg."""
    asked = asyncio.ensure_future(_ask(leg))
    closed = asyncio.ensure_future(leg.wait_closed())
    done, pending = await asyncio.wait(
        {asked, closed}, timeout=GUARD, return_when=asyncio.FIRST_COMPLETED
    )
    assert done, "B neither answers nor ends the leg"
    for task in pending:
        task.cancel()
    await asyncio.gather(asked, closed, return_exceptions=True)


async def _ask(leg: Any) -> None:
    try:
        await leg._make_global_request(b"keepalive@openssh.com")
    except (asyncssh.Error, OSError):
        await leg.wait_closed()


Offence = Callable[[SSHClientConnection, int], Awaitable[None] | None]
OFFENCES: dict[str, Offence] = {}


def offence(act: Offence) -> Offence:
    """With the leg, and B's number of the channel that is open on it: the first, so 0."""
    OFFENCES[act.__name__] = act  # type: ignore[attr-defined]
    return act


def data(channel: int, text: bytes = b"data") -> bytes:
    return Byte(numbers.MSG_CHANNEL_DATA) + UInt32(channel) + String(text)


def channel_open(number: int, host: str = "gpu1", window: int = MIB, size: int = 32768) -> bytes:
    return (
        Byte(numbers.MSG_CHANNEL_OPEN) + String("direct-tcpip")
        + UInt32(number) + UInt32(window) + UInt32(size)
        + String(host) + UInt32(8000) + String("127.0.0.1") + UInt32(1)
    )  # fmt: skip


@offence
def data_after_close(leg: SSHClientConnection, channel: int) -> None:
    write(leg, Byte(numbers.MSG_CHANNEL_CLOSE) + UInt32(channel))
    for _ in range(100):
        write(leg, data(channel))


@offence
def close_twice(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(2):
        write(leg, Byte(numbers.MSG_CHANNEL_CLOSE) + UInt32(channel))


@offence
def eof_without_end(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(1000):
        write(leg, Byte(numbers.MSG_CHANNEL_EOF) + UInt32(channel))


@offence
def every_message_on_a_channel_that_is_not_there(leg: SSHClientConnection, channel: int) -> None:
    for message in range(numbers.MSG_CHANNEL_OPEN + 1, 101):
        write(leg, Byte(message) + UInt32(2**32 - 1) + UInt32(1) + UInt32(1) + UInt32(1))


@offence
def a_number_in_use(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(10):
        write(leg, channel_open(0))
    for _ in range(10):
        write(leg, data(channel))


@offence
def opens_without_end(leg: SSHClientConnection, channel: int) -> None:
    for number in range(20 * CHANNELS):
        write(leg, channel_open(number, "nobody" if number % 2 else "gpu1", 2**32 - 1, 2**32 - 1))


@offence
def an_open_with_no_room(leg: SSHClientConnection, channel: int) -> None:
    for number in range(10):
        write(leg, channel_open(number, "gpu1", 0, 0))


@offence
def opens_of_every_kind(leg: SSHClientConnection, channel: int) -> None:
    for kind in ("session", "x11", "forwarded-tcpip", "tun@openssh.com", "", "\0", "open" * 999):
        for _ in range(20):
            write(
                leg,
                Byte(numbers.MSG_CHANNEL_OPEN) + String(kind) + bytes(12) + String("") + bytes(40),
            )


@offence
def requests_in_a_flood(leg: SSHClientConnection, channel: int) -> None:
    for number in range(5000):
        name = ("tcpip-forward", "cancel-tcpip-forward", "no-such@request")[number % 3]
        write(
            leg,
            Byte(numbers.MSG_GLOBAL_REQUEST) + String(name) + Boolean(True)
            + String(f"name{number}") + UInt32(8000),
        )  # fmt: skip


@offence
def requests_on_a_channel_in_a_flood(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(5000):
        write(leg, Byte(CHANNEL_REQUEST) + UInt32(channel) + String("shell") + Boolean(True))


@offence
def replies_to_nothing(leg: SSHClientConnection, channel: int) -> None:
    for message in (81, 82, 99, 100, 92):
        write(leg, Byte(message) + UInt32(channel) + UInt32(1) + String("") + String(""))


@offence
def windows_that_overflow(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(5):
        write(leg, Byte(numbers.MSG_CHANNEL_WINDOW_ADJUST) + UInt32(channel) + UInt32(2**32 - 1))


@offence
def windows_of_nothing(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(20_000):
        write(leg, Byte(numbers.MSG_CHANNEL_WINDOW_ADJUST) + UInt32(channel) + UInt32(0))


@offence
def every_message_there_is(leg: SSHClientConnection, channel: int) -> None:
    for message in range(256):
        write(leg, Byte(message) + UInt32(channel) + bytes(8))


@offence
def empty_data_without_end(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(20_000):
        write(leg, data(channel, b""))


@offence
def data_between_kexinit_and_newkeys(leg: SSHClientConnection, channel: int) -> None:
    leg_: Any = leg
    for _ in range(10):
        write(leg, data(channel, bytes(1000)))
    leg_._send_kexinit()
    leg_._kexinit_sent = True
    for _ in range(10):
        write(leg, data(channel, bytes(1000)))


@offence
def kexinit_in_a_row(leg: SSHClientConnection, channel: int) -> None:
    leg_: Any = leg
    for _ in range(100):
        leg_._send_kexinit()


@offence
async def keys_changed_without_end(leg: SSHClientConnection, channel: int) -> None:
    leg_: Any = leg
    for _ in range(100):
        leg_._send_kexinit()
        leg_._kexinit_sent = True
        await settled(leg)


def _length(length: int) -> Offence:
    def act(leg: SSHClientConnection, channel: int) -> None:
        leg_: Any = leg
        leg_._send(UInt32(length) + os.urandom(1000))

    return act


def _padding(padding: int) -> Offence:
    def act(leg: SSHClientConnection, channel: int) -> None:
        message = Byte(numbers.MSG_CHANNEL_EOF) + UInt32(channel)
        seal(leg, Byte(padding) + message + bytes(26))

    return act


for length in (0, 1, 15, 17, 2**31, 2**32 - 1):
    OFFENCES[f"a length of {length}"] = _length(length)
for padding in (0, 3, 27, 31, 32, 255):
    OFFENCES[f"a padding of {padding}"] = _padding(padding)


CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("act", OFFENCES.values(), ids=OFFENCES.keys())
def test_an_offence_hurts_nobody_else(
    shared_site: Site, bystander: Chain, act: Offence, cipher: str
) -> None:
    async def offend() -> None:
        async with login(shared_site, bystander.b, "offender", encryption_algs=[cipher]) as leg:
            await leg.open_connection("gpu1", 8000)
            begun = act(leg, 0)
            if begun is not None:
                await begun
            await settled(leg)
            leg.abort()

    gone = sum("leg down" in line for line in bystander.b.process.lines)
    with suppress(ConnectionResetError):  # B does not read what is still under way.
        asyncio.run(offend())
    bystander.b.process.wait_for("leg down", count=gone + 1)
    _drop_streams(bystander)
    assert asyncio.run(may_login(shared_site, bystander.b, "offender"))


def _drop_streams(chain: Chain) -> None:
    """Take the streams that the offender opened at the service, up to one of our own that comes
    behind them: none is to be taken for the next test's."""
    while not _came_through(chain, os.urandom(16)):
        pass  # Refused: the offender's streams are not all closed yet, and there are too many.


def _came_through(chain: Chain, marker: bytes) -> bool:
    with dial(chain.port) as client:
        client.sendall(marker)
        while True:
            ready, _, _ = select.select([chain.service._sock, client], [], [], GUARD)
            if chain.service._sock not in ready:
                assert ready, "neither accepted nor refused"
                return False
            with chain.service.accept() as stream, suppress(ConnectionResetError):
                if stream.recv(len(marker), socket.MSG_WAITALL) == marker:
                    return True


# -- before the login


def test_a_byte_at_a_time_ends_with_the_grace_time(bystander: Chain) -> None:
    with dial(bystander.b.port) as stranger:
        where = stranger.getsockname()[1]
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            drip(stranger, VERSION + packet(Byte(IGNORE) + String(bytes(30_000))))
    bystander.b.process.wait_for(rf":{where} did not log in: Login timeout expired")


def drip(sock: socket.socket, text: bytes) -> None:
    """Send a byte at a time: a minute and more for what takes a packet."""
    for byte in text:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_thousand_tries_on_one_connection(shared_site: Site, bystander: Chain) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def try_often() -> None:
        with pytest.raises(asyncssh.DisconnectError) as caught:
            async with login(shared_site, bystander.b, "x", client_keys=[key] * 1000):
                pass
        assert "Too many authentication failures" in str(caught.value)

    tried = sum("key refused" in line or "refused: " in line for line in bystander.b.process.lines)
    asyncio.run(try_often())
    bystander.b.process.wait_for("did not log in: Too many authentication failures")
    now = sum("key refused" in line or "refused: " in line for line in bystander.b.process.lines)
    assert now - tried <= 7


@pytest.mark.parametrize("size", [1000, 200_000, 30 * MIB])
def test_megabytes_before_the_login(bystander: Chain, size: int) -> None:
    """In small packets, in one, and in one that is too large."""
    flood = packet(Byte(IGNORE) + String(bytes(size)))
    with dial(bystander.b.port) as stranger:
        try:
            stranger.sendall(VERSION)
            for _ in range(max(1, 32 * MIB // len(flood))):
                stranger.sendall(flood)
            stranger.shutdown(socket.SHUT_WR)
            receive(stranger)
        except (ConnectionResetError, BrokenPipeError):
            pass
        where = stranger.getsockname()[1]
    bystander.b.process.wait_for(rf":{where} did not log in")


def test_megabytes_between_the_keys_and_the_login(bystander: Chain) -> None:
    class Flooder(asyncssh.SSHClient):
        def connection_made(self, conn: SSHClientConnection) -> None:
            self.leg = conn

        async def public_key_auth_requested(self) -> None:
            for _ in range(1000):
                self.leg.send_packet(IGNORE, String(bytes(32_000)))
            for _ in range(1000):
                write(self.leg, data(0, bytes(1000)))

    async def flood() -> None:
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                "127.0.0.1", bystander.b.port, client_factory=Flooder, config=None,
                known_hosts=None, username="x", agent_path=None, client_keys=[],
            )  # fmt: skip

    before = sum("did not log in" in line for line in bystander.b.process.lines)
    asyncio.run(flood())
    bystander.b.process.wait_for("did not log in", count=before + 1)


# -- legs that vanish, and legs that do not read


@pytest.mark.parametrize("bind", ["localhost", "vanished"])
def test_a_leg_that_vanishes_while_its_listener_is_made(
    shared_site: Site, bystander: Chain, bind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    async def vanish() -> None:
        for number in range(30):
            async with login(shared_site, bystander.b, "offender") as leg:
                leg.send_packet(
                    numbers.MSG_GLOBAL_REQUEST, String("tcpip-forward"), Boolean(True),
                    String(bind), UInt32(port),
                )  # fmt: skip
                if number % 2:
                    leg.send_packet(1, UInt32(11), String(""), String(""))
                leg.abort()

    async def another() -> bool:
        async with login(shared_site, bystander.b, "another") as leg:
            return await may_publish(leg, bind, port)

    gone = sum("leg down" in line for line in bystander.b.process.lines)
    asyncio.run(vanish())
    bystander.b.process.wait_for("leg down", count=gone + 30)
    assert asyncio.run(another())


def test_two_hundred_consumers_that_never_read(shared_site: Site, busy_chain: Chain) -> None:
    sources: list[socket.socket] = []

    async def consume() -> int:
        async with AsyncExitStack() as stack:
            for _ in range(200):
                leg = await stack.enter_async_context(login(shared_site, busy_chain.b, "consumer"))
                await leg.open_connection("gpu1", 8000, window=2**31 - 1)
                sources.append(busy_chain.service.accept())
                leg_: Any = leg
                leg_._transport.pause_reading()
            before = busy_chain.b.process.memory
            await asyncio.to_thread(push, sources)
            grown = busy_chain.b.process.memory - before
            stack.pop_all()  # The end of the process's loop is end enough for these.
            return grown

    with closing(*sources):
        grown = asyncio.run(consume())
    print(f"B's memory grew by {grown / MIB:.0f} MiB")
    assert grown < 128 * MIB


def push(sources: list[socket.socket]) -> None:
    """Send on all of them until none takes any more."""
    block = bytes(MIB)
    for source in sources:
        source.setblocking(False)
    open_sources = list(sources)
    while open_sources:
        _, writable, _ = select.select([], open_sources, [], 1.0)
        if not writable:
            return
        for source in writable:
            try:
                source.send(block)
            except BlockingIOError:
                pass
            except OSError:
                open_sources.remove(source)
