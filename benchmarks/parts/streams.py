"""New streams: connect, 64 bytes there and back, close; twenty at a time, so many per second.

What clients cost that open a connection for each request, as most HTTP clients in scripts do.
"""

from __future__ import annotations

from benchmarks import crowd
from benchmarks.chains import OPENSSH, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.report import Bar, Result

AT_ONCE = 20
STREAMS, QUICK_STREAMS = 2000, 500
WARM_UP = 100

RATE = "streams per second"

BARS = [Bar(RATE, least=3.0, against=OPENSSH)]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    settings, lineup = context.settings, context.settings.lineup
    count = QUICK_STREAMS if settings.quick else STREAMS
    rounds = counted(settings.rounds, "interleaved round")
    result = Result(
        part="streams",
        about=f"connect, 64 bytes there and back, close: {count}, {AT_ONCE} at a time, {rounds}",
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
    return {RATE: crowd.streams_per_second(chain.connect, count, AT_ONCE)}
