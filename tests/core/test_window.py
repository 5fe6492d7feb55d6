"""The receive window on simulated paths: no socket, no clock but a number."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.window import (
    ALONE,
    BUSY,
    HEADROOM,
    LEAST,
    MOST,
    SHORT,
    START,
    TOGETHER,
    ReceiveWindow,
    Windows,
)

MIB = 1 << 20
PACKET = 32 * 1024
TICK = 0.001


class Receiver:
    """A channel's receiving end, as an endpoint drives its window."""

    def __init__(self, windows: Windows) -> None:
        self.window = ReceiveWindow(windows)
        self.received = self.delivered = 0
        self.announced = self.window.size

    def arrive(self, size: int, now: float) -> None:
        assert self.received + size <= self.announced
        self.received += size
        if self.received > self.window.next_mark:
            self.window.reached(self.delivered, now)

    def deliver(self, size: int, now: float) -> int:
        """The consumer takes `size`; returns what is granted."""
        self.delivered += size
        if self.delivered < self.window.next_opening:
            return 0
        more = self.window.opened(self.delivered, self.announced, now)
        self.announced += more
        return more

    @property
    def open(self) -> int:
        return self.announced - self.delivered


def run(receiver: Receiver, *, trip: float, rate: float, seconds: float, begin: float = 1.0) -> int:
    """A sender of at most `rate` bytes a second over a path with a round trip of `trip` seconds;
    a consumer that takes all at once. Returns the bytes of the last second."""
    now, credit, sent = begin, receiver.announced - receiver.received, 0.0
    data: deque[tuple[float, int]] = deque()
    grants: deque[tuple[float, int]] = deque()
    counted = 0
    while now < begin + seconds:
        now += TICK
        while grants and grants[0][0] <= now:
            credit += grants.popleft()[1]
        sent = min(sent + rate * TICK, 4 * PACKET)  # A sender that had to wait does not catch up.
        while sent >= 1 and credit > 0:
            size = int(min(PACKET, sent, credit))
            sent -= size
            credit -= size
            data.append((now + trip / 2, size))
        while data and data[0][0] <= now:
            size = data.popleft()[1]
            receiver.arrive(size, now)
            if more := receiver.deliver(size, now):
                grants.append((now + trip / 2, more))
            if now > begin + seconds - 1:
                counted += size
    return counted


def test_a_long_path_is_filled() -> None:
    """100 MiB/s over a tenth of a second want 10 MiB under way, ten times the first window."""
    receiver = Receiver(Windows())
    counted = run(receiver, trip=0.1, rate=100 * MIB, seconds=8)
    assert counted >= 0.95 * 100 * MIB
    assert receiver.window.need <= 2.2 * HEADROOM * 10 * MIB


def test_a_short_path_gets_its_share_and_no_more() -> None:
    receiver = Receiver(Windows())
    run(receiver, trip=0.002, rate=100 * MIB, seconds=2)
    assert receiver.open <= ALONE


