"""How long B's event loop is held by who looks at very many services: B's own tables and its
`--http`, in this process and without sockets to agents, since ten thousand real connections would
show what everything else costs.

A turn is measured in CPU time of the loop's thread: what else runs on the machine is no turn of
ours.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import asyncssh

from benchmarks.chains.chain import free_port
from benchmarks.logins import ENTRY
from benchmarks.processes import Process, python
from relay.events import Events
from relay.io.engine import Engine
from relay.life.admission import Startup
from relay.observe.log import EventLog
from relay.server.relay import Relay
from relay.server.running import RunningServer
from relay.settings.server import ServerSettings
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.system import new_event_loop
from relay.web.of_server import server_web

SERVICES: Final = 10_000
LOOKED_AT: Final = ("/metrics", "/v1/services?limit=25&search=9&sort=-bytes_back")
ANSWERS: Final = 5
SERVICES_OF_LEG: Final = 10


def measure(services: int = SERVICES) -> dict[str, float]:
    """The longest turn in milliseconds, by what is asked for; '' while nothing is."""
    with (
        tempfile.TemporaryDirectory(prefix="relay-bench-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(_measure(Path(folder), services))


async def _measure(folder: Path, services: int) -> dict[str, float]:
    logging.getLogger("relay").setLevel(logging.ERROR)
    log, events = EventLog("observed"), Events()
    config = ServerSettings(state_dir=folder)
    limits = replace(config.limits, legs_per_key=2 * services, services_per_key=2 * services)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    engine = Engine(asyncio.get_running_loop())
    relay = Relay(replace(config, limits=limits), [host_key], events, engine)
    longest = {}
    async with AsyncExitStack() as stack:
        port = free_port()
        operate = await stack.enter_async_context(server_web(("127.0.0.1", port), None, log))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(operate, RunningServer(relay, lambda: None, lambda: None))
        await _publish(relay, engine, host_key, services)
        turns = Turns()
        for path in ("", *LOOKED_AT):
            longest[path] = await _longest(turns, folder, port, path)
        turns.stop()
        tasks.cancel_scope.cancel()
    engine.close()
    return longest


async def _longest(turns: Turns, folder: Path, port: int, path: str) -> float:
    if not path:
        turns.begin()
        await anyio.sleep(1)
        return turns.longest * 1000
    scraper = Process("scraper", python("benchmarks.peers.scraper", str(port), path), folder)
    try:
        turns.begin()
        await anyio.to_thread.run_sync(scraper.wait_for, f"^{ANSWERS}: scraped")
        return turns.longest * 1000
    finally:
        await anyio.to_thread.run_sync(scraper.stop)


class Turns:
    """The longest turn of this loop, which never rests meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = True
        self.begin()
        self._turn()

    def begin(self) -> None:
        """Measure anew, without what was left to be collected."""
        gc.collect()
        self.longest = 0.0
        self._last = time.thread_time()

    def _turn(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        if self._running:
            self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._running = False


async def _publish(relay: Relay, engine: Engine, host_key: asyncssh.SSHKey, services: int) -> None:
    """By as many legs as that takes."""
    options = server_options([host_key], ())
    for number in range(services):
        if number % SERVICES_OF_LEG == 0:
            leg = ServerLeg(engine, options)
            leg.alive = True  # Without a socket.
            startup = Startup("127.0.0.1", lambda _: None, print, None)
            leg.introduce(relay, startup, ("127.0.0.1", 1))
            leg.entry = ENTRY
            relay.legs.add(leg)
            leg.logged_in = True
            relay.leg_up(leg)
        assert await relay.publish(leg, f"service{number}", 8000) == 8000
