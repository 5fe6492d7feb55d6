"""Two hostile legs of one B, played from bytes: a consumer's and an agent's, which have opened
channels to one another and say anything at all.

Each four bytes are a step: who does what, on which channel, and a size. A step waits until B has
taken it, so that the same bytes are the same attack; unless its leg is not read at present, or the
next step is to come right behind it (`AT_ONCE`), before anybody else can answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Final

from asyncssh.packet import UInt32

from tests.attacks import messages
from tests.attacks.peer import Peer

STEP: Final = Struct(">BBH")

FIRST_STREAMS: Final = 2
"""Streams from the consumer to the agent that there are at first."""

AT_ONCE: Final = 0x80
"""In the byte of the channel."""

MOST: Final = 64 * 1024
"""Bytes of data in one step."""


def number_of(size: int) -> int:
    """Small numbers, and those around each power of two."""
    return min((size & 0xFF) << (size >> 11), 2**32 - 1)


Message = Callable[[int, int], bytes]

SAID: Final[list[Message]] = [
    lambda channel, size: messages.data(channel, bytes(min(number_of(size), MOST))),
    lambda channel, size: messages.data(channel, b"x" * (size & 0xFF)),
    lambda channel, size: messages.window_adjust(channel, number_of(size)),
    lambda channel, size: messages.eof(channel),
    lambda channel, size: messages.close(channel),
    lambda channel, size: messages.confirmation(channel, channel, number_of(size), 32768),
    lambda channel, size: messages.confirmation(channel, size, messages.MIB, number_of(size)),
    lambda channel, size: messages.failure(channel, size),
    lambda channel, size: messages.channel_request(channel, "shell", bool(size & 1)),
    lambda channel, size: messages.channel_success(channel),
    lambda channel, size: messages.channel_failure(channel),
    lambda channel, size: messages.extended_data(channel, b"x" * (size & 0xFF)),
    lambda channel, size: messages.open_direct("fuzzed", 8000, channel, number_of(size)),
    lambda channel, size: messages.open_direct("fuzzed", 8000, channel, packet=number_of(size)),
    lambda channel, size: messages.open_direct("nobody", size, channel),
    lambda channel, size: messages.open_forwarded("fuzzed", 8000, channel),
    lambda channel, size: messages.channel_open("session", b"", channel),
    lambda channel, size: messages.publish("fuzzed", 8000 + (size & 3), bool(size & 4)),
    lambda channel, size: messages.withdraw("fuzzed", 8000 + (size & 3), bool(size & 4)),
    lambda channel, size: messages.global_request("no-such@request", UInt32(size)),
    lambda channel, size: messages.request_success(UInt32(size)),
    lambda channel, size: messages.request_failure(),
    lambda channel, size: messages.ignore(bytes(size & 0xFFF)),
    lambda channel, size: messages.disconnect(size),
    lambda channel, size: messages.newkeys(),
    lambda channel, size: messages.anything(size & 0xFF, UInt32(channel) + UInt32(size)),
    lambda channel, size: messages.anything(90 + size % 11, UInt32(channel)),
    lambda channel, size: messages.open_direct("gpu1", 8000, channel),
    lambda channel, size: messages.confirmation(size & 3, channel),
]
"""`gpu1:8000` is what the bystander uses: its streams have the first numbers at that agent."""


async def begin_key_exchange(peer: Peer, size: int) -> None:
    peer.begin_key_exchange()


async def change_keys(peer: Peer, size: int) -> None:
    peer.go_on_reading()
    await peer.change_keys()


async def stop_reading(peer: Peer, size: int) -> None:
    peer.stop_reading()


async def go_on_reading(peer: Peer, size: int) -> None:
    peer.go_on_reading()


async def vanish(peer: Peer, size: int) -> None:
    await peer.vanish()


async def wrong_padding(peer: Peer, size: int) -> None:
    await peer.seal(bytes([size & 0xFF]) + messages.eof(0) + bytes(26))


async def rubbish(peer: Peer, size: int) -> None:
    await peer.raw(size.to_bytes(2, "big") * 20)


DONE: Final = [
    begin_key_exchange,
    change_keys,
    stop_reading,
    go_on_reading,
    wrong_padding,
    rubbish,
    vanish,
]
"""What is no message."""


async def join(consumer: Peer, agent: Peer) -> None:
    """What both begin with: a service, and streams to it."""
    await agent.send(messages.publish("fuzzed", 8000))
    await agent.expect(messages.REQUEST_SUCCESS)
    for number in range(FIRST_STREAMS):
        await consumer.send(messages.open_direct("fuzzed", 8000, number))
        asked = await agent.expect(messages.OPEN)
        await agent.send(messages.confirmation(asked.sender, number))
        await consumer.expect(messages.OPEN_CONFIRMATION, recipient=number)


async def play(
    consumer: Peer, agent: Peer, script: bytes, meanwhile: Callable[[], Awaitable[object]]
) -> None:
    """`meanwhile` is awaited between the steps."""
    await join(consumer, agent)
    for code, channel, size in STEP.iter_unpack(script[: len(script) // STEP.size * STEP.size]):
        peer = (consumer, agent)[code & 1]
        what = (code >> 1) % (len(SAID) + len(DONE))
        if what < len(SAID):
            await peer.send(SAID[what](channel & 7, size))
        else:
            await DONE[what - len(SAID)](peer, size)
        if channel & AT_ONCE:
            continue
        if peer.reads:
            await peer.settled()
        await meanwhile()
