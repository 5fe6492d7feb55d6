"""Streams whose every byte is known at both ends.

What the last speaker of a stream said may be lost without its notice: nobody confirms a
confirmation. Here that is the service, which keeps its last bytes back until it has read the
client's end. So a stream is whole on both sides or broken on both, or only its answer's end is
missing and the client, who waits for it, has an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import Iterator
from typing import Final

from tests.programs.traffic import MIB

SEED: Final = int(os.environ.get("RELAY_CHAOS_SEED", "5"))

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
