"""What one side of a resumable session has sent and may have to send again.

    start ────────── sent ─────────── end
      │   retained    │    to be sent  │
      └ the peer has all before        └ as much as the session has made

A process has a `Budget` for all its sessions. One that is full makes its sender wait, and ends
nothing; what may not wait (acknowledgements, a key exchange) goes on top of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from relay.core.limits import RETAINED_AT_LEAST, RETAINED_PER_PROCESS, RETAINED_PER_SESSION
from relay.errors import ProtocolViolation

GATHERED: Final = 512
"""Pieces that are sent at once: what one system call takes, and more than a channel does."""


class Budget:
    """What the sessions of a process may retain."""

    def __init__(
        self,
        each: int = RETAINED_PER_SESSION,
        most: int = RETAINED_PER_PROCESS,
        least: int = RETAINED_AT_LEAST,
    ) -> None:
        self.each = each
        self._most = most
        self._least = least
        # Bytes that all sessions together retain. Theirs to set.
        self.used = 0
        # How many retain anything.
        self.sessions = 0

    @property
    def share(self) -> int:
        """Bytes that one session may retain: all it likes, until too much is retained in all; then
        its part. So those that are held, and give nothing of it back, stop nobody who goes on."""
        if self.used <= self._most:
            return self.each
        return max(self._least, min(self.each, self._most // max(1, self.sessions)))


class Retained:
    """The bytes of one session, by their place in its stream."""

    __slots__ = (
        "_budget", "_chunks", "_first", "_reached", "_unsent", "end", "keeping", "start", "unsent",
    )  # fmt: skip

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        # The peer has all before `start`; the session has made all before `end`.
        self.start = 0
        self.end = 0
        # As far as any carrier has taken them.
        self._reached = 0
        # What was sent may have to be sent again. False: only what is unsent is kept.
        self.keeping = False
        # From `_first` to `end`, when it is kept. `_first` is the start of the first chunk.
        self._chunks: deque[bytes] = deque()
        self._first = 0
        # What the carrier has not taken, and how many bytes that is.
        self._unsent: deque[memoryview] = deque()
        self.unsent = 0

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self.end - self._first if self.keeping else self.unsent

    @property
    def full(self) -> bool:
        """Nothing more should come until the peer has acknowledged some."""
        return self.keeping and self.end - self.start >= self._budget.share

    @property
    def beyond(self) -> int:
        """Bytes over what one session may retain at most."""
        return self.size - self._budget.each

    def keep(self) -> None:
        """Keep what is made from now on, and what has not been sent."""
        self.keeping = True
        self.start = self._first = self.end - self.unsent
        self._chunks.extend(map(bytes, self._unsent))
        self._budget.sessions += 1
        self._budget.used += self.unsent

    def forget(self) -> None:
        """Keep nothing, but send what has not been sent."""
        if self.keeping:
            self._budget.sessions -= 1
            self._budget.used -= self.size
            self.keeping = False
        self._chunks.clear()

    def passed(self, size: int) -> None:
        """So much was made and taken by the carrier, and is not kept."""
        self.end += size
        self.start = self._first = self._reached = self.end

    def carried(self, data: bytes) -> None:
        """`data` was made, and the carrier has taken it behind all before."""
        self._made(data)
        self._reached = self.end

    def add(self, data: bytes) -> None:
        """`data` was made, and is to be sent."""
        self._made(data)
        self._unsent.append(memoryview(data))
        self.unsent += len(data)

    def _made(self, data: bytes) -> None:
        self.end += len(data)
        if self.keeping:
            self._chunks.append(data)
            self._budget.used += len(data)

    def pieces(self) -> list[memoryview]:
        """The first of what is to be sent."""
        return [self._unsent[at] for at in range(min(GATHERED, len(self._unsent)))]

    def took(self, size: int) -> None:
        """The carrier has taken so much of what is to be sent."""
        self.unsent -= size
        self._reached = max(self._reached, self.end - self.unsent)
        while size:
            first = self._unsent[0]
            if size < len(first):
                self._unsent[0] = first[size:]
                return
            size -= len(first)
            self._unsent.popleft()

    def acknowledged(self, received: int) -> None:
        """The peer has all before `received`; what it said before it changed carriers may come
        behind what it said then. Raises `ProtocolViolation`: it cannot have so much."""
        if received < self.start:
            return
        self._check(received)
        self.start = received
        chunks = self._chunks
        while chunks and self._first + len(chunks[0]) <= received:
            size = len(chunks.popleft())
            self._first += size
            self._budget.used -= size

    def _check(self, received: int) -> None:
        if not self.start <= received <= self._reached:
            raise ProtocolViolation(
                f"{received} bytes received, of a session that has sent {self._reached} and was "
                f"told of {self.start}"
            )

    def rewind(self, received: int) -> None:
        """There is another carrier, and the peer has all before `received`: all behind that is to
        be sent. Raises `ProtocolViolation`: it cannot have so much, or so little."""
        self._check(received)
        self.acknowledged(received)
        self._unsent.clear()
        skip = received - self._first
        for chunk in self._chunks:
            self._unsent.append(memoryview(chunk)[skip:])
            skip = 0
        self.unsent = self.end - received
