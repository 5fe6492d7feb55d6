"""The parts about B's memory, with few streams and few agents. No figure is judged."""

from __future__ import annotations

from benchmarks.chains import CHAINS, HUBS, PLAIN, RELAY
from benchmarks.context import Context, Settings
from benchmarks.parts import idle, legs


def test_streams_are_open_at_the_same_time() -> None:
    context = Context(Settings(rounds=1, size_mib=1))
    with context.chains({PLAIN: CHAINS.chains[PLAIN]}) as standing:
        samples = idle.measure(standing.chains[PLAIN], 60)
    assert samples[idle.OPEN] == 60
    assert idle.MEMORY in samples


def test_agents_come_back_after_a_restart() -> None:
    samples = legs.measure(HUBS[RELAY], 3)
    assert list(samples) == [legs.MEMORY, legs.BACK]
    assert samples[legs.BACK] > 0