@pytest.mark.parametrize(("trip", "grows"), [(SHORT / 2, False), (2 * SHORT, True)])
def test_need_is_what_a_long_round_trip_makes(trip: float, grows: bool) -> None:
    receiver = Receiver(Windows())
    receiver.arrive(START, 1.0)
    receiver.deliver(START, 1.0)
    receiver.arrive(PACKET, 1.0 + trip)  # The first round trip, in which nothing was taken.
    assert receiver.window.need == 0
    receiver.arrive(ALONE // 2, 2.0)
    receiver.deliver(ALONE // 2, 2.0)
    mark = receiver.window.next_mark
    receiver.arrive(mark - receiver.received, 2.0)
    receiver.deliver(receiver.received - receiver.delivered, 2.0)
    assert receiver.window.need == 0
    receiver.arrive(PACKET, 2.0 + trip)
    assert receiver.window.need == (HEADROOM * ALONE // 2 if grows else 0)


def test_a_slow_source_does_not_make_the_window_grow() -> None:
    """Its data takes long to pass a mark, which is not the path's doing."""
    windows = Windows()
    receiver = Receiver(windows)
    run(receiver, trip=0.001, rate=2 * MIB, seconds=10)
    assert receiver.open <= ALONE
    assert receiver.window.need <= HEADROOM * ALONE


def test_the_largest_window_is_a_limit() -> None:
    for most in (3 * MIB, LEAST):
        receiver = Receiver(Windows(most=most))
        assert receiver.announced <= most
        run(receiver, trip=0.2, rate=100 * MIB, seconds=4)
        assert receiver.open <= most
        assert receiver.window.need <= most


def test_all_windows_together_are_bounded_and_what_ends_gives_back() -> None:
    windows = Windows(free=8 * MIB)
    receivers = [Receiver(windows) for _ in range(3)]
    for number, receiver in enumerate(receivers):
        run(receiver, trip=0.1, rate=100 * MIB, seconds=4, begin=100.0 * number + 1)
        assert sum(one.window.need for one in receivers) <= 8 * MIB
    assert windows.free == 8 * MIB - sum(one.window.need for one in receivers)
    for receiver in receivers:
        windows.forget(receiver.window)
    assert windows.free == 8 * MIB


def test_busy_streams_share() -> None:
    windows = Windows()
    one, two = ReceiveWindow(windows), ReceiveWindow(windows)
    assert windows.share(one, 1.0) == ALONE
    assert windows.share(two, 1.0) == TOGETHER // 2
    assert windows.share(one, 1.1) == TOGETHER // 2
    assert windows.share(one, 1.1 + 2 * BUSY) == ALONE
    windows.share(two, 2.0)
    windows.forget(two)
    assert windows.share(one, 2.0) == ALONE


def test_a_share_never_falls_below_the_least() -> None:
    windows = Windows()
    shares = [windows.share(ReceiveWindow(windows), 1.0) for _ in range(100)]
    assert shares[-1] == LEAST


def test_a_window_that_must_shrink_is_not_opened_until_it_has() -> None:
    windows = Windows()
    receiver = Receiver(windows)
    receiver.arrive(START, 1.0)
    receiver.deliver(START, 1.0)
    assert receiver.open == ALONE
    others = [ReceiveWindow(windows) for _ in range(3)]
    for _ in range(6):
        for other in others:
            windows.share(other, 1.0)
        receiver.arrive(ALONE // 8, 1.0)
        assert receiver.deliver(ALONE // 8, 1.0) == 0
    receiver.arrive(ALONE // 4, 1.0)
    receiver.deliver(ALONE // 4, 1.0)
    assert receiver.open <= TOGETHER // len(others)


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 1e-4, 0.01, 0.3]),
            st.integers(0, 4),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_whatever_comes_a_sender_is_never_left_without_window(
    steps: list[tuple[float, float, float, int]],
) -> None:
    """When all that was announced has come and was taken, more has been announced."""
    windows = Windows(free=4 * MIB)
    receiver, now = Receiver(windows), 1.0
    for arrives, taken, pause, others in steps:
        now += pause
        for _ in range(others):
            windows.share(ReceiveWindow(windows), now)
        receiver.arrive(int(arrives * (receiver.announced - receiver.received)), now)
        receiver.deliver(int(taken * (receiver.received - receiver.delivered)), now)
        assert 0 <= receiver.open <= max(START, ALONE, MOST)
        assert 0 <= windows.free <= 4 * MIB
    receiver.arrive(receiver.announced - receiver.received, now)
    receiver.deliver(receiver.received - receiver.delivered, now)
    assert receiver.open >= LEAST


@pytest.mark.parametrize("trip", [0.02, 0.1, 0.3])
def test_the_window_follows_the_path_up(trip: float) -> None:
    receiver = Receiver(Windows())
    run(receiver, trip=trip, rate=50 * MIB, seconds=12)
    assert receiver.window.need >= 50 * MIB * trip
