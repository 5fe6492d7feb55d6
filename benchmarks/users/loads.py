"""What a user does with its streams, timed, by the word of a line on standard input:

    download SIZE       seconds from asking for the first byte to the last
    upload SIZE         seconds from sending the first byte to the service's word
    echo COUNT          seconds of each round trip of 64 bytes, the median of them

The answer is a line on standard output. It ends with its input.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Protocol

import anyio
import anyio.to_thread

from benchmarks.errors import BrokenError
from benchmarks.load import ECHO, REQUEST
from benchmarks.service import CHUNK, READY

CLOCK = time.perf_counter
_BLOCK = bytes(CHUNK)


class AsyncStream(Protocol):
    """One stream of an asynchronous user."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Some bytes; none at the end."""

    async def aclose(self) -> None: ...


class Stream(Protocol):
    """One stream of a blocking user."""

    def sendall(self, data: bytes) -> object: ...

    def recv(self, size: int) -> bytes: ...

    def close(self) -> None: ...


# -- asynchronous


async def obey_async(connect: Callable[[], Awaitable[AsyncStream]]) -> None:
    """Do what the lines say."""
    loads = {"download": _download, "upload": _upload, "echo": _echo}
    print("ready", flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        word, number = line.split()
        stream = await connect()
        print(await loads[word](stream, int(number)), flush=True)
        await stream.aclose()


async def _download(stream: AsyncStream, size: int) -> float:
    await _command(stream, b"download %d\n" % size)
    start = CLOCK()
    await stream.send(b"\n")
    left = size
    while left:
        left -= len(_some(await stream.receive()))
    return CLOCK() - start


async def _upload(stream: AsyncStream, size: int) -> float:
    await _command(stream, b"upload %d\n" % size)
    start = CLOCK()
    for _ in range(size // CHUNK):
        await stream.send(_BLOCK)
    await _line(stream, b"%d\n" % size)
    return CLOCK() - start


async def _echo(stream: AsyncStream, count: int) -> float:
    await stream.send(ECHO)
    seconds = []
    for _ in range(count):
        start = CLOCK()
        await stream.send(REQUEST)
        left = len(REQUEST)
        while left:
            left -= len(_some(await stream.receive()))
        seconds.append(CLOCK() - start)
    return median(seconds)


async def _command(stream: AsyncStream, line: bytes) -> None:
    await stream.send(line)
    await _line(stream, READY)


async def _line(stream: AsyncStream, wanted: bytes) -> None:
    line = b""
    while len(line) < len(wanted):
        line += _some(await stream.receive())
    _check(line, wanted)


# -- blocking


def obey(connect: Callable[[], Stream]) -> None:
    """Do what the lines say."""
    loads = {"download": _download_blocking, "upload": _upload_blocking, "echo": _echo_blocking}
    print("ready", flush=True)
    for line in sys.stdin:
        word, number = line.split()
        stream = connect()
        print(loads[word](stream, int(number)), flush=True)
        stream.close()


def _download_blocking(stream: Stream, size: int) -> float:
    _command_blocking(stream, b"download %d\n" % size)
    start = CLOCK()
    stream.sendall(b"\n")
    left = size
    while left:
        left -= len(_some(stream.recv(CHUNK)))
    return CLOCK() - start


def _upload_blocking(stream: Stream, size: int) -> float:
    _command_blocking(stream, b"upload %d\n" % size)
    start = CLOCK()
    for _ in range(size // CHUNK):
        stream.sendall(_BLOCK)
    _line_blocking(stream, b"%d\n" % size)
    return CLOCK() - start


def _echo_blocking(stream: Stream, count: int) -> float:
    stream.sendall(ECHO)
    seconds = []
    for _ in range(count):
        start = CLOCK()
        stream.sendall(REQUEST)
        left = len(REQUEST)
        while left:
            left -= len(_some(stream.recv(left)))
        seconds.append(CLOCK() - start)
    return median(seconds)


def _command_blocking(stream: Stream, line: bytes) -> None:
    stream.sendall(line)
    _line_blocking(stream, READY)


def _line_blocking(stream: Stream, wanted: bytes) -> None:
    line = b""
    while len(line) < len(wanted):
        line += _some(stream.recv(len(wanted) - len(line)))
    _check(line, wanted)


# -- both


def _some(data: bytes) -> bytes:
    if not data:
        raise BrokenError("the stream ended early")
    return data


def _check(line: bytes, wanted: bytes) -> None:
    if line != wanted:
        raise BrokenError(f"the service said {line!r}, not {wanted!r}")
