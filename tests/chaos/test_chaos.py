"""Everything fails at random while checked streams run, and nothing is delivered wrong.

    client ─► A ══proxy══► B ◄══proxy══ C ─► service

`RELAY_CHAOS_SEED` and `RELAY_CHAOS_SECONDS` choose another storm and its length.

What the last speaker of a stream said may be lost without its notice: nobody confirms a
confirmation. Here that is the service, which keeps its last bytes back until it has read the
client's end. So a stream is whole on both sides or broken on both, or only its answer's end is
missing and the client, who waits for it, has an error.

A and C ask for signs of life every second. B's own keepalive has no option: what it alone can
notice (`Proxy.lose`) takes it a minute, and is part of long storms only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import struct
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import psutil

from relay.policy.limits import CLIENT_ALIVE_COUNT_MAX, CLIENT_ALIVE_INTERVAL
from tests.chaos.proxy import Proxy
from tests.programs.chain import NAMED, Server, Site, relay_server
from tests.programs.conftest import site as site
from tests.programs.process import GUARD, Process
from tests.programs.traffic import MIB, free_port

SEED: Final = int(os.environ.get("RELAY_CHAOS_SEED", "5"))
SECONDS: Final = float(os.environ.get("RELAY_CHAOS_SECONDS", "30"))
LONG: Final = 120
"""Seconds from which on a storm has what B alone can notice."""

STREAMS: Final = 12
"""At once."""

ALIVE: Final = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2")
DEADLINE: Final = 3.0
"""Seconds of silence after which A and C give B up."""

B_DEADLINE: Final = float(CLIENT_ALIVE_INTERVAL * (CLIENT_ALIVE_COUNT_MAX + 1))

CALM: Final = 12.0
"""Seconds after which a leg counts as held, so that the next loss is tried again at once. In a
storm the pauses between tries grow to half a minute, as they should."""

RECOVERY: Final = 5.0
SLACK: Final = 10.0
"""What a busy machine may take on top, so that the verdict is not one about the machine."""

MEMORY_MARGIN: Final = 48 * MIB
"""What a program may have grown by: a leg's buffers, and pieces of the heap that are free but not
given back. A stream that is never released holds its window, and here there are hundreds."""

HEADER: Final = struct.Struct(">QQQ")
"""What a client says first: the stream's number, and how many bytes go there and come back."""

LARGEST: Final = 4 * MIB
SPREAD: Final = 8 * MIB - 15  # Prime.
BLOCK: Final = random.Random(SEED).randbytes(SPREAD + LARGEST)


def content(number: int, size: int) -> memoryview:
    """Bytes that are another stream's at no place. A stream has two numbers, one each way."""
    start = number * 4099 % SPREAD
    return memoryview(BLOCK)[start : start + size]


class Wrong(AssertionError):
    """Bytes that were never sent at this place, or an end before the end."""


class Refused(OSError):
    """A clean end in the place of the first byte, of which every stream here has one each way: as
    with ssh, that is how a client learns that its channel could not be opened."""


