"""The parts with small messages, on the chain that needs nothing installed. No figure is judged."""

from __future__ import annotations

import pytest

from benchmarks.chains import PLAIN
from benchmarks.context import Context, Settings
from benchmarks.parts import Part, latency, requests, streams


@pytest.mark.parametrize(
    ("part", "measures"),
    [
        (latency.run, [latency.P50, latency.P99, latency.P50_ONE_CORE, latency.P99_ONE_CORE]),
        (requests.run, [requests.RATE]),
        (streams.run, [streams.RATE]),
    ],
)
def test_every_measure_gets_samples(part: Part, measures: list[str]) -> None:
    context = Context(Settings(rounds=1, size_mib=1, quick=True, only=(PLAIN,)))
    result = part(context)
    assert result.measures() == measures
    assert all(row.chain == PLAIN and row.samples for row in result.series)
    assert all(row.lowest > 0 for row in result.series)
    assert not context.failed
