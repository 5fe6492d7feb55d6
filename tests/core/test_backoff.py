"""The waits between tries, and how often a reason is said."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay.core.backoff import (
    FIRST,
    LONGEST,
    MAX_REASONS,
    SAID_AGAIN,
    SAID_RARELY,
    SLOW,
    WANTED,
    Backoff,
    Repeats,
)

chances = st.lists(st.floats(0, 1), min_size=1, max_size=100)
times = st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted)


def test_the_ceiling_doubles_from_half_a_second_to_half_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    waits = [backoff.next() for _ in range(9)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert (waits[0], waits[-1]) == (FIRST, LONGEST)


@given(chances)
def test_a_wait_is_drawn_from_all_that_is_below_the_ceiling(drawn: list[float]) -> None:
    source = iter(drawn)
    backoff = Backoff(lambda: next(source))
    for number, chance in enumerate(drawn):
        assert backoff.next() == chance * min(FIRST * 2**number, LONGEST)


@given(st.integers(0, 50), st.floats(0, 1))
def test_a_reset_begins_anew(failures: int, chance: float) -> None:
    backoff = Backoff(lambda: chance)
    for _ in range(failures):
        backoff.next()
    backoff.reset()
    assert backoff.next() == FIRST * chance


@given(st.floats(0, 1), st.integers(0, 10))
def test_the_slow_pace_is_slow_whatever_was_before(chance: float, failures: int) -> None:
    backoff = Backoff(lambda: chance)
    for _ in range(failures):
        backoff.next()
    assert SLOW / 2 <= backoff.slow() <= SLOW


@given(st.floats(0, 1), st.integers(0, 50))
def test_who_is_waited_for_comes_soon_however_often_it_failed(chance: float, failures: int) -> None:
    backoff = Backoff(lambda: chance)
    for _ in range(failures):
        backoff.next()
    assert backoff.wanted() == WANTED * chance


@given(st.lists(st.floats(0, 1), min_size=50, max_size=50))
def test_many_clients_do_not_come_back_together(drawn: list[float]) -> None:
    """Each at the place of its own number: no rule moves them together."""
    waits = [Backoff(lambda chance=chance: chance).next() for chance in drawn]  # type: ignore[misc]
    assert sorted(waits) == [FIRST * chance for chance in sorted(drawn)]


# -- what is said


@given(times)
def test_a_reason_is_said_at_once_and_then_at_growing_intervals(moments: list[float]) -> None:
    repeats = Repeats()
    said = [moment for moment in moments if repeats.due("refused", moment)]
    assert said[0] == moments[0]
    pauses = [later - earlier for earlier, later in pairwise(said)]
    for number, pause in enumerate(pauses):
        least = min(SAID_AGAIN * 2**number, SAID_RARELY)
        assert pause >= least or abs(pause - least) < 1e-6


def test_a_reason_is_said_as_often_as_promised() -> None:
    repeats = Repeats()
    said = [second for second in range(8 * 3600) if repeats.due("refused", second)]
    assert said[:4] == [0, 60, 180, 420]
    assert said[-1] - said[-2] == SAID_RARELY


def test_reasons_that_take_turns_are_each_said_once() -> None:
    repeats = Repeats()
    said = [now for now in range(50) if repeats.due("odd" if now % 2 else "even", now)]
    assert said == [0, 1]


def test_a_reset_makes_everything_news() -> None:
    repeats = Repeats()
    assert repeats.due("refused", 0)
    assert not repeats.due("refused", 1)
    repeats.reset()
    assert repeats.due("refused", 2)


def test_with_too_many_reasons_all_are_news_again() -> None:
    repeats = Repeats()
    for number in range(MAX_REASONS):
        assert repeats.due(f"reason {number}", 0)
        assert not repeats.due("reason 0", 0)
    assert repeats.due("one more", 0)
    assert repeats.due("reason 0", 0)


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats()
    for number in range(3 * MAX_REASONS):
        repeats.due(str(number), 0)
        assert len(repeats._said) <= MAX_REASONS
