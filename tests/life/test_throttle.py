"""Who tries too fast waits, and nobody else does."""

from __future__ import annotations

from relay.core.limits import ATTEMPTS_AT_ONCE, ATTEMPTS_PER_SECOND
from relay.life.throttle import Throttle


def waits(throttle: Throttle, count: int, now: float = 0.0, address: str = "192.0.2.1") -> int:
    """How many of so many attempts at once have to wait."""
    return sum(throttle.attempt(address, now) > 0 for _ in range(count))


def test_some_are_free_and_the_rest_wait_their_turn() -> None:
    throttle = Throttle()
    assert waits(throttle, ATTEMPTS_AT_ONCE) == 0
    delays = [throttle.attempt("192.0.2.1", 0.0) for _ in range(3)]
    assert [round(delay * ATTEMPTS_PER_SECOND, 6) for delay in delays] == [1, 2, 3]


def test_sources_do_not_wait_for_one_another() -> None:
    throttle = Throttle()
    waits(throttle, 100)
    assert waits(throttle, 1, address="192.0.2.2") == 0


def test_time_pays() -> None:
    throttle = Throttle()
    waits(throttle, ATTEMPTS_AT_ONCE)
    assert waits(throttle, 2, now=1.01 / ATTEMPTS_PER_SECOND) == 1
    assert waits(throttle, ATTEMPTS_AT_ONCE, now=1000.0) == 0


def test_a_login_costs_nothing() -> None:
    throttle = Throttle()
    for _ in range(10 * ATTEMPTS_AT_ONCE):
        assert throttle.attempt("192.0.2.1", 0.0) == 0
        throttle.logged_in("192.0.2.1")
    throttle.logged_in("192.0.2.9")


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(size=2)
    waits(throttle, 100, address="192.0.2.1")
    for last in (2, 3):
        throttle.attempt(f"192.0.2.{last}", 0.0)
    assert waits(throttle, 1, address="192.0.2.1") == 0
