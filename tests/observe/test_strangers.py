"""What is told of connections that do not log in: bounded by source and in all, and counted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import STRANGER_LINES, STRANGER_SOURCES, STRANGERS_LINES
from relay.observe.strangers import OTHERS, Strangers

HERE = "192.0.2.1"

addresses = st.integers(0, 60).map(lambda last: f"192.0.2.{last}")


def test_a_source_is_told_of_and_then_counted() -> None:
    strangers = Strangers()
    told = [strangers.gone(HERE) for _ in range(1000)]
    assert told == [True] * STRANGER_LINES + [False] * (1000 - STRANGER_LINES)
    assert strangers.gone("192.0.2.2"), "it has lines of its own"
    assert list(strangers.report()) == [(HERE, 1000 - STRANGER_LINES)]
    assert strangers.gone(HERE)
    assert list(strangers.report()) == []


def test_what_else_it_does_costs_lines_and_is_not_counted() -> None:
    strangers = Strangers()
    assert sum(strangers.line(HERE) for _ in range(100)) == STRANGER_LINES
    assert not strangers.gone(HERE)
    assert list(strangers.report()) == [(HERE, 1)]


def test_a_login_gives_the_lines_back() -> None:
    strangers = Strangers()
    for _ in range(10):
        for _ in range(STRANGER_LINES):
            assert strangers.gone(HERE)
        strangers.logged_in(HERE)


@given(st.lists(st.tuples(addresses, st.booleans()), max_size=2000))
def test_every_connection_is_told_of_or_counted(events: list[tuple[str, bool]]) -> None:
    strangers = Strangers()
    lines: Counter[str] = Counter()
    gone = 0
    told = 0
    for address, end in events:
        gone += end
        if strangers.gone(address) if end else strangers.line(address):
            lines[address] += 1
            told += end
    assert lines.total() <= STRANGERS_LINES
    assert all(count <= STRANGER_LINES for count in lines.values())
    report = dict(strangers.report())
    assert told + sum(report.values()) == gone
    assert len(report.keys() - {OTHERS}) <= STRANGER_SOURCES
