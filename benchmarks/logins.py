"""What a login costs B beside very many legs: B's own tables, in this process and without sockets,
since ten thousand real connections would show what everything else costs.

Each leg logs in, publishes a service and, in the end, goes; all have one key, which is the worst
case: then all of them are looked at by whatever looks at those of a key.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

import asyncssh

from relay.core.grants import Grant
from relay.events import Events
from relay.io.engine import Engine
from relay.life.admission import Startup
from relay.observe.lines import LogSink
from relay.observe.log import EventLog
from relay.server.relay import Relay
from relay.settings.server import ServerSettings
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.trust.authorized_keys import Entry

CROWDS: Final = (1_000, 10_000)
NEWCOMERS: Final = 1_000
ENTRY: Final = Entry(1, "ssh-ed25519", b"", "agent", Grant())


def measure(crowd: int) -> float:
    """Agents that come, publish and go, in a second, beside a crowd of others that have."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        return asyncio.run(_measure(Path(folder), crowd))


async def _measure(folder: Path, crowd: int) -> float:
    config = ServerSettings(state_dir=folder)
    most = 10 * max(CROWDS)
    config = replace(
        config, limits=replace(config.limits, legs_per_key=most, services_per_key=most)
    )
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    events = Events(LogSink(EventLog("logins")))
    logging.getLogger("relay").setLevel(logging.ERROR)
    engine = Engine(asyncio.get_running_loop())
    relay = Relay(config, [host_key], events, engine)
    options = server_options([host_key], ())
    numbers = count()

    async def come() -> ServerLeg:
        number = next(numbers)
        leg = ServerLeg(engine, options)
        leg.alive = True  # Without a socket.
        leg.introduce(relay, Startup("127.0.0.1", lambda _: leg, print, None), ("127.0.0.1", 1))
        leg.entry = ENTRY
        relay.legs.add(leg)
        leg.logged_in = True
        relay.leg_up(leg)
        assert await relay.publish(leg, f"agent{number}", 8000) == 8000
        return leg

    for _ in range(crowd):
        await come()
    start = time.perf_counter()
    for leg in [await come() for _ in range(NEWCOMERS)]:
        relay.leg_down(leg, None)
    seconds = time.perf_counter() - start
    engine.close()
    return NEWCOMERS / seconds
