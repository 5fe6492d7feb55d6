"""The parts about B's memory, with few streams and few agents. No figure is judged."""

from __future__ import annotations

import pytest

from benchmarks.chains import HUBS, RELAY
from benchmarks.context import Context, Settings
from benchmarks.parts import idle, legs


def test_b_is_weighed_with_all_streams_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle, "STREAMS", {RELAY: 60})
    result = idle.run(Context(Settings(rounds=1, size_mib=1)))
    assert result.about.endswith("60 of relay")
    assert [(row.measure, row.chain) for row in result.series] == [(idle.MEMORY, RELAY)]


def test_agents_come_back_after_a_restart() -> None:
    samples = legs.measure(HUBS[RELAY], 3)
    assert list(samples) == [legs.MEMORY, legs.BACK]
    assert samples[legs.BACK] > 0
