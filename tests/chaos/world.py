"""The chain through two links that can fail, and everything that can happen to it.

    client ─► A ══proxy══► B ◄══proxy══ C ─► service

All three ask for signs of life every second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator
from typing import Final

import psutil

from tests.chaos.proxy import Proxy
from tests.chaos.streams import SEED, Traffic
from tests.programs.chain import NAMED, Server, Site, relay_server
from tests.programs.process import Process
from tests.programs.traffic import free_port

SERVER_ALIVE: Final = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2")
CLIENT_ALIVE: Final = ("--client-alive-interval", "1", "--client-alive-count-max", "2")
DEADLINE: Final = 3.0
"""Seconds of silence after which each gives the other up."""

FAULTS: Final = ("kill", "stop", "cut", "reset", "freeze", "lose")


class World:
    """The three programs, the two links, and what can happen to them."""

    def __init__(self, site: Site, b: Server, links: dict[str, Proxy], target: int) -> None:
        self.site = site
        self.port = free_port()
        self._b = b
        self._links = links
        self._target = target
        self._random = random.Random(f"{SEED} faults")
        self.programs: dict[str, Process] = {"b": b.process}
        self.spared = self._random.choice("abc")
        """Never killed, so that what it loses with each fault adds up."""

    def start(self, name: str) -> None:
        site = self.site
        user = f"{site.user}@127.0.0.1"
        if name == "b":
            listen = f"127.0.0.1:{self._b.port}"
            state = site.folder / "state"
            process = site.ours(
                "relay-server", "--listen", listen, "--state-dir", state, *CLIENT_ALIVE
            )
            process.wait_for("listening on")
        else:
            leg = site.leg(Server(self._b.process, self._links[name].port), name)
            if name == "a":
                forward = ("-L", f"127.0.0.1:{self.port}:{NAMED}")
            else:
                forward = ("-R", f"{NAMED}:127.0.0.1:{self._target}")
            program = "relay-connect" if name == "a" else "relay-agent"
            process = site.ours(program, *leg, *SERVER_ALIVE, *forward, user)
        self.programs[name] = process

    async def fault(self) -> str:
        """Let one thing happen, to its end; what it was."""
        pause = self._random.uniform(0, 6)
        kind = self._random.choice(FAULTS)
        if kind == "kill":
            name = self._random.choice([one for one in "abc" if one != self.spared])
            process = self.programs[name]
            process.signal(signal.SIGKILL)
            await asyncio.to_thread(process.end)
            await asyncio.sleep(pause / 3)
            await asyncio.to_thread(self.start, name)
        elif kind == "stop":
            name = self._random.choice("abc")
            self.programs[name].signal(signal.SIGSTOP)
            await asyncio.sleep(pause)
            self.programs[name].signal(signal.SIGCONT)
        else:
            name = self._random.choice("ac")
            link = self._links[name]
            if kind == "freeze":
                link.freeze()
                await asyncio.sleep(pause)
                link.thaw()
            elif kind == "lose":
                link.lose()
            else:
                link.cut(reset=kind == "reset")
        return f"{kind} {name}"

    async def storm(self, seconds: float) -> None:
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            print(f"{now:6.1f} s: {await self.fault()}")
            await asyncio.sleep(self._random.uniform(0, 3))

    def resources(self) -> dict[str, tuple[int, int, int]]:
        """Descriptors, threads and resident bytes."""
        found = {name: psutil.Process(one.pid) for name, one in self.programs.items()}
        return {
            name: (one.num_fds(), one.num_threads(), one.memory_info().rss)
            for name, one in found.items()
        }


@contextlib.asynccontextmanager
async def running(site: Site) -> AsyncIterator[tuple[World, Traffic]]:
    """The chain through the proxies, with streams checked at both ends."""
    site.key("a"), site.key("c")
    b = relay_server(site, *CLIENT_ALIVE)
    traffic = Traffic(0)
    service = await asyncio.start_server(traffic.serve, "127.0.0.1", 0)
    async with service, Proxy(b.port).listening() as left, Proxy(b.port).listening() as right:
        for link in (left, right):
            site.trust(link.port)
        target = service.sockets[0].getsockname()[1]
        world = World(site, b, {"a": left, "c": right}, target)
        traffic.port = world.port
        for name in "ca":
            world.start(name)
        await asyncio.to_thread(world.programs["c"].wait_for, "published")
        await asyncio.to_thread(world.programs["a"].wait_for, "ready")
        yield world, traffic
