"""Streams of memory: on a leg without a socket, whose peer is the test, and one to another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio import BrokenResourceError, BusyResourceError, ClosedResourceError, EndOfStream
from hypothesis import given
from hypothesis import strategies as st

from relay.core.port import State
from relay.errors import LegLost, NotPublished, Refused, ServiceUnreachable, UnknownService
from relay.io.memory import SMALL, MemoryStream, StreamAttribute
from relay.wire import numbers
from relay.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    OpenFailure,
)
from relay.wire.packet import DATA_OFFSET, MAX_DATA, TAIL_ROOM, frame_data
from tests.ssh.bench import Bench
from tests.turns import until

THEIRS = 7
PLENTY = 2**30


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Peer:
    """The leg to C, and its other side, which says what the test has it say."""

    def __init__(self, most: int = PLENTY) -> None:
        """`most` is the largest window that the stream gives."""
        self.bench = Bench()
        self.leg = self.bench.c
        self.leg.engine.windows.most = most
        self.reasons: list[str] = []
        self.stream = MemoryStream(self.leg, lambda stream, reason: self.reasons.append(reason))

    async def opened(self, window: int = PLENTY, packet: int = MAX_DATA) -> MemoryStream:
        opening = asyncio.ensure_future(self.stream.open(b"direct-tcpip", b""))
        await asyncio.sleep(0)
        assert self.said() == [MSG_CHANNEL_OPEN]
        self.stream.confirmed(THEIRS, window, packet)
        await opening
        return self.stream

    def payloads(self) -> list[bytes]:
        self.leg.engine.flush()
        return self.bench.read(self.leg)

    def said(self) -> list[int]:
        """The messages that came to it since this was last asked."""
        return [payload[0] for payload in self.payloads()]

    def data(self) -> bytes:
        """What came to it since this was last asked, which is data alone."""
        payloads = self.payloads()
        assert {payload[0] for payload in payloads} <= {MSG_CHANNEL_DATA}
        return b"".join(payload[9:] for payload in payloads)

    def sends(self, data: bytes) -> None:
        view = memoryview(bytearray(DATA_OFFSET + len(data) + TAIL_ROOM))
        view[DATA_OFFSET : DATA_OFFSET + len(data)] = data
        self.stream.data(view, 0, frame_data(view, 0, len(data)), len(data))


async def blocked(task: asyncio.Future[Any]) -> None:
    """It is in there, and waits."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


def begun(work: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(work)


# -- how it begins


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (OpenFailure.ADMINISTRATIVELY_PROHIBITED, Refused),
        (OpenFailure.CONNECT_FAILED, ServiceUnreachable),
        (OpenFailure.NOT_PUBLISHED, NotPublished),
        (OpenFailure.UNKNOWN_SERVICE, UnknownService),
        (OpenFailure.STOPPING, LegLost),
    ],
)
async def test_an_open_that_is_refused(code: OpenFailure, error: type[Exception]) -> None:
    peer = Peer()
    opening = begun(peer.stream.open(b"direct-tcpip", b""))
    await blocked(opening)
    peer.stream.failed(code, "no")
    with pytest.raises(error, match=r"^no$"):
        await opening
    assert peer.reasons == ["refused: no"]
    assert peer.stream.refused
    with pytest.raises(BrokenResourceError):
        await peer.stream.send(b"x")


async def test_an_open_whose_leg_is_lost() -> None:
    peer = Peer()
    opening = begun(peer.stream.open(b"direct-tcpip", b""))
    await blocked(opening)
    peer.stream.leg_lost()
    with pytest.raises(LegLost):
        await opening


async def test_an_open_to_one_who_takes_too_little_at_once() -> None:
    peer = Peer()
    opening = begun(peer.stream.open(b"direct-tcpip", b""))
    await blocked(opening)
    peer.stream.confirmed(THEIRS, 100, 10)
    with pytest.raises(Refused, match="takes packets of 10 bytes"):
        await opening
    assert peer.said() == [MSG_CHANNEL_OPEN, MSG_CHANNEL_CLOSE]


