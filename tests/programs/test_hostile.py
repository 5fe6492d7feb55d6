"""Strangers at the port, and clients that break the protocol: nobody else is to notice."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from asyncssh import SSHClientConnection
from asyncssh.packet import Byte, String, UInt32

from relay.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_KEXINIT,
    MSG_NEWKEYS,
)
from tests.programs.chain import Chain, Site, start_chain
from tests.programs.stock import login
from tests.programs.traffic import MIB, dial, exchange, receive


@pytest.fixture(scope="module")
def shared_chain(shared_site: Site) -> Chain:
    return start_chain(shared_site)


@pytest.fixture
def bystander(shared_chain: Chain) -> Iterator[Chain]:
    """The chain with a stream in use, which must go on; and no trace of a fault in a log."""
    client, service = shared_chain.stream()
    yield shared_chain
    exchange(client, service, MIB)
    for program in (shared_chain.a, shared_chain.b.process, shared_chain.c):
        assert not program.said("Traceback|internal error|mistake in"), program


def packet(payload: bytes) -> bytes:
    """As it is before the first keys."""
    padding = 16 - (5 + len(payload)) % 8
    return UInt32(1 + len(payload) + padding) + Byte(padding) + payload + bytes(padding)


VERSION = b"SSH-2.0-stranger\r\n"
KEXINIT = VERSION + packet(
    Byte(MSG_KEXINIT)
    + bytes(16)
    + b"".join(
        String(names)
        for names in (
            "curve25519-sha256", "ssh-ed25519", *["aes128-gcm@openssh.com"] * 2,
            *["hmac-sha2-256"] * 2, *["none"] * 2, "", "",
        )
    )
    + bytes(5)
)  # fmt: skip
ECDH_INIT = Byte(30)

GARBAGE = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
    "random": os.urandom(64 * 1024),
    "a version without end": b"SSH-2.0-" + b"x" * 100_000,
    "an old version": b"SSH-1.5-old\r\n",
    "random after the version": VERSION + os.urandom(64 * 1024),
    "a huge packet": VERSION + b"\xff\xff\xff\xff" + bytes(1000),
    "an empty packet": VERSION + bytes(16),
    "a packet without payload": VERSION + b"\0\0\0\x0c\x0b" + bytes(11),
    "a half packet": VERSION + b"\0\0\x01\x0c\x0a\x14",
    "no key exchange": VERSION + b"\0\0\0\x0c\x06\x05" + bytes(10),
    "no public key": KEXINIT + packet(ECDH_INIT),
    "a short public key": KEXINIT + packet(ECDH_INIT + String(b"x")),
    "a weak public key": KEXINIT + packet(ECDH_INIT + String(bytes(32))),
    "another exchange": KEXINIT + packet(Byte(34) + bytes(12)),
    "new keys too early": KEXINIT + packet(Byte(MSG_NEWKEYS)),
    "no name in common": KEXINIT.replace(b"curve25519", b"curve25518"),
    "a channel before the login": KEXINIT + packet(Byte(MSG_CHANNEL_OPEN)),
    "a broken key exchange": VERSION + b"\0\0\0\x1c\x06\x14" + b"\xff" * 26,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_stranger_is_turned_away(bystander: Chain, garbage: bytes) -> None:
    with dial(bystander.b.port) as stranger:
        try:
            stranger.sendall(garbage)
            stranger.shutdown(socket.SHUT_WR)
            receive(stranger)
        except (ConnectionResetError, BrokenPipeError):
            pass
        where = stranger.getsockname()[1]
    bystander.b.process.wait_for(rf"127\.0\.0\.1:{where} did not log in")


def test_a_connection_that_is_silent_holds_up_nobody(bystander: Chain) -> None:
    strangers = [dial(bystander.b.port) for _ in range(50)]
    exchange(*bystander.stream(), MIB)
    for stranger in strangers:
        stranger.close()


# -- clients that break the protocol on an open channel


Violation = Callable[[SSHClientConnection, int], None]


def data_over_the_window(leg: SSHClientConnection, channel: int) -> None:
    piece = bytes(32 * 1024)
    for _ in range(64 * MIB // len(piece)):
        leg.send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(piece))


def data_over_the_packet_size(leg: SSHClientConnection, channel: int) -> None:
    leg.send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(bytes(200 * 1024)))


def a_window_over_all_bounds(leg: SSHClientConnection, channel: int) -> None:
    for _ in range(2):
        leg.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(channel), UInt32(2**32 - 1))


def data_after_eof(leg: SSHClientConnection, channel: int) -> None:
    leg.send_packet(MSG_CHANNEL_EOF, UInt32(channel))
    leg.send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(b"more"))


def data_for_nobody(leg: SSHClientConnection, channel: int) -> None:
    leg.send_packet(MSG_CHANNEL_DATA, UInt32(channel + 1000), String(b"?"))


def a_confirmation_of_nothing(leg: SSHClientConnection, channel: int) -> None:
    fields = UInt32(channel), UInt32(0), UInt32(MIB), UInt32(32768)
    leg.send_packet(MSG_CHANNEL_OPEN_CONFIRMATION, *fields)


def a_length_that_lies(leg: SSHClientConnection, channel: int) -> None:
    leg.send_packet(MSG_CHANNEL_DATA, UInt32(channel), UInt32(1000), b"short")


def a_cut_message(leg: SSHClientConnection, channel: int) -> None:
    leg.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(channel))


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
@pytest.mark.parametrize(
    "violation",
    [
        data_over_the_window,
        data_over_the_packet_size,
        a_window_over_all_bounds,
        data_after_eof,
        data_for_nobody,
        a_confirmation_of_nothing,
        a_length_that_lies,
        a_cut_message,
    ],
)
def test_who_breaks_the_protocol_loses_its_own_leg_alone(
    shared_site: Site, bystander: Chain, violation: Violation, cipher: str
) -> None:
    async def offend() -> None:
        async with login(shared_site, bystander.b, "offender", encryption_algs=[cipher]) as leg:
            _, writer = await leg.open_connection("gpu1", 8000)
            # B gives its numbers from 0 on, and this is the leg's first channel.
            violation(leg, writer.channel._send_chan)
            await leg.wait_closed()

    with suppress(ConnectionResetError):  # B does not read what is still under way.
        asyncio.run(offend())
    bystander.service.accept().close()
    bystander.b.process.wait_for(r"leg down: .*\(offender\).*: ")
