"""A client with a good key that breaks the protocol, or wastes what it is given.

Whatever it sends, only its own leg may end; B's memory stays bounded, and a bystander's streams run
on meanwhile with no byte lost. Under both of B's packet paths: the fast one, and asyncssh's.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
from asyncssh.packet import UInt32

from tests.attacks.bystander import Bystander, standing_by
from tests.attacks.messages import (
    DATA,
    MIB,
    OPEN_CONFIRMATION,
    PROTOCOL_ERROR,
    WINDOW_ADJUST,
    anything,
    channel_open,
    channel_request,
    close,
    confirmation,
    data,
    eof,
    global_request,
    kexinit,
    open_direct,
    publish,
    window_adjust,
    withdraw,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_consumer
from tests.programs.chain import Chain, Options

CHANNELS: Final = 220
"""What one leg may open here."""

CIPHERS: Final = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]

BULK: Final = 8 * MIB

Offence = Callable[[Peer], Awaitable[None]]
"""It has one channel, whose number at B is 0."""


@pytest.fixture(scope="module")
def b_options() -> Options:
    return "--channels-per-leg", str(CHANNELS)


@pytest.fixture
def bystander(chain: Chain) -> Iterator[Bystander]:
    with standing_by(chain, BULK) as bystander:
        yield bystander


def by_name(*offences: Offence) -> dict[str, Offence]:
    return {offence.__name__: offence for offence in offences}


def key_of(name: str) -> str:
    """Each has a key of its own: B's lines about one key are damped."""
    return name.replace(" ", "-")


# -- what must cost the offender its leg


async def data_over_the_window(peer: Peer) -> None:
    for _ in range(64):
        await peer.send(*[data(0, bytes(32 * 1024))] * 32)


async def data_over_the_packet_size(peer: Peer) -> None:
    await peer.send(data(0, bytes(200 * 1024)))


async def a_window_over_all_bounds(peer: Peer) -> None:
    await peer.send(*[window_adjust(0, 2**32 - 1)] * 2)


async def data_after_eof(peer: Peer) -> None:
    await peer.send(eof(0), data(0, b"more"))


async def data_for_nobody(peer: Peer) -> None:
    await peer.send(data(1000, b"?"))


async def a_confirmation_of_nothing(peer: Peer) -> None:
    await peer.send(confirmation(0))


async def a_length_that_lies(peer: Peer) -> None:
    await peer.send(anything(DATA, UInt32(0) + UInt32(1000) + b"short"))


async def a_cut_message(peer: Peer) -> None:
    await peer.send(anything(WINDOW_ADJUST, UInt32(0)))


VIOLATIONS: Final = by_name(
    data_over_the_window,
    data_over_the_packet_size,
    a_window_over_all_bounds,
    data_after_eof,
    data_for_nobody,
    a_confirmation_of_nothing,
    a_length_that_lies,
    a_cut_message,
)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", VIOLATIONS)
async def test_who_breaks_the_protocol_loses_its_own_leg_alone(
    chain: Chain, bystander: Bystander, name: str, cipher: str
) -> None:
    key = key_of(name)
    async with hostile_consumer(chain, key, encryption_algs=[cipher]) as peer:
        await peer.send(open_direct("gpu1", 8000))
        await peer.expect(OPEN_CONFIRMATION)
        await VIOLATIONS[name](peer)
        await peer.disconnected(PROTOCOL_ERROR)
        chain.b.process.wait_for(rf"leg down: .*\({key}\) from {peer.address}: ")
    bystander.goes_on()


# -- what must hurt nobody else, whatever becomes of the offender


async def data_after_close(peer: Peer) -> None:
    await peer.send(close(0), *[data(0)] * 100)


async def close_twice(peer: Peer) -> None:
    await peer.send(close(0), close(0))


async def eof_without_end(peer: Peer) -> None:
    await peer.send(*[eof(0)] * 1000)


async def every_message_on_a_channel_that_is_not_there(peer: Peer) -> None:
    for number in range(91, 101):
        await peer.send(anything(number, UInt32(2**32 - 1) + UInt32(1) * 3))


