"""A request and a reply of 64 bytes each on an open stream, nothing else under way.

What a person waits for in a shell or between two calls of an API: it is made of wake-ups, and
hardly of bytes. To wake a process on another core takes as long as all the rest, and which core a
process is on is the scheduler's choice, for a second or for a minute. So it is measured twice: as
it comes, in many short rounds; and with all processes on one core, which hardly varies and shows
what the programs do.
"""

from __future__ import annotations

from statistics import quantiles

from benchmarks import load
from benchmarks.chains import OPENSSH, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.processes import one_core
from benchmarks.report import Bar, Result

REQUESTS = 1000
"""Enough for a 99th percentile; the next round meets other cores."""
ROUNDS, QUICK_ROUNDS = 5, 3
"""For each round of the command line."""

P50, P99 = "p50, µs", "p99, µs"
P50_ONE_CORE, P99_ONE_CORE = "p50 on one core, µs", "p99 on one core, µs"

BARS = [Bar(measure, most=0.9, against=OPENSSH) for measure in (P50, P99)]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    settings, lineup = context.settings, context.settings.lineup
    rounds = settings.rounds * (QUICK_ROUNDS if settings.quick else ROUNDS)
    result = Result(
        part="latency",
        about=f"64 bytes there and back on an open stream, {REQUESTS} times, "
        f"{counted(rounds, 'interleaved round')}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )
    _add(context, result, rounds, P50, P99)
    with one_core():
        _add(context, result, rounds, P50_ONE_CORE, P99_ONE_CORE)
    return result


def _add(context: Context, result: Result, rounds: int, p50: str, p99: str) -> None:
    def measure(chain: Chain) -> Samples:
        with chain.connect() as stream:
            load.begin_echo(stream)
            percentile = quantiles(load.round_trips(stream, REQUESTS), n=100)
        return {p50: percentile[49] * 1e6, p99: percentile[98] * 1e6}

    chains = context.settings.lineup.chains
    interleaved(context, result, chains, measure, warm_up=measure, rounds=rounds)
