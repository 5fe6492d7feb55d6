"""What the legs of one process share: memory, limits, polling, and when each of them sends.

A program makes one `Engine` on its event loop, gives it to every leg that it makes, and closes it
at its end. Two engines know nothing of each other, on one loop or on two.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from relay.core.limits import (
    BUSY_POLL,
    RECEIVE_BUFFER,
    RELEASE_BELOW,
    SCRATCH,
    WAITING_PER_PROCESS,
)
from relay.core.retained import Budget
from relay.core.splice import Credit
from relay.core.window import MOST, Windows
from relay.io.busy_poll import BusyPoll
from relay.io.watch import ResetWatch

IDLE_BUFFERS: Final = 4
"""Receive buffers that are kept though nobody uses them. A buffer is in use only while a leg
holds part of a packet, so a few serve any number of legs."""

CROWDED: Final = 20e-6
"""Seconds between two endpoints' reading below which the second did not have to be waited for: it
was ready in the same turn of the loop. To wait takes twice as long and more."""


class Pool:
    """Receive buffers to borrow."""

    def __init__(self) -> None:
        self._idle: list[memoryview] = []

    def take(self) -> memoryview:
        return self._idle.pop() if self._idle else memoryview(bytearray(RECEIVE_BUFFER))

    def give(self, buffer: memoryview) -> None:
        if len(self._idle) < IDLE_BUFFERS:
            self._idle.append(buffer)


class Flushable(Protocol):
    """A leg, whose `flush` never raises and calls nobody back."""

    def flush(self) -> None: ...
    def wake(self) -> None: ...


class Engine:
    """What is shared, and the legs that have sealed packets to send. Neighbouring packets for one
    leg leave in one send, at the end of the batch of input that they come from, or when enough are
    gathered (`FLUSH_PACKETS`, `FLUSH_SIZE`)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        busy_poll: int = BUSY_POLL,
        max_window: int = MOST,
    ) -> None:
        """`busy_poll` is in microseconds, `max_window` in bytes."""
        self.loop = loop
        self._dirty: list[Flushable] = []
        # Legs that have room again and somebody who waits for it.
        self._roomy: list[Flushable] = []
        self._scheduled = False
        # A batch of input is being used: its owner flushes at its end.
        self._batching = False
        self.pool = Pool()
        # Bytes that wait in the queues of all legs together; the legs keep it below the limit.
        self.waiting = 0
        self.waiting_limit = WAITING_PER_PROCESS
        # How many legs have any.
        self.legs_waiting = 0
        # What the splices of all legs may have under way beyond their first credit.
        self.credit = Credit()
        # What the windows of all endpoints share.
        self.windows = Windows(max_window)
        # What the resumable sessions of all legs may keep.
        self.retained = Budget()
        # Where endpoints read what they send, and where the next one reads: what is before that
        # may still have to be sent. All is free again after each flush.
        self.scratch = memoryview(bytearray(SCRATCH))
        self.scratch_used = 0
        # How the loop waits.
        self.poll = BusyPoll(loop)
        self.poll.limit(busy_poll)
        # The sockets of endpoints, for the resets that nobody reads.
        self.watch = ResetWatch(loop)
        # When the last endpoint had read its socket.
        self._last_read = 0.0

    def close(self) -> None:
        """Its legs are gone."""
        self.watch.close()

    @property
    def too_much_for_one(self) -> int:
        """Bytes that may wait for one leg: any number, until too much waits in all; then its share.
        So those who made it too much pay for it, and not whoever comes next."""
        if self.waiting <= self.waiting_limit:
            return self.waiting_limit
        return max(RELEASE_BELOW, self.waiting_limit // max(1, self.legs_waiting))

    def mark(self, leg: Flushable) -> None:
        """`leg` has something to send; it is flushed at the end of the batch, or soon."""
        self._dirty.append(leg)
        self._schedule()

    def wake(self, leg: Flushable) -> None:
        """`leg` has room again: those who wait for it are told then. They send in their turn, which
        may make room elsewhere, so that to tell them from within a flush would have no bottom."""
        self._roomy.append(leg)
        self._schedule()

    def _schedule(self) -> None:
        if not self._batching and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._scheduled_flush)

    def begin(self) -> None:
        """A batch begins; whoever calls this calls `flush` at its end, whatever happens."""
        self._batching = True

    def flush(self) -> None:
        """Send everything now. No leg's output is in memory of others when this returns: each that
        has taken such is marked, and a flush leaves none."""
        self._batching = True
        while self._dirty or self._roomy:
            dirty, self._dirty = self._dirty, []
            for leg in dirty:
                leg.flush()
            roomy, self._roomy = self._roomy, []
            for leg in roomy:
                leg.wake()
        self._batching = False
        self.scratch_used = 0

    def begin_read(self) -> bool:
        """An endpoint is about to read; it calls `flush` if this says so, as after `begin`.

        Where many sockets are ready at once, what they bring is gathered, up to the end of the
        loop's turn at most. Otherwise nobody else comes, and the way round the loop would be a
        delay.
        """
        alone = self.poll.begin() - self._last_read >= CROWDED
        if self.scratch_used > SCRATCH // 2:  # A packet, whatever its size, may find no room.
            self.flush()
        if alone:
            self._batching = True
        return alone

    def end_read(self, size: int) -> None:
        """The endpoint has read `size` bytes."""
        self._last_read = self.poll.end(size)

    def _scheduled_flush(self) -> None:
        self._scheduled = False
        self.flush()