async def a_number_in_use(peer: Peer) -> None:
    await peer.send(*[open_direct("gpu1", 8000, sender=0)] * 10, *[data(0)] * 10)


async def opens_without_end(peer: Peer) -> None:
    for number in range(20 * CHANNELS):
        name, most = ("nobody" if number % 2 else "gpu1"), 2**32 - 1
        await peer.send(open_direct(name, 8000, number, window=most, packet=most))


async def an_open_with_no_room(peer: Peer) -> None:
    await peer.send(*(open_direct("gpu1", 8000, n, window=0, packet=0) for n in range(10)))


async def opens_of_every_kind(peer: Peer) -> None:
    for kind in ("session", "x11", "forwarded-tcpip", "tun@openssh.com", "", "\0", "open" * 999):
        await peer.send(*[channel_open(kind, bytes(44), 0, 0, 0)] * 20)


async def requests_in_a_flood(peer: Peer) -> None:
    for number in range(5000):
        name = f"name{number}"
        requests = publish(name, 8000), withdraw(name, 8000), global_request("no-such@request")
        await peer.send(requests[number % 3])


async def requests_on_a_channel_in_a_flood(peer: Peer) -> None:
    await peer.send(*[channel_request(0)] * 5000)


async def replies_to_nothing(peer: Peer) -> None:
    for number in (81, 82, 99, 100, 92):
        await peer.send(anything(number, UInt32(0) + UInt32(1) + bytes(8)))


async def windows_that_overflow(peer: Peer) -> None:
    await peer.send(*[window_adjust(0, 2**32 - 1)] * 5)


async def windows_of_nothing(peer: Peer) -> None:
    await peer.send(*[window_adjust(0, 0)] * 20_000)


async def every_message_there_is(peer: Peer) -> None:
    for number in range(256):
        await peer.send(anything(number, UInt32(0) + bytes(8)))


async def empty_data_without_end(peer: Peer) -> None:
    await peer.send(*[data(0, b"")] * 20_000)


async def data_between_kexinit_and_newkeys(peer: Peer) -> None:
    await peer.send(*[data(0, bytes(1000))] * 10)
    peer.begin_key_exchange()
    await peer.send(*[data(0, bytes(1000))] * 10)


async def kexinit_in_a_row(peer: Peer) -> None:
    await peer.send(*[kexinit()] * 100)


async def keys_changed_without_end(peer: Peer) -> None:
    for _ in range(100):
        await peer.change_keys()


def _length(length: int) -> Offence:
    async def offend(peer: Peer) -> None:
        await peer.raw(UInt32(length) + os.urandom(1000))

    return offend


def _padding(padding: int) -> Offence:
    async def offend(peer: Peer) -> None:
        await peer.seal(bytes([padding]) + eof(0) + bytes(26))

    return offend


OFFENCES: Final = {
    **by_name(
        data_after_close,
        close_twice,
        eof_without_end,
        every_message_on_a_channel_that_is_not_there,
        a_number_in_use,
        opens_without_end,
        an_open_with_no_room,
        opens_of_every_kind,
        requests_in_a_flood,
        requests_on_a_channel_in_a_flood,
        replies_to_nothing,
        windows_that_overflow,
        windows_of_nothing,
        every_message_there_is,
        empty_data_without_end,
        data_between_kexinit_and_newkeys,
        kexinit_in_a_row,
        keys_changed_without_end,
    ),
    **{f"a length of {n}": _length(n) for n in (0, 1, 15, 17, 2**31, 2**32 - 1)},
    **{f"a padding of {n}": _padding(n) for n in (0, 3, 27, 31, 32, 255)},
}


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", OFFENCES)
async def test_an_offence_hurts_nobody_else(
    chain: Chain, bystander: Bystander, name: str, cipher: str
) -> None:
    async with hostile_consumer(chain, key_of(name), encryption_algs=[cipher]) as peer:
        await peer.send(open_direct("gpu1", 8000))
        await peer.expect(OPEN_CONFIRMATION)
        await OFFENCES[name](peer)
        await peer.settled()
    chain.b.process.wait_for(rf"leg down: .* from {peer.address}")
    bystander.goes_on()
    async with hostile_consumer(chain, key_of(name)) as again:  # It may come back.
        await again.settled()
