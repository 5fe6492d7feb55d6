"""Every message of a channel, from both sides, in every state that the channel can be in.

Whoever sends what has no place there loses its own leg; its neighbour in the splice and the
bystander keep theirs, and nothing arrives where it was not asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from tests.attacks.bystander import Bystander
from tests.attacks.messages import (
    CLOSE,
    DATA,
    ON_A_CHANNEL,
    OPEN,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    PROTOCOL_ERROR,
    channel_failure,
    channel_success,
    close,
    confirmation,
    data,
    eof,
    failure,
    open_direct,
)
from tests.attacks.peer import Peer
from tests.attacks.peers import hostile_agent, hostile_consumer
from tests.programs.chain import Chain

MESSAGES: Final[dict[str, Callable[[int], bytes]]] = {
    **ON_A_CHANNEL,
    "success": channel_success,
    "channel failure": channel_failure,
}

ANSWERS: Final = {"confirmation", "failure"}
OF_AN_OPEN_CHANNEL: Final = {"window adjust", "data", "eof", "close", "request"}
AFTER_EOF: Final = OF_AN_OPEN_CHANNEL - {"data"}
ANSWERS_TO_NOTHING: Final = {"success", "channel failure"}
"""B asks nothing of a channel. RFC 4254 §5.4 does not say what such an answer is: OpenSSH passes it
by. Only on a number that nobody has, it must end the leg."""


@dataclass
class Splice:
    """A channel of a consumer and one of an agent, joined at B; each is the first of its leg."""

    consumer: Peer
    agent: Peer

    async def open(self) -> None:
        await self.consumer.send(open_direct("evil", 8000, sender=7))
        await self.agent.expect(OPEN)

    async def confirm(self) -> None:
        await self.open()
        await self.agent.send(confirmation(0, sender=9))
        await self.consumer.expect(OPEN_CONFIRMATION, recipient=7)

    async def refuse(self) -> None:
        await self.open()
        await self.agent.send(failure(0))
        await self.consumer.expect(OPEN_FAILURE, recipient=7)


@asynccontextmanager
async def splice(chain: Chain) -> AsyncIterator[Splice]:
    async with (
        hostile_agent(chain, key="one") as agent,
        hostile_consumer(chain, key="another") as consumer,
    ):
        yield Splice(consumer, agent)


Reach = Callable[[Splice, Peer, Peer], Awaitable[None]]
"""Brings a splice into a state, as the peer that will speak sees it, and its neighbour."""


async def asked(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.open()


async def opened(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()


async def at_its_eof(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()
    await peer.send(eof(0))


async def at_the_eof_of_the_other(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()
    await other.send(eof(0))
    await other.settled()


async def closed_by_itself(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()
    await peer.send(close(0))
    await peer.expect(CLOSE)


async def closed_by_the_other(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()
    await other.send(close(0))
    await peer.expect(CLOSE)


async def left_by_the_other(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.confirm()
    await other.vanish()
    await peer.expect(CLOSE)


async def refused(splice: Splice, peer: Peer, other: Peer) -> None:
    await splice.refuse()


async def never_opened(splice: Splice, peer: Peer, other: Peer) -> None:
    pass


STATES: Final[dict[tuple[str, Reach], set[str]]] = {
    ("consumer", asked): set(),
    ("agent", asked): ANSWERS,
    **{
        (role, reach): allowed
        for role in ("consumer", "agent")
        for reach, allowed in {
            opened: OF_AN_OPEN_CHANNEL,
            at_its_eof: AFTER_EOF,
            at_the_eof_of_the_other: OF_AN_OPEN_CHANNEL,
            closed_by_itself: set[str](),
            closed_by_the_other: OF_AN_OPEN_CHANNEL,
            left_by_the_other: OF_AN_OPEN_CHANNEL,
            refused: set[str](),
            never_opened: set[str](),
        }.items()
    },
}
"""What each may say there; all else ends its leg."""

WITHOUT_A_NUMBER: Final = {closed_by_itself, refused, never_opened}


@pytest.mark.parametrize(
    ("role", "reach", "allowed"),
    [(role, reach, allowed) for (role, reach), allowed in STATES.items()],
    ids=[f"{role} {reach.__name__}" for role, reach in STATES],
)
async def test_every_message(
    chain: Chain, bystander: Bystander, role: str, reach: Reach, allowed: set[str]
) -> None:
    for name, message in MESSAGES.items():
        async with splice(chain) as joined:
            peer, other = joined.consumer, joined.agent
            if role == "agent":
                peer, other = other, peer
            await reach(joined, peer, other)
            await peer.send(message(0))
            if name in allowed:
                await peer.settled()
                assert not peer.over, f"{name}: the leg was ended by {peer.error}"
            elif name not in ANSWERS_TO_NOTHING or reach in WITHOUT_A_NUMBER:
                await peer.disconnected(PROTOCOL_ERROR)
            if reach is not left_by_the_other:
                await other.settled()
                assert not other.over, f"{name}: the neighbour lost its leg by {other.error}"
                asked_for_data = name == "data" and reach in (opened, at_the_eof_of_the_other)
                assert other.has(DATA) == asked_for_data, name
    bystander.goes_on()


async def test_who_answers_its_own_open_reaches_nobody(chain: Chain, bystander: Bystander) -> None:
    """The number that it names is that of the bystander's stream at the agent."""
    for number in range(8):
        async with hostile_consumer(chain) as peer:
            await peer.send(open_direct("gpu1", 8000, sender=7))
            await peer.send(confirmation(0, sender=number), *[data(0, b"not mine")] * 10)
            await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()


async def test_who_refuses_its_own_open_ends_no_agent(chain: Chain, bystander: Bystander) -> None:
    async with hostile_consumer(chain) as peer:
        await peer.send(open_direct("gpu1", 8000, sender=7), failure(0))
        await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()
    assert not chain.b.process.said("withdrawn.*gpu1")


async def test_who_answers_an_open_that_b_refused(chain: Chain, bystander: Bystander) -> None:
    for answer in confirmation(0), failure(0):
        async with hostile_consumer(chain) as peer:
            await peer.send(open_direct("nobody", 8000, sender=7))
            await peer.expect(OPEN_FAILURE, recipient=7)
            await peer.send(answer)
            await peer.disconnected(PROTOCOL_ERROR)
    bystander.goes_on()


@pytest.mark.parametrize("second", [confirmation, failure])
async def test_an_agent_that_answers_twice(
    chain: Chain, bystander: Bystander, second: Callable[[int], bytes]
) -> None:
    async with splice(chain) as joined:
        await joined.confirm()
        await joined.agent.send(second(0))
        await joined.agent.disconnected(PROTOCOL_ERROR)
        await joined.consumer.expect(CLOSE, recipient=7)
        await joined.consumer.settled()
        assert not joined.consumer.over
    bystander.goes_on()


async def test_an_agent_that_answers_for_another(chain: Chain, bystander: Bystander) -> None:
    """On every number that another agent may have been asked by."""
    for number in range(1, 8):
        async with splice(chain) as joined:
            await joined.open()
            await joined.agent.send(confirmation(number), data(number))
            await joined.agent.disconnected(PROTOCOL_ERROR)
            await joined.consumer.expect(OPEN_FAILURE, recipient=7)
    bystander.goes_on()
