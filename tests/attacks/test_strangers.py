"""Strangers at B's port: what comes before a login, and what does not come. Nobody else is to
notice."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Final

import asyncssh
import pytest
from asyncssh.packet import String

from tests.attacks.bystander import Bystander, own_stream
from tests.attacks.messages import (
    MIB,
    anything,
    data,
    ecdh_init,
    ignore,
    kexinit,
    newkeys,
    open_direct,
    packet,
)
from tests.attacks.peers import hostile_consumer, stranger, stranger_with_keys
from tests.programs.chain import Chain, Options
from tests.programs.traffic import exchange

pytestmark = pytest.mark.usefixtures("lines")

VERSION: Final = b"SSH-2.0-stranger\r\n"
KEXINIT: Final = VERSION + packet(kexinit())


@pytest.fixture(scope="module")
def b_options() -> Options:
    return "--login-grace-time", "5"


GARBAGE: Final = {
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
    "no public key": KEXINIT + packet(anything(30)),
    "a short public key": KEXINIT + packet(ecdh_init(b"x")),
    "a weak public key": KEXINIT + packet(ecdh_init(bytes(32))),
    "another exchange": KEXINIT + packet(anything(34, bytes(12))),
    "new keys too early": KEXINIT + packet(newkeys()),
    "no name in common": VERSION + packet(kexinit(kex="curve25518-sha256")),
    "a channel before the login": KEXINIT + packet(open_direct("gpu1", 8000)),
    "a broken key exchange": VERSION + b"\0\0\0\x1c\x06\x14" + b"\xff" * 26,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_stranger_is_turned_away(
    chain: Chain, bystander: Bystander, garbage: bytes
) -> None:
    async with stranger(chain.b) as peer:
        await peer.send(garbage)
        await peer.gone()
        chain.b.process.wait_for(rf"{peer.address} did not log in")
    bystander.goes_on()


async def test_connections_that_are_silent_hold_up_nobody(
    chain: Chain, bystander: Bystander
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(stranger(chain.b))
        await asyncio.to_thread(exchange, *own_stream(chain), MIB)
        bystander.goes_on()


async def test_a_byte_at_a_time_ends_with_the_grace_time(
    chain: Chain, bystander: Bystander
) -> None:
    async with stranger(chain.b) as peer:
        closed = asyncio.ensure_future(peer.closed())
        for byte in VERSION + packet(ignore(bytes(30_000))):
            await peer.send(bytes([byte]))
            done, _ = await asyncio.wait([closed], timeout=0.02)  # The pace: a minute and more.
            if done:
                break
        await closed
        chain.b.process.wait_for(rf"{peer.address} did not log in: Login timeout expired")
    bystander.goes_on()


async def test_a_thousand_tries_on_one_connection(chain: Chain, bystander: Bystander) -> None:
    def refusals() -> int:
        said = "key refused", "refused: "
        return sum(any(word in line for word in said) for line in chain.b.process.lines)

    key = asyncssh.generate_private_key("ssh-ed25519")
    tried = refusals()
    with pytest.raises(asyncssh.DisconnectError, match="Too many authentication failures"):
        async with hostile_consumer(chain, client_keys=[key] * 1000):
            pass
    chain.b.process.wait_for("did not log in: Too many authentication failures")
    assert refusals() - tried <= 7
    bystander.goes_on()


@pytest.mark.parametrize("size", [1000, 200_000, 30 * MIB])
async def test_megabytes_before_the_login(chain: Chain, bystander: Bystander, size: int) -> None:
    """In small packets, in one, and in one that is too large."""
    flood = packet(ignore(bytes(size)))
    async with stranger(chain.b) as peer:
        await peer.send(VERSION)
        for _ in range(max(1, 32 * MIB // len(flood))):
            await peer.send(flood)
        await peer.gone()
        chain.b.process.wait_for(rf"{peer.address} did not log in")
    bystander.goes_on()


async def test_megabytes_between_the_keys_and_the_login(chain: Chain, bystander: Bystander) -> None:
    async with stranger_with_keys(chain.b) as peer:
        for _ in range(1000):
            await peer.send(anything(2, String(bytes(32_000))))
        for _ in range(1000):
            await peer.send(data(0, bytes(1000)))
        await peer.disconnected()
        chain.b.process.wait_for(rf"{peer.address} did not log in")
    bystander.goes_on()