@pytest.mark.parametrize("answered", [False, True])
async def test_an_open_that_is_cancelled_leaves_nothing_open(answered: bool) -> None:
    """Be it in the very turn in which the answer comes."""
    peer = Peer()
    opening = begun(peer.stream.open(b"direct-tcpip", b""))
    await blocked(opening)
    if answered:
        peer.stream.confirmed(THEIRS, 100, MAX_DATA)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    if not answered:
        peer.stream.confirmed(THEIRS, 100, MAX_DATA)
    assert peer.said() == [MSG_CHANNEL_OPEN, MSG_CHANNEL_CLOSE]
    assert peer.stream.over


async def test_a_leg_that_is_gone_opens_nothing() -> None:
    leg = Bench().c
    leg.close()
    with pytest.raises(LegLost):
        MemoryStream(leg)


async def test_the_peers_open_is_answered() -> None:
    peer = Peer()
    came: list[MemoryStream] = []
    peer.stream.serve(came.append)
    peer.stream.opened_by_peer(THEIRS, 1000, MAX_DATA)
    assert came == [peer.stream]
    assert peer.said() == []
    assert peer.stream.confirm()
    assert peer.said() == [MSG_CHANNEL_OPEN_CONFIRMATION]
    await peer.stream.send(b"hello")
    assert peer.data() == b"hello"


@pytest.mark.parametrize("closed", [False, True])
async def test_the_peers_open_is_refused(closed: bool) -> None:
    peer = Peer()
    peer.stream.serve(lambda stream: None)
    peer.stream.opened_by_peer(THEIRS, 1000, MAX_DATA)
    if closed:
        await peer.stream.aclose()
    else:
        peer.stream.refuse(OpenFailure.CONNECT_FAILED, "no")
    assert peer.said() == [MSG_CHANNEL_OPEN_FAILURE]
    assert peer.stream.over


async def test_the_peers_open_whose_leg_is_lost_meanwhile() -> None:
    peer = Peer()
    peer.stream.serve(lambda stream: None)
    peer.stream.opened_by_peer(THEIRS, 1000, MAX_DATA)
    peer.stream.leg_lost()
    assert not peer.stream.confirm()


# -- out


async def test_large_data_goes_in_packets_of_the_legs_size() -> None:
    peer = Peer()
    stream = await peer.opened()
    data = os.urandom(10 * MAX_DATA + 1)
    await stream.send(data)
    payloads = peer.payloads()
    assert b"".join(payload[9:] for payload in payloads) == data
    assert max(map(len, payloads)) == MAX_DATA + 9
    assert stream.sent_bytes == len(data)


async def test_it_is_sent_before_the_call_returns_and_no_memory_is_kept() -> None:
    peer = Peer()
    stream = await peer.opened()
    data = bytearray(b"before")
    await stream.send(data)
    data[:] = b"behind"
    assert peer.bench.read(peer.leg)[-1][9:] == b"before"


async def test_sending_waits_for_the_window() -> None:
    """Of one byte at a time, too."""
    peer = Peer()
    stream = await peer.opened(window=0)
    sending = begun(stream.send(b"abc"))
    for sent in (b"a", b"b"):
        await blocked(sending)
        stream.window_adjust(1)
        await blocked(sending)
        assert peer.data() == sent
    stream.window_adjust(1)
    await sending
    assert peer.data() == b"c"


async def test_sending_waits_for_the_leg() -> None:
    peer = Peer()
    stream = await peer.opened()
    out = peer.bench.stream(peer.leg)
    out.room = 100
    data = os.urandom(MAX_DATA * 3)
    sending = begun(stream.send(data))
    await blocked(sending)
    assert stream.sent_bytes == MAX_DATA
    out.room = None
    peer.leg.flush()
    await sending
    assert peer.data() == data


async def test_nothing_to_send_waits_for_nothing() -> None:
    peer = Peer()
    stream = await peer.opened(window=0)
    await stream.send(b"")
    assert peer.said() == []


async def test_a_send_that_is_cancelled_has_sent_what_it_counts() -> None:
    peer = Peer()
    stream = await peer.opened(window=5)
    sending = begun(stream.send(b"0123456789"))
    await blocked(sending)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    stream.window_adjust(100)
    assert peer.data() == b"01234"
    assert stream.sent_bytes == 5
    await stream.send(b"56789")
    assert peer.data() == b"56789"


# -- in


async def test_receiving_waits_for_the_peer() -> None:
    peer = Peer()
    stream = await peer.opened()
    receiving = begun(stream.receive())
    await blocked(receiving)
    peer.sends(b"hello")
    assert await receiving == b"hello"


