"""B with two hostile legs joined by splices, and two honest ones beside them. All are in this
process and log in over real sockets; the hostile for each input anew, the honest once.

What is checked: every byte of the honest, between all steps of the hostile; that no fault of ours
is logged; and that nothing is left of the hostile when they are gone. The input is a script of
`tests/attacks/two_legs.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any

import asyncssh

from relay.errors import INTERNAL
from relay.events import Events
from relay.io.engine import Engine
from relay.io.local import Acceptor
from relay.observe.lines import LogSink
from relay.observe.log import EventLog
from relay.server.program import load_host_keys
from relay.server.relay import Relay
from relay.settings.server import ServerSettings
from tests.attacks import messages, two_legs
from tests.attacks.peer import Peer, connect

TURNS = 10_000
"""Of the loop, in which B must have noticed that a leg is gone."""


class Faults(logging.Handler):
    """What is logged as a fault of ours, or by asyncio as nobody's."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


class World:
    """B, and the honest stream through it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults = Faults()
        for name in (INTERNAL, "asyncio"):
            logging.getLogger(name).addHandler(self.faults)
        logging.getLogger("relay").addHandler(logging.NullHandler())
        self.keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in "abc"}
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="two-legs-")
        state = Path(self._folder.name)
        lines = [key.export_public_key() for key in self.keys.values()]
        authorized = state / "authorized_keys"
        authorized.touch(mode=0o600)
        authorized.write_bytes(b"".join(lines))
        events, config = Events(LogSink(EventLog("fuzz"))), ServerSettings(state_dir=state)
        self.engine = Engine(self.loop)
        self.relay = Relay(config, load_host_keys(config, events), events, self.engine)
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._acceptor = Acceptor(self._sock, self.relay.accept)
        self._agent, self._consumer = await self.login("c"), await self.login("c")
        await self._agent.send(messages.publish("gpu1", 8000))
        await self._agent.expect(messages.REQUEST_SUCCESS)
        await self._consumer.send(messages.open_direct("gpu1", 8000, 7))
        self._at_agent = (await self._agent.expect(messages.OPEN)).sender
        await self._agent.send(messages.confirmation(self._at_agent, 9))
        answer = await self._consumer.expect(messages.OPEN_CONFIRMATION)
        self._at_consumer = answer.sender
        self._agent.forget()

    async def login(self, key: str) -> Peer:
        port = self._sock.getsockname()[1]

        async def dial(make: Any) -> None:
            await self.loop.create_connection(make, "127.0.0.1", port)

        return await connect(
            dial, host="127.0.0.1", port=port, username=key, client_keys=[self.keys[key]]
        )

    async def round_trip(self) -> None:
        """Of the honest, whose agent lets nobody else in."""
        for asked in self._agent.received:
            if asked.number == messages.OPEN:
                await self._agent.send(messages.failure(asked.sender))
        await self._pass_on(self._consumer, self._at_consumer, self._agent)
        await self._pass_on(self._agent, self._at_agent, self._consumer)

    async def _pass_on(self, sender: Peer, number: int, receiver: Peer) -> None:
        piece = os.urandom(64)
        await sender.send(messages.data(number, piece))
        assert (await receiver.expect(messages.DATA)).text == piece
        back = self._at_agent if receiver is self._agent else self._at_consumer
        await receiver.send(messages.window_adjust(back, len(piece)))
        sender.forget()
        receiver.forget()

    async def attack(self, script: bytes) -> None:
        consumer, agent = await self.login("a"), await self.login("b")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(consumer.vanish)
            stack.push_async_callback(agent.vanish)
            await two_legs.play(consumer, agent, script, self.round_trip)
        for _ in range(TURNS):
            if len(self.relay.legs) == 2:
                break
            await asyncio.sleep(0)
        for _ in range(2):  # What came with the first is answered by the second.
            await self.round_trip()
        await self._agent.settled()
        assert not self.faults.seen, self.faults.seen.pop()
        assert len(self.relay.legs) == 2, "a leg stays"
        assert len(self.relay.services) == self.relay.services.traffic.open == 1
        assert self.engine.waiting == 0


@cache
def world() -> World:
    return World()


def one_input(script: bytes) -> None:
    world().loop.run_until_complete(world().attack(script))
