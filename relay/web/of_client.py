"""relay-agent and relay-connect, as they are shown: numbers, and whether they are connected. What
there is to change is their control sockets' matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from prometheus_client import Histogram

from relay.control.kinds import STATES, state_of
from relay.life.running import Operate, Running
from relay.observe.log import EventLog
from relay.observe.loop_delay import watch
from relay.web.address import Address
from relay.web.app import Shown
from relay.web.metrics import Family, exposition, gauge, loop_delays
from relay.web.program import web

NOT_CONNECTED: Final = "not connected"
"""Why is not said: nobody needs a token to ask."""


@asynccontextmanager
async def client_web(
    address: Address, token_file: Path | None, log: EventLog
) -> AsyncIterator[Operate[Any]]:
    """Answer within; what is given shows the program once it runs. Raises `LocalError`."""
    async with web(address, token_file, log) as one:

        async def operate(running: Running[Any]) -> None:
            delays = await loop_delays()
            one.site.shown = Shown(
                not_ready=lambda: "" if _state(running)[0] else NOT_CONNECTED,
                metrics=lambda: client_metrics(running, delays),
            )
            await watch(delays.observe)

        yield operate


def client_metrics(running: Running[Any], *others: Histogram) -> AsyncIterator[bytes]:
    """The pieces of the text."""
    return exposition(list(_families(running)), *others)


def _families(running: Running[Any]) -> Iterator[Family]:
    up, seconds, _ = _state(running)
    yield gauge("relay_connected", "1: there is a connection to the server.", int(up))
    yield gauge("relay_connection_state_seconds", "For how long that has been so, or not.", seconds)
    yield gauge("relay_streams", "Streams that are open, or wait.", running.streams())
    states = Counter(state_of(one) for one in running.desired.forwards)
    yield gauge(
        "relay_forwards", "Forwards that are to be, by how far they are.",
        [((state,), states[state]) for state in STATES], "state",
    )  # fmt: skip


def _state(running: Running[Any]) -> tuple[bool, float, str]:
    return running.supervisor.state(anyio.current_time())