async def test_the_window_opens_as_it_is_received() -> None:
    peer = Peer()
    stream = await peer.opened()
    whole = stream.channel.receive_window
    piece = bytes(64 * 1024)
    while stream.channel.receive_window:
        peer.sends(piece)
    assert peer.said() == []
    came = 0
    while came < whole:
        came += len(await stream.receive(10_000))
    assert set(peer.said()) == {MSG_CHANNEL_WINDOW_ADJUST}
    assert stream.channel.receive_window > whole // 2


async def test_small_packets_that_wait_are_put_together() -> None:
    """Each would cost a hundred bytes."""
    peer = Peer()
    stream = await peer.opened()
    for _ in range(3 * SMALL):
        peer.sends(b"x")
    assert len(stream._pending) <= 4
    assert await stream.receive(PLENTY) == b"x" * 3 * SMALL


async def test_no_bytes_are_no_number_of_bytes() -> None:
    peer = Peer()
    stream = await peer.opened()
    with pytest.raises(ValueError, match="max_bytes"):
        await stream.receive(0)


async def test_a_receive_that_is_cancelled_has_taken_nothing() -> None:
    """Be it in the very turn in which the bytes come."""
    peer = Peer()
    stream = await peer.opened()
    for _ in range(2):
        receiving = begun(stream.receive())
        await blocked(receiving)
        peer.sends(b"ab")
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        receiving = begun(stream.receive())  # It is there already: at the checkpoint.
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await stream.receive() == b"ab"


async def test_cancelled_at_each_turn() -> None:
    """Of a conversation, one call after the other, nothing is lost or doubled at any of them."""
    for turn in range(12):
        peer = Peer()
        stream = await peer.opened(window=2)
        got = bytearray()

        async def talk(stream: MemoryStream = stream, got: bytearray = got) -> None:
            while True:
                got.extend(await stream.receive(2))
                await stream.send(b"abc"[stream.sent_bytes :])

        talking = begun(talk())
        for now in range(turn):
            if now in (2, 5):
                peer.sends(b"123")
            if now == 6:
                stream.window_adjust(5)
            await asyncio.sleep(0)
        talking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await talking
        sent = b"123" * (turn > 2) + b"123" * (turn > 5)
        if len(got) < len(sent):
            got += await stream.receive()
        assert got == sent
        if turn <= 6:
            stream.window_adjust(5)
        await stream.send(b"abc"[stream.sent_bytes :])
        assert b"".join(one[9:] for one in peer.payloads() if one[0] == MSG_CHANNEL_DATA) == b"abc"


# -- two at once


async def test_two_tasks_do_not_do_the_same() -> None:
    peer = Peer()
    stream = await peer.opened(window=0)
    receiving, sending = begun(stream.receive()), begun(stream.send(b"x"))
    await blocked(receiving)
    await blocked(sending)
    with pytest.raises(BusyResourceError):
        await stream.receive()
    with pytest.raises(BusyResourceError):
        await stream.send(b"y")
    with pytest.raises(BusyResourceError):
        await stream.send_eof()
    peer.sends(b"z")
    stream.window_adjust(1)
    await sending
    assert await receiving == b"z"


async def test_it_tells_whether_receiving_would_wait() -> None:
    peer = Peer()
    stream = await peer.opened()
    attribute = StreamAttribute.readable
    assert not stream.extra(attribute)
    peer.sends(b"answer")
    assert stream.extra(attribute)
    await stream.receive()
    assert not stream.extra(attribute)
    stream.eof()
    assert stream.extra(attribute)


@pytest.mark.parametrize("breaks", [MemoryStream.peer_closed, MemoryStream.leg_lost])
async def test_a_broken_one_would_not_wait(breaks: Callable[[MemoryStream], None]) -> None:
    stream = await Peer().opened()
    breaks(stream)
    assert stream.extra(StreamAttribute.readable)


# -- how it ends


async def test_our_end_leaves_the_other_direction_open() -> None:
    peer = Peer()
    stream = await peer.opened()
    await stream.send_eof()
    await stream.send_eof()
    assert peer.said() == [MSG_CHANNEL_EOF]
    with pytest.raises(ClosedResourceError):
        await stream.send(b"x")
    peer.sends(b"answer")
    assert await stream.receive() == b"answer"
    stream.eof()
    with pytest.raises(EndOfStream):
        await stream.receive()
    assert peer.said() == [MSG_CHANNEL_CLOSE]
    assert peer.reasons == [""]


