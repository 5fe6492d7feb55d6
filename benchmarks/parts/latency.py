"""A request and a reply of 64 bytes each on an open stream, nothing else under way.

What a person waits for in a shell or between two calls of an API: it is made of wake-ups, and
hardly of bytes.
"""

from __future__ import annotations

from statistics import quantiles

from benchmarks import load
from benchmarks.chains import OPENSSH, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.report import Bar, Result

REQUESTS, QUICK_REQUESTS = 5000, 2000
WARM_UP = 500

P50, P99 = "p50, µs", "p99, µs"

BARS = [Bar(measure, most=0.9, against=OPENSSH) for measure in (P50, P99)]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    settings, lineup = context.settings, context.settings.lineup
    count = QUICK_REQUESTS if settings.quick else REQUESTS
    rounds = counted(settings.rounds, "interleaved round")
    result = Result(
        part="latency",
        about=f"64 bytes there and back on an open stream, {count} times, {rounds}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )
    return interleaved(
        context,
        result,
        lineup.chains,
        measure=lambda chain: _measure(chain, count),
        warm_up=lambda chain: _measure(chain, WARM_UP),
    )


def _measure(chain: Chain, count: int) -> Samples:
    with chain.connect() as stream:
        load.begin_echo(stream)
        seconds = load.round_trips(stream, count)
    percentile = quantiles(seconds, n=100)
    return {P50: percentile[49] * 1e6, P99: percentile[98] * 1e6}
