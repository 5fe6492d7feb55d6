"""Messages of the connection that cannot be read, or come before there is one: each ends the leg of
its sender with a protocol error, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from asyncssh.packet import String, UInt32

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    CHANNEL_FAILURE,
    OPEN,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    PROTOCOL_ERROR,
    UNKNOWN_CHANNEL_TYPE,
    anything,
    channel_open,
    channel_request,
    close,
    confirmation,
    data,
    eof,
    extended_data,
    failure,
    open_direct,
    publish,
    window_adjust,
    withdraw,
)
from tests.attacks.peers import hostile_agent, hostile_consumer, stranger_with_keys
from tests.programs.chain import Chain

CIPHERS: Final = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"]

NO_TEXT: Final = b"\xff"
"""No UTF-8 begins so."""


def cuts(payload: bytes) -> set[bytes]:
    """The message without what comes behind its number, without its second half, without its last
    byte."""
    return {payload[:size] for size in (1, len(payload) // 2, len(payload) - 1)}


WHOLE: Final = {
    "publish": publish("gpu2", 8000),
    "withdraw": withdraw("gpu2", 8000),
    "open": open_direct("gpu1", 8000, sender=1),
    "window adjust": window_adjust(0, 1),
    "data": data(0),
    "extended data": extended_data(0),
    "eof": eof(0),
    "close": close(0),
    "request": channel_request(0),
}


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", WHOLE)
async def test_a_message_of_a_consumer_that_is_cut(
    chain: Chain, bystander: Bystander, name: str, cipher: str
) -> None:
    for cut in cuts(WHOLE[name]):
        async with hostile_consumer(chain, encryption_algs=[cipher]) as peer:
            await peer.send(open_direct("gpu1", 8000))
            await peer.expect(OPEN_CONFIRMATION)
            await peer.send(cut)
            await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()


ANSWERS: Final[dict[str, Callable[[int], bytes]]] = {
    "confirmation": confirmation,
    "failure": lambda number: failure(number, reason="no"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_of_an_agent_that_is_cut(
    chain: Chain, bystander: Bystander, name: str
) -> None:
    """Who waits for it is told that there is nobody any more."""
    for cut in cuts(ANSWERS[name](0)):
        async with hostile_agent(chain) as agent, hostile_consumer(chain, "another") as consumer:
            await consumer.send(open_direct("evil", 8000, sender=7))
            await agent.expect(OPEN)
            await agent.send(cut)
            await agent.disconnected(PROTOCOL_ERROR)
            await consumer.expect(OPEN_FAILURE, recipient=7)
    bystander.goes_on()


UNREADABLE: Final = {
    "a service": publish(NO_TEXT, 8000),
    "a service that is withdrawn": withdraw(NO_TEXT, 8000),
    "a stream's host": open_direct(NO_TEXT, 8000),
    "a stream's origin": open_direct("gpu1", 8000, origin=NO_TEXT),
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_name_that_is_no_text(chain: Chain, bystander: Bystander, payload: bytes) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(payload)
        await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()


async def test_names_that_nobody_knows_and_that_are_no_text(
    chain: Chain, bystander: Bystander
) -> None:
    """What is not known is refused by its number alone."""
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000))
        await peer.expect(OPEN_CONFIRMATION)
        await peer.send(channel_open(NO_TEXT, sender=7), channel_request(0, NO_TEXT))
        refused = await peer.expect(OPEN_FAILURE, recipient=7)
        assert refused.code == UNKNOWN_CHANNEL_TYPE
        await peer.expect(CHANNEL_FAILURE, recipient=0)
        await peer.settled()
        assert not peer.over
    bystander.goes_on()


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_nothing_of_the_connection_comes_before_the_login(
    chain: Chain, bystander: Bystander, cipher: str
) -> None:
    for number in (*range(80, 83), *range(90, 101)):
        async with stranger_with_keys(chain.b, encryption_algs=[cipher]) as peer:
            await peer.send(anything(number, UInt32(0) + String("") + bytes(8)))
            await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()