async def test_the_peers_end_leaves_the_other_direction_open() -> None:
    peer = Peer()
    stream = await peer.opened()
    peer.sends(b"question")
    stream.eof()
    assert await stream.receive() == b"question"
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await stream.receive()
    await stream.send(b"answer")
    assert peer.data() == b"answer"
    await stream.aclose()
    assert peer.said() == [MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]
    assert peer.reasons == [""]


async def test_the_end_comes_to_one_who_waits() -> None:
    peer = Peer()
    stream = await peer.opened()
    receiving = begun(stream.receive())
    await blocked(receiving)
    stream.eof()
    with pytest.raises(EndOfStream):
        await receiving


BREAKS: list[tuple[Callable[[MemoryStream], None], str]] = [
    (MemoryStream.peer_closed, "closed by the other side"),
    (MemoryStream.leg_lost, "the connection to the relay was lost"),
]


@pytest.mark.parametrize(("breaks", "reason"), BREAKS)
async def test_a_break_is_told_to_those_who_wait(
    breaks: Callable[[MemoryStream], None], reason: str
) -> None:
    peer = Peer()
    stream = await peer.opened(window=0)
    receiving, sending = begun(stream.receive()), begun(stream.send(b"x"))
    await blocked(receiving)
    await blocked(sending)
    breaks(stream)
    for call in (receiving, sending, stream.receive(), stream.send(b"x"), stream.send_eof()):
        with pytest.raises(BrokenResourceError, match=reason):
            await call
    assert peer.reasons == [reason]


@pytest.mark.parametrize(("breaks", "reason"), BREAKS)
async def test_what_came_before_a_break_is_received_before_it(
    breaks: Callable[[MemoryStream], None], reason: str
) -> None:
    peer = Peer()
    stream = await peer.opened()
    peer.sends(b"half")
    breaks(stream)
    assert await stream.receive() == b"half"
    with pytest.raises(BrokenResourceError, match=reason):
        await stream.receive()


async def test_what_was_whole_before_a_break_is_whole() -> None:
    peer = Peer()
    stream = await peer.opened()
    peer.sends(b"all")
    stream.eof()
    stream.peer_closed()
    assert await stream.receive() == b"all"
    with pytest.raises(EndOfStream):
        await stream.receive()
    with pytest.raises(BrokenResourceError):
        await stream.send(b"x")


async def test_closed_it_is_of_no_use() -> None:
    peer = Peer()
    stream = await peer.opened(window=0)
    receiving = begun(stream.receive())
    await blocked(receiving)
    await stream.aclose()
    await stream.aclose()
    calls = (receiving, stream.receive(), stream.send(b"x"), stream.send(b""), stream.send_eof())
    for call in calls:
        with pytest.raises(ClosedResourceError):
            await call
    assert peer.said() == [MSG_CHANNEL_EOF]
    stream.eof()
    assert peer.said() == [MSG_CHANNEL_CLOSE]
    assert peer.reasons == [""]


async def test_data_for_a_closed_one_breaks_it() -> None:
    peer = Peer()
    stream = await peer.opened()
    await stream.aclose()
    peer.sends(b"x")
    assert peer.said() == [MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]
    peer.sends(b"on its way already")
    assert peer.reasons == ["closed here before its end"]


@pytest.mark.parametrize("end", [False, True])
async def test_closed_over_what_was_not_received(end: bool) -> None:
    peer = Peer()
    stream = await peer.opened()
    peer.sends(b"x")
    if end:
        stream.eof()
    await stream.aclose()
    assert peer.said() == [MSG_CHANNEL_CLOSE]


async def test_half_of_something_does_not_end_as_a_whole() -> None:
    """A send that waits is overtaken by the close, or was cancelled before."""
    for cancelled in (False, True):
        peer = Peer()
        stream = await peer.opened(window=1)
        sending = begun(stream.send(b"xy"))
        await blocked(sending)
        if cancelled:
            sending.cancel()
        await stream.aclose()
        with pytest.raises(asyncio.CancelledError if cancelled else ClosedResourceError):
            await sending
        assert peer.said() == [MSG_CHANNEL_DATA, MSG_CHANNEL_CLOSE]


async def test_closed_by_force() -> None:
    peer = Peer()
    stream = await peer.opened()
    await anyio.aclose_forcefully(stream)
    assert peer.said() == [MSG_CHANNEL_CLOSE]
    assert stream.over


