"""Who comes in, who does not, and who gives way, before anybody has logged in."""

from __future__ import annotations

import random
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import Startups
from relay.life.startups import StartupTable
from relay.settings.server import Limits

LIMITS = Limits(max_startups=Startups(10, 30, 100), per_source_max_startups=20)


def table(**counts: int) -> StartupTable[str]:
    """With so many connections of each source, which are called `a0`, `a1` …"""
    startups: StartupTable[str] = StartupTable()
    for source, count in counts.items():
        for number in range(count):
            startups.add(source, f"{source}{number}")
    return startups


def test_a_source_has_its_limit() -> None:
    startups = table(a=20)
    assert startups.refusal("a", LIMITS, 0.99) == "per-source-max-startups"
    assert startups.refusal("b", LIMITS, 0.0) == ""
    anybody = Limits(per_source_max_startups=0)
    assert startups.refusal("a", anybody, 0.99) == ""


def test_only_the_source_that_has_most_is_refused_at_random() -> None:
    startups = table(a=9, b=8)
    assert startups.refusal("a", LIMITS, 0.0) == "max-startups"
    assert startups.refusal("a", LIMITS, 0.99) == ""
    assert startups.refusal("b", LIMITS, 0.0) == ""
    assert table(a=9).refusal("a", LIMITS, 0.0) == "", "fewer than begin"


def test_full_keeps_nobody_out_who_has_fewer_than_another() -> None:
    startups = table(a=20, b=20, c=20, d=20, e=20)
    for newcomer in ("x", "y", "z"):
        assert startups.refusal(newcomer, LIMITS, 0.0) == ""
    assert startups.oldest_of_most() == "a0"
    startups.discard("a", "a0")
    assert startups.oldest_of_most() == "b0"
    startups.discard("c", "c5")
    assert startups.oldest_of_most() == "b0"


def test_where_nobody_has_most_the_oldest_gives_way() -> None:
    startups = table(a=1, b=1, c=1)
    assert startups.oldest_of_most() == "a0"
    assert table().oldest_of_most() is None


def test_where_descriptors_run_out_it_is_full() -> None:
    startups = table(a=2, b=1)
    assert startups.refusal("a", LIMITS, 0.99, scarce=True) == "max-startups"
    assert startups.refusal("b", LIMITS, 0.0, scarce=True) == ""


sources = st.sampled_from("abcd")


@given(st.lists(st.tuples(sources, st.booleans(), st.integers(0, 30)), max_size=200))
def test_it_is_what_counting_would_say(steps: list[tuple[str, bool, int]]) -> None:
    startups: StartupTable[int] = StartupTable()
    there: list[tuple[str, int]] = []
    for number, (source, comes, which) in enumerate(steps):
        if comes:
            startups.add(source, number)
            there.append((source, number))
        elif there:
            startups.discard(*there.pop(which % len(there)))
        startups.discard(source, -1)
        assert len(startups) == len(there)
        counts = Counter(source for source, _ in there)
        oldest = startups.oldest_of_most()
        assert (oldest is None) == (not there)
        if oldest is not None:
            owner = next(source for source, one in there if one == oldest)
            assert counts[owner] == max(counts.values())
            assert oldest == min(one for source, one in there if source == owner)
        for one in "abcd":
            most = bool(counts[one]) and counts[one] == max(counts.values())
            full = Limits(max_startups=Startups(1, 100, 1), per_source_max_startups=0)
            assert (startups.refusal(one, full, 0.0) == "max-startups") == most


def test_a_newcomer_takes_the_same_time_however_many_there_are() -> None:
    def seconds(count: int) -> float:
        startups = table(**{f"s{number}": 1 for number in range(count)})
        numbers = list(range(count))
        random.shuffle(numbers)
        best = 1.0
        for number in numbers[:200]:
            begun = time.perf_counter()
            startups.refusal(f"s{number}", LIMITS, 0.0)
            startups.discard(f"s{number}", f"s{number}0")
            startups.add(f"s{number}", f"s{number}0")
            startups.oldest_of_most()
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(100_000) < 20 * seconds(300)
