"""What one peer does is told of, or counted, and never forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.observe.damper import LINES, LINES_OF, MINUTE, OTHERS, PEERS_TOLD, Damper


def test_a_stream_is_worth_more_lines_and_leaves_its_bytes() -> None:
    damper = Damper()
    fields = {"there": 3, "back": 5, "seconds": 0.1}
    told = [damper.tells("one", "splice closed", fields) for _ in range(1000)]
    lines = LINES_OF["splice closed"]
    assert told == [True] * lines + [False] * (1000 - lines)
    rest = 1000 - lines
    assert list(damper.report(0.0)) == [
        ("one", "splice closed", rest, {"there": 3 * rest, "back": 5 * rest})
    ]
    assert damper.tells("one", "splice closed", fields)
    assert list(damper.report(0.0)) == []


def test_a_minute() -> None:
    damper = Damper()
    assert damper.over(1000.0)
    assert list(damper.report(1000.0)) == []
    assert not damper.over(1000.0 + MINUTE - 1)
    assert damper.over(1000.0 + MINUTE)


peers = st.integers(0, 2 * PEERS_TOLD).map(str)
events = st.sampled_from(["leg up", "leg down"])


@given(st.lists(st.tuples(peers, events, st.integers(1, 2 * LINES)), max_size=60))
def test_every_event_is_told_of_or_counted(happened: list[tuple[str, str, int]]) -> None:
    damper = Damper()
    all_of: Counter[str] = Counter()
    told: Counter[tuple[str, str]] = Counter()
    for peer, event, count in happened:
        all_of[event] += count
        told[peer, event] += sum(damper.tells(peer, event, {}) for _ in range(count))
    assert all(count <= LINES for count in told.values())
    counted: Counter[str] = Counter()
    named = set()
    for peer, event, count, _ in damper.report(0.0):
        named.add(peer)
        counted[event] += count
    for event in all_of:
        lines = sum(count for (_, of), count in told.items() if of == event)
        assert lines + counted[event] == all_of[event]
    assert len(named - {OTHERS}) <= PEERS_TOLD
