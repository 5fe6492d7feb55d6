"""relay/io/nested.py without a peer: what waits for a session, and an open that nobody wants."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.io.nested import NestedStream
from relay.wire.numbers import MSG_CHANNEL_CLOSE, MSG_CHANNEL_OPEN
from relay.wire.packet import DATA_OFFSET, MAX_DATA
from tests.ssh.bench import Bench, client_leg
from tests.turns import until

THEIRS = 30


class Counting(bytearray):
    """Memory that counts what is copied out of it."""

    copied = 0

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        piece = super().__getitem__(index)
        if isinstance(index, slice):
            Counting.copied += len(piece)
            return Counting(piece)
        return piece

    def __add__(self, other):  # type: ignore[no-untyped-def]
        return Counting(super().__add__(other))


class Turns:
    """An inner leg that uses whole packets of `size` bytes, `most` of them in a turn."""

    def __init__(self, stream: NestedStream, size: int, most: int) -> None:
        self.stream, self.size, self.most = stream, size, most
        self.read = bytearray()
        # What is to be sent may still lie in the memory that was given to it.
        self.kept: list[memoryview] = []

    def received(self, view: memoryview, start: int, end: int) -> int:
        for _ in range(self.most):
            if end - start < self.size:
                return start
            self.kept.append(view[start : start + self.size])
            self.read += view[start : start + self.size]
            start += self.size
        self.stream.pause("turn")
        asyncio.get_running_loop().call_soon(self.stream.resume, "turn")
        return start

    def flush(self) -> None: ...
    def wake(self) -> None: ...
    def stream_lost(self, error: Exception | None) -> None: ...


def opened() -> NestedStream:
    leg = client_leg(Bench().engine)
    stream = NestedStream(leg)
    stream.ask(b"direct-tcpip", b"")
    stream.confirmed(THEIRS, 2**20, MAX_DATA)
    return stream


def give(stream: NestedStream, data: bytes) -> None:
    view = memoryview(bytes(DATA_OFFSET) + data)
    stream.data(view, 0, 0, len(data))


def used_up(pieces: list[int], size: int, most: int, every: int) -> tuple[bytes, bytes]:
    """What was given in these pieces, and what the session has read of it; there is a turn of the
    loop behind `every` so many pieces."""

    async def main() -> tuple[bytes, bytes]:
        stream = opened()
        reader = Turns(stream, size, most)
        stream._pending = Counting()
        stream.attach(reader)
        given = b""
        for number, length in enumerate(pieces):
            data = os.urandom(length)
            given += data
            give(stream, data)
            if number % every == 0:
                await asyncio.sleep(0)
        await until(lambda: not stream._pauses and len(stream._pending) - stream._used < size)
        assert len(reader.read) == len(given) // size * size
        assert stream._pending + stream._later == given[len(reader.read) :]
        return given, bytes(reader.read)

    return asyncio.run(main())


@given(
    st.lists(st.integers(1, 50), max_size=30), st.integers(1, 40), st.integers(1, 4),
    st.integers(1, 5),
)  # fmt: skip
def test_all_is_read_in_its_order(pieces: list[int], size: int, most: int, every: int) -> None:
    given_, read = used_up(pieces, size, most, every)
    assert given_.startswith(read)


@pytest.mark.parametrize("pieces", [[100_000] * 2, [100] * 2000])
def test_what_waits_is_not_copied_in_each_turn(pieces: list[int]) -> None:
    Counting.copied = 0
    used_up(pieces, 100, 1, len(pieces))
    assert Counting.copied <= 2 * sum(pieces)


@pytest.mark.parametrize("answered", [False, True])
def test_an_open_that_is_cancelled_leaves_nothing_open(answered: bool) -> None:
    """Be it in the very turn in which the answer comes."""

    async def main() -> None:
        bench = Bench()
        leg = client_leg(bench.engine)
        stream = NestedStream(leg)
        opening = asyncio.ensure_future(stream.open(b"direct-tcpip", b""))
        await asyncio.sleep(0)
        if answered:
            stream.confirmed(THEIRS, 1000, MAX_DATA)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        if not answered:
            stream.confirmed(THEIRS, 1000, MAX_DATA)
        bench.engine.flush()
        assert [payload[0] for payload in bench.read(leg)] == [MSG_CHANNEL_OPEN, MSG_CHANNEL_CLOSE]
        assert stream.over

    asyncio.run(main())