class Traffic:
    """Streams through the chain, and how each of them ended at both its ends."""

    def __init__(self, port: int) -> None:
        self.clients: dict[int, str] = {}
        self.services: dict[int, str] = {}
        self.wrong: list[str] = []
        self.open = 0
        self.port = port
        self._next = 0
        self._random = random.Random(f"{SEED} streams")

    async def run(self, until: asyncio.Event) -> None:
        """One stream after the other."""
        while not until.is_set():
            there, back = self._random.choices((1, 5_000, 300_000, LARGEST), k=2)
            whole = False
            with contextlib.suppress(OSError):  # A is away.
                whole = await self.stream(there, back, slow=self._random.random() < 0.5)
            if not whole:
                await asyncio.sleep(0.1)

    async def stream(self, there: int, back: int, *, slow: bool = False) -> bool:
        """One stream as its client; was it whole?"""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        number, self._next = self._next, self._next + 1

        async def send() -> None:
            writer.write(HEADER.pack(number, there, back))
            await self._send(writer, content(2 * number, there), slow=slow)
            writer.write_eof()

        with self._ended(self.clients, number), closing(writer):
            both = asyncio.gather(send(), self._receive(reader, content(2 * number + 1, back)))
            await both
        return self.clients[number] == "whole"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The other end of it."""
        number = -1 - len(self.services)
        try:
            number, there, back = HEADER.unpack(await reader.readexactly(HEADER.size))
        except OSError as error:
            self.services[number] = str(error)  # Broken before it said who it is.
            writer.transport.abort()
            return
        except asyncio.IncompleteReadError:
            self.services[number] = "an end before the header"
            self.wrong.append(self.services[number])
            writer.transport.abort()
            return
        if number in self.services:
            self.wrong.append(f"stream {number} came twice")
        answer = content(2 * number + 1, back)
        with self._ended(self.services, number), closing(writer):
            await asyncio.gather(
                self._send(writer, answer[:-1]),
                self._receive(reader, content(2 * number, there)),
            )
            writer.write(answer[-1:])
            writer.write_eof()
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    @contextlib.contextmanager
    def _ended(self, ends: dict[int, str], number: int) -> Iterator[None]:
        self.open += 1
        try:
            yield
            ends[number] = "whole"
        except OSError as error:
            ends[number] = str(error) or type(error).__name__
        except Wrong as error:
            ends[number] = str(error)
            self.wrong.append(f"stream {number}: {error}")
        finally:
            self.open -= 1

    async def _send(
        self, writer: asyncio.StreamWriter, data: memoryview, *, slow: bool = False
    ) -> None:
        for start in range(0, len(data), 1 << 16):
            writer.write(data[start : start + (1 << 16)])
            await writer.drain()
            await asyncio.sleep(0.1 if slow else 0)

    async def _receive(self, reader: asyncio.StreamReader, expected: memoryview) -> None:
        at = 0
        while data := await reader.read(1 << 16):
            if data != expected[at : at + len(data)]:
                raise Wrong(f"wrong bytes between {at} and {at + len(data)}")
            at += len(data)
        if not at:
            raise Refused("refused")
        if at < len(expected):
            raise Wrong(f"a clean end after {at} of {len(expected)} bytes")

    def check(self) -> dict[str, int]:
        """Asserts that both sides of each stream agree; returns how many ended how."""
        assert not self.wrong
        count = {"whole": 0, "broken": 0, "never there": 0, "answer's end lost": 0}
        for number, client in self.clients.items():
            service = self.services.get(number)
            if client == "whole":
                assert service == "whole", f"stream {number} broke only for the service: {service}"
                count["whole"] += 1
            elif service == "whole":
                count["answer's end lost"] += 1
            else:
                assert service != "refused", f"stream {number} just ended for the service"
                count["broken" if service else "never there"] += 1
        return count


@contextlib.contextmanager
def closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError):  # It is closed, and of Python 3.11.
            writer.transport.abort()


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
            process = site.ours("relay-server", "--listen", listen, "--state-dir", state)
            process.wait_for("listening on")
        else:
            leg = site.leg(Server(self._b.process, self._links[name].port), name)
            if name == "a":
                forward = ("-L", f"127.0.0.1:{self.port}:{NAMED}")
            else:
                forward = ("-R", f"{NAMED}:127.0.0.1:{self._target}")
            program = "relay-connect" if name == "a" else "relay-agent"
            process = site.ours(program, *leg, *ALIVE, *forward, user)
        self.programs[name] = process

    async def fault(self, *, long: bool) -> str:
        """Let one thing happen, to its end; what it was."""
        pause = self._random.uniform(0, 6)
        kinds = ["kill", "stop", "cut", "reset", "freeze"] + ["lose"] * long
        kind = self._random.choice(kinds)
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

    async def storm(self) -> None:
        began = time.monotonic()
        while (now := time.monotonic() - began) < SECONDS:
            print(f"{now:6.1f} s: {await self.fault(long=SECONDS >= LONG)}")
            await asyncio.sleep(self._random.uniform(0, 3))

    def resources(self) -> dict[str, tuple[int, int, int]]:
        """Descriptors, threads and resident bytes."""
        found = {name: psutil.Process(one.pid) for name, one in self.programs.items()}
        return {
            name: (one.num_fds(), one.num_threads(), one.memory_info().rss)
            for name, one in found.items()
        }


async def works(traffic: Traffic) -> float:
    """Seconds until a stream is whole."""
    began = time.monotonic()
    while time.monotonic() - began < 2 * GUARD:
        with contextlib.suppress(OSError):
            if await traffic.stream(100_000, 100_000):
                return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError("the chain does not work again")


async def settled(world: World, before: dict[str, tuple[int, int, int]], seconds: float) -> None:
    """Wait until all is as it was; memory with its margin."""
    deadline = time.monotonic() + seconds
    while True:
        now = world.resources()
        kept = {
            name: (now[name], then)
            for name, then in before.items()
            if now[name][:2] != then[:2] or now[name][2] > then[2] + MEMORY_MARGIN
        }
        if not kept:
            grown = {name: (now[name][2] - before[name][2]) // MIB for name in now}
            print(f"back where it began; grown by (MiB): {grown}")
            return
        assert time.monotonic() < deadline, f"descriptors, threads, memory now and then: {kept}"
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def running(site: Site) -> AsyncIterator[tuple[World, Traffic]]:
    """The chain through the proxies, with streams checked at both ends."""
    site.key("a"), site.key("c")
    b = relay_server(site)
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


async def chaos(site: Site) -> None:
    async with running(site) as (world, traffic):
        await asyncio.gather(*(traffic.stream(LARGEST, LARGEST) for _ in range(STREAMS)))
        await works(traffic)
        await asyncio.sleep(0.5)
        before = world.resources()
        over = asyncio.Event()
        streams = [asyncio.create_task(traffic.run(over)) for _ in range(STREAMS)]
        await world.storm()
        print(f"after the storm it works in {await works(traffic):.2f} s")
        await asyncio.sleep(CALM)
        print(f"{await world.fault(long=False)}: the last fault")
        took = await works(traffic)
        print(f"after the last fault it works in {took:.2f} s")
        over.set()
        done, hanging = await asyncio.wait(streams, timeout=B_DEADLINE + GUARD)
        assert not hanging, "streams that never end"
        for one in done:
            one.result()
        began = time.monotonic()
        while traffic.open:
            assert time.monotonic() - began < B_DEADLINE + GUARD, f"{traffic.open} never end"
            await asyncio.sleep(0.1)
        print(traffic.check())
        await settled(world, before, B_DEADLINE + GUARD)
        assert took < RECOVERY + DEADLINE + SLACK
        assert all([await traffic.stream(LARGEST, LARGEST) for _ in range(3)])
        for name, process in world.programs.items():
            assert await asyncio.to_thread(process.stop) == 0, name
            assert not process.said("Traceback")


def test_chaos(site: Site) -> None:
    print(f"RELAY_CHAOS_SEED={SEED} RELAY_CHAOS_SECONDS={SECONDS:g}")
    others = set(psutil.Process().children(recursive=True))
    asyncio.run(chaos(site))
    assert not set(psutil.Process().children(recursive=True)) - others
