"""The parts with bulk, on the chain that needs nothing installed. No figure is judged."""

from __future__ import annotations

import pytest

from benchmarks.chains import PLAIN
from benchmarks.context import Context, Settings
from benchmarks.parts import fairness, long_links


def test_tokens_are_timed_beside_bulk_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "QUICK_SECONDS", 0.3)
    context = Context(Settings(rounds=1, size_mib=1, quick=True, only=(PLAIN,)))
    result = fairness.run(context)
    assert result.measures() == [
        fairness.P50,
        fairness.P99,
        fairness.ALONE,
        fairness.ADDED,
        fairness.BULK,
    ]
    bulk = result.find(fairness.BULK, PLAIN)
    assert bulk is not None
    assert bulk.lowest > 0


def test_a_long_way_is_measured_in_both_directions() -> None:
    context = Context(Settings(rounds=1, size_mib=1, quick=True, only=(PLAIN,)))
    result = long_links.run(context)
    assert result.measures() == list(long_links.DIRECTIONS)
    assert all(row.lowest > 0 for row in result.series)
    assert not context.failed