async def test_closed_by_force_after_it_was_closed_it_still_ends_in_good_order() -> None:
    peer = Peer()
    stream = await peer.opened()
    await stream.aclose()
    await anyio.aclose_forcefully(stream)
    stream.eof()
    assert peer.said() == [MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]
    assert peer.reasons == [""]


async def test_an_end_that_is_cancelled_was_not_said() -> None:
    peer = Peer()
    stream = await peer.opened()
    ending = begun(stream.send_eof())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    await stream.send(b"more")
    await stream.send_eof()
    assert peer.said() == [MSG_CHANNEL_DATA, MSG_CHANNEL_EOF]


async def test_nothing_of_it_is_left() -> None:
    peer = Peer()
    before = set(peer.leg.mux.channels)
    async with await peer.opened() as stream:
        peer.sends(b"x")
        assert await stream.receive() == b"x"
    stream.eof()
    stream.peer_closed()
    assert stream.state is State.OVER
    assert set(peer.leg.mux.channels) == before - {stream.channel.local_id}


# -- any order


class Pair:
    """Two streams, each the other's peer, and books of what was sent and came."""

    def __init__(self, windows: tuple[int, int]) -> None:
        self.ends = tuple(Peer(most) for most in windows)
        self.windows = windows
        self.got = (bytearray(), bytearray())
        self.under_way: tuple[list[bytes], list[bytes]] = ([], [])

    async def begin(self) -> None:
        for end, window in zip(self.ends, reversed(self.windows), strict=True):
            await end.opened(window)

    def carry(self, to: int, most: int) -> None:
        """What has left one comes to the other, in its order."""
        self.under_way[to].extend(self.ends[1 - to].payloads())
        for _ in range(min(most, len(self.under_way[to]))):
            self._comes(self.ends[to], self.under_way[to].pop(0))

    def _comes(self, end: Peer, payload: bytes) -> None:
        match payload[0]:
            case numbers.MSG_CHANNEL_DATA:
                end.sends(payload[9:])
            case numbers.MSG_CHANNEL_WINDOW_ADJUST:
                end.stream.window_adjust(int.from_bytes(payload[5:9], "big"))
            case numbers.MSG_CHANNEL_EOF:
                end.stream.eof()
            case numbers.MSG_CHANNEL_CLOSE:
                end.stream.peer_closed()
            case _:
                raise AssertionError(payload)

    async def send(self, end: int, size: int) -> None:
        stream = self.ends[end].stream
        await stream.send(counted(stream.sent_bytes, size))

    async def receive(self, end: int, size: int) -> None:
        data = await self.ends[end].stream.receive(size)
        assert 1 <= len(data) <= size
        self.got[end].extend(data)

    async def receive_all(self, end: int) -> None:
        try:
            while True:
                await self.receive(end, 1000)
        except EndOfStream:
            return


def counted(first: int, size: int) -> bytes:
    """A byte's value is its place."""
    return bytes((first + n) % 251 for n in range(size))


STEPS = st.tuples(
    st.sampled_from(["send", "receive", "carry"]), st.integers(0, 1), st.integers(1, 40),
    st.integers(0, 6),
)  # fmt: skip


@given(st.lists(STEPS, max_size=40), st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_whatever_is_cancelled_all_that_was_sent_comes(
    steps: list[tuple[str, int, int, int]], windows: tuple[int, int]
) -> None:
    """Each call has so many turns of the loop, and is cancelled then."""

    async def run() -> None:
        pair = Pair(windows)
        await pair.begin()
        for what, end, size, turns in steps:
            if what == "carry":
                pair.carry(end, turns)
                continue
            call = begun(pair.send(end, size) if what == "send" else pair.receive(end, size))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.result()
        rest = begun(
            asyncio.gather(
                *(pair.ends[end].stream.send_eof() for end in (0, 1)),
                *(pair.receive_all(end) for end in (0, 1)),
            )
        )

        def done() -> bool:
            pair.carry(0, PLENTY)
            pair.carry(1, PLENTY)
            return rest.done()

        await until(done)
        await rest
        for end in (0, 1):
            assert pair.got[end] == counted(0, pair.ends[1 - end].stream.sent_bytes)
            assert pair.ends[end].stream.state is State.OVER
            assert pair.ends[end].reasons == [""]

    asyncio.run(run())
