"""Fifty streams at once, each with one small request after the other: requests per second.

What a relay does for many clients that ask for little: neighbouring packets can share the work.
"""

from __future__ import annotations

from benchmarks import crowd
from benchmarks.chains import OPENSSH, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.report import Bar, Result

STREAMS = 50
SECONDS, QUICK_SECONDS = 3.0, 0.5
WARM_UP_SECONDS = 0.5

RATE = "requests per second"

BARS = [Bar(RATE, least=1.2, against=OPENSSH)]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    settings, lineup = context.settings, context.settings.lineup
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    rounds = counted(settings.rounds, "interleaved round")
    result = Result(
        part="requests",
        about=f"{STREAMS} streams at once, 64 bytes there and back, {seconds:g} s, {rounds}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )
    return interleaved(
        context,
        result,
        lineup.chains,
        measure=lambda chain: _measure(chain, seconds),
        warm_up=lambda chain: _measure(chain, WARM_UP_SECONDS),
    )


def _measure(chain: Chain, seconds: float) -> Samples:
    return {RATE: crowd.requests_per_second(chain.connect, STREAMS, seconds)}
