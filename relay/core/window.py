"""How much a receiver lets its peer send before it hears more: the window of RFC 4254 §5.2.

Pure: numbers in, numbers out; the caller tells the time.

A window should be as large as the path needs and no larger: what is under way beyond that stands in
queues, where a token of another stream waits behind it. Two rules, of which the larger decides:

1. *Its share.* A stream alone may have `ALONE` under way; those that are busy at once share
   `TOGETHER`. On a short path that is all they can use.
2. *Its need.* More than what the consumer takes in a round trip, so that the sender is never at the
   end of its window before it hears that there is more. The round trip is measured on the way: from
   a WINDOW_ADJUST to the first byte that the sender could not have sent without it.

    announced ─────┐ mark            ┌───────────── announced anew
    received  ▂▃▄▅▆│███ ... ────────►│▇ beyond the mark: a round trip, or more if the sender
                   ^ WINDOW_ADJUST goes out            had credit left; so the least one counts

A sender that is not at the end of its window makes the round trip seem longer, but only until the
least one is found: a window grows to a little over twice its size in vain, no further.

What a consumer does not take opens no window again. An idle stream has announced a window and
holds no memory for it.
"""

from __future__ import annotations

from math import inf
from typing import Final

START: Final = 1024 * 1024
"""The first window, before anything is known of the path and the consumer."""

ALONE: Final = 4 * 1024 * 1024
"""The window of the only busy stream on a short path. Measured on loopback: with OpenSSH's 2 MiB
the three programs wait for one another a twentieth of the time, with 1 MiB a tenth."""

TOGETHER: Final = 2 * 1024 * 1024
"""What several busy streams share. Measured on loopback with four of them: a token of a fifth is
7 ms late at worst (p99) with 2 MiB in all, 14 with 4, 19 with 16."""

LEAST: Final = 256 * 1024
"""The least share: two large packets of ours, so that one can be under way while one is taken."""

MOST: Final = 64 * 1024 * 1024
"""The largest window: 1 Gbit/s over half a second, 5 over a tenth."""

PER_PROCESS: Final = 256 * 1024 * 1024
"""What the windows that grew by need may be together: memory, should all consumers stop at once."""

HEADROOM: Final = 3
"""A window over what was taken in a round trip: as much again is under way while that is told of,
and a window that is too small is taken by three quarters in one, so that this doubles it."""

SHORT: Final = 0.005
"""Seconds of a round trip below which a share is all that a stream needs: over 5 ms `TOGETHER` is
3 Gbit/s, and `ALONE` 6. What grew there would only stand in queues."""

BUSY: Final = 0.25
"""Seconds after it took a part of its window for which a stream counts as busy."""

GRANTS_PER_WINDOW: Final = 4
"""A window is opened again when this part of it was taken: rarely enough to cost nothing, early
enough that the peer need not wait for it."""

_NEVER: Final = 2**63


class Windows:
    """What the windows of a process share."""

    def __init__(self, most: int = MOST, free: int = PER_PROCESS) -> None:
        self.most = most
        self.free = free
        # When each busy window was last opened, the one that was so longest ago first.
        self._busy: dict[ReceiveWindow, float] = {}

    def share(self, window: ReceiveWindow, now: float) -> int:
        """What `window`, which is busy, may be by the first rule."""
        busy = self._busy
        busy.pop(window, None)
        while busy and busy[oldest := next(iter(busy))] < now - BUSY:
            del busy[oldest]
        busy[window] = now
        share = max(LEAST, TOGETHER // len(busy)) if len(busy) > 1 else ALONE
        return min(share, self.most)

    def give(self, had: int, wanted: int) -> int:
        """What a window that had grown to `had` by need and wants `wanted` may have."""
        granted = min(wanted, self.most, had + self.free)
        self.free += had - granted
        return granted

    def forget(self, window: ReceiveWindow) -> None:
        """The stream of `window` is over."""
        self._busy.pop(window, None)
        window.need = self.give(window.need, 0)


class ReceiveWindow:
    """The window of one channel's receiving direction."""

    __slots__ = (
        "_round_began", "_round_delivered", "_round_trip", "_windows",
        "need", "next_mark", "next_opening", "size",
    )  # fmt: skip

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        # The most that may be announced and not delivered, at first and later; and what of it is
        # by need.
        self.size = min(START, windows.most)
        self.need = 0
        # `opened` is to be called when so many bytes have been delivered.
        self.next_opening = self.size // GRANTS_PER_WINDOW
        # The round that is measured: `reached` is to be called when more bytes than this have
        # come; when it began and what was delivered then.
        self.next_mark = _NEVER
        self._round_began = 0.0
        self._round_delivered = 0
        # The least round trip so far, in seconds.
        self._round_trip = inf

    def opened(self, delivered: int, announced: int, now: float) -> int:
        """`delivered` bytes of `announced` have been taken by the consumer, at `now` (seconds).
        By how much is the window to be opened?"""
        size = self.size = max(self._windows.share(self, now), self.need)
        self.next_opening = delivered + size // GRANTS_PER_WINDOW
        more = size - (announced - delivered)
        if GRANTS_PER_WINDOW * more < size:
            return 0  # Its share has become smaller: it has enough.
        if self.next_mark == _NEVER:
            self.next_mark = announced
            self._round_began = now
            self._round_delivered = delivered
        return more

    def reached(self, delivered: int, now: float) -> None:
        """A byte beyond `next_mark` has come."""
        self.next_mark = _NEVER
        seconds = now - self._round_began
        if seconds <= 0:
            return
        self._round_trip = min(self._round_trip, seconds)
        taken = (delivered - self._round_delivered) * self._round_trip / seconds
        wanted = int(HEADROOM * taken) if self._round_trip >= SHORT else 0
        # Down only by and by: one slow round is no proof.
        wanted = max(wanted, self.need * 3 // 4)
        self.need = self._windows.give(self.need, wanted)


class FixedWindow:
    """The window of a channel whose bytes are used at once, and which has a flow control of its
    own inside: wide enough never to be the narrower of the two."""

    __slots__ = ("next_mark", "next_opening", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.next_mark = _NEVER
        self.next_opening = size // GRANTS_PER_WINDOW

    def opened(self, delivered: int, announced: int, now: float) -> int:
        """As `ReceiveWindow`'s."""
        self.next_opening = delivered + self.size // GRANTS_PER_WINDOW
        return self.size - (announced - delivered)

    def reached(self, delivered: int, now: float) -> None:
        """Nothing is measured."""
