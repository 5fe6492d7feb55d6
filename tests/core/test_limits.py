"""The limits of B: MaxStartups, sources that fail, and what is told of a limit that is hit."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from relay.core.backoff import Backoff
from relay.core.limits import (
    FIRST_DELAY,
    FORGIVEN_AFTER,
    MAX_DELAY,
    MAX_FAILED_TRIES,
    NetBlockSize,
    Startups,
)
from relay.life.sources import Sources, source_of
from relay.observe.tally import Tally

HERE = "192.0.2.1"


def chance_of(startups: Startups, waiting: int) -> int:
    """In percent: of the chances 0 to 99 %, how many lead to a refusal."""
    return sum(startups.refuses(waiting, percent / 100) for percent in range(100))


def test_startups_as_in_sshd_config() -> None:
    """ "sshd(8) will refuse connection attempts with a probability of rate/100 (30%) if there are
    currently start (10) unauthenticated connections. The probability increases linearly and all
    connection attempts are refused if the number of unauthenticated connections reaches full
    (60)." """
    startups = Startups(10, 30, 60)
    assert [chance_of(startups, n) for n in (0, 9, 10, 35, 60, 1000)] == [0, 0, 30, 65, 100, 100]


@given(
    st.integers(1, 50),
    st.integers(1, 100),
    st.integers(0, 50),
    st.integers(0, 200),
    st.floats(0, 1, exclude_max=True),
)
def test_one_more_is_never_less_likely_to_be_refused(
    begin: int, rate: int, more: int, waiting: int, chance: float
) -> None:
    startups = Startups(begin, rate, begin + more)
    if startups.refuses(waiting, chance):
        assert waiting >= begin
        assert startups.refuses(waiting + 1, chance)
    else:
        assert waiting < startups.full


def test_an_agent_that_waits_for_its_key_to_be_entered_is_no_attacker() -> None:
    """A day of its tries, each with the six keys of an ssh-agent."""
    sources, now = Sources(), 0.0
    backoff = Backoff(random.Random(1).random)
    while now < 24 * 3600:
        sources.failed(HERE, 6, MAX_FAILED_TRIES, now)
        assert sources.wait(HERE, now) == 0
        now += backoff.slow()


def test_who_does_not_wait_is_none_the_better_for_what_time_forgives() -> None:
    sources, now = Sources(), 0.0
    for _ in range(1000):
        sources.failed(HERE, 1, MAX_FAILED_TRIES, now)
        now += 1 + sources.wait(HERE, now)
    assert now > 1000 * 0.5 * FORGIVEN_AFTER


def test_the_defaults_read_as_sshd_writes_them() -> None:
    assert str(Startups()) == "10:30:100"


def test_some_failures_cost_nothing() -> None:
    sources = Sources()
    sources.failed(HERE, 5, 5, now=100)
    assert sources.wait(HERE, 100) == 0


def test_each_failure_more_doubles_the_wait() -> None:
    sources = Sources()
    sources.failed(HERE, 5, 5, now=0)
    waits = []
    for _ in range(20):
        sources.failed(HERE, 1, 5, now=0)
        waits.append(sources.wait(HERE, 0))
    assert waits[:4] == [FIRST_DELAY * factor for factor in (1, 2, 4, 8)]
    assert waits[-1] == MAX_DELAY
    assert sources.wait(HERE, MAX_DELAY - 1) == 1
    assert sources.wait(HERE, MAX_DELAY) == 0
    assert sources.wait("192.0.2.2", 0) == 0


def test_a_million_failures_at_once() -> None:
    sources = Sources()
    sources.failed(HERE, 1_000_000, 0, now=0)
    assert sources.wait(HERE, 0) == MAX_DELAY


def test_a_login_or_a_long_rest_clears_a_source() -> None:
    sources = Sources()
    sources.failed(HERE, 9, 5, now=0)
    sources.logged_in(HERE)
    assert sources.wait(HERE, 0) == 0
    sources.failed(HERE, 5, 5, now=0)
    sources.failed(HERE, 1, 5, now=MAX_DELAY + 1)
    assert sources.wait(HERE, MAX_DELAY + 1) == 0


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    sources = Sources(size=3)
    for last in (1, 2, 3, 1, 4):
        sources.failed(f"192.0.2.{last}", 1, 0, now=0)
    assert len(sources) == 3
    assert [bool(sources.wait(f"192.0.2.{last}", 0)) for last in (1, 2, 3, 4)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_a_source_is_what_one_customer_has() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("somewhere") == "somewhere"


def test_the_size_of_a_source_may_be_another() -> None:
    size = NetBlockSize(24, 48)
    assert source_of("192.0.2.1", size) == source_of("192.0.2.255", size) == "192.0.2.0/24"
    assert source_of("2001:db8::1", size) == source_of("2001:db8:0:9::1", size) == "2001:db8::/48"
    everybody = NetBlockSize(0, 0)
    assert source_of("192.0.2.1", everybody) == source_of("198.51.100.1", everybody)


def test_both_are_written_as_sshd_config_has_them() -> None:
    assert str(Startups(10, 30, 60)) == "10:30:60"
    assert str(NetBlockSize(24, 48)) == "24:48"


def test_a_limit_is_told_once_and_then_counted() -> None:
    tally = Tally()
    assert tally.hit("a")
    assert tally.hit("b")
    assert [tally.hit("a") for _ in range(1000)] == [False] * 1000
    assert list(tally.report()) == [("a", 1000)]
    assert not tally.hit("a")
    assert tally.hit("b"), "it rested for a whole report"
    assert list(tally.report()) == [("a", 1)]
    assert list(tally.report()) == []
    assert tally.hit("a")
