"""A stream of tokens beside bulk: how late its messages are while four downloads fill the legs.

The service sends 100 bytes every 20 ms, as a language model does, with the time in each; A looks at
the clock when they come (all on one machine: one clock). The downloads go through the same two
legs, to a process of their own that takes them as fast as they come. The delay without any bulk is
measured as well: what is over it is the queues'. So is the bulk's rate: fairness is not to be
bought by idling. All programs together want more than two cores, so that even the plain relays wait
for the processor: their delay is the machine's, and what an encrypted chain has less of it, it has
by moving less bulk.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from benchmarks import load, service
from benchmarks.chains import OPENSSH, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.processes import Process, python
from benchmarks.report import Bar, Result

BULK_STREAMS = 4
SECONDS, QUICK_SECONDS = 10, 3
ALONE_SHARE = 3
"""The delay without bulk hardly varies: a third of the time is enough for it."""
WARM_UP_SECONDS = 0.7
SETTLE_SECONDS = 0.3
"""After the bulk: what is under way is thrown away, and its streams are closed."""
ROUNDS, QUICK_ROUNDS = 3, 2

P50, P99 = "p50 beside bulk, ms", "p99 beside bulk, ms"
ALONE, ADDED = "p99 alone, ms", "added to p99, ms"
BULK = "bulk meanwhile, MiB/s"

MIB = 1 << 20

BARS = [Bar(P99, most=0.2, against=OPENSSH)]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    settings, lineup = context.settings, context.settings.lineup
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    rounds = min(settings.rounds, QUICK_ROUNDS if settings.quick else ROUNDS)
    result = Result(
        part="fairness",
        about=f"delay of {service.TOKEN} bytes every {service.TOKEN_SECONDS * 1000:g} ms beside "
        f"{BULK_STREAMS} downloads, {seconds} s, {counted(rounds, 'interleaved round')}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )
    return interleaved(
        context,
        result,
        lineup.chains,
        measure=lambda chain: _measure(chain, seconds),
        warm_up=lambda chain: _p50_and_p99(chain, 0.2),
        rounds=rounds,
    )


def _measure(chain: Chain, seconds: float) -> Samples:
    _, alone = _p50_and_p99(chain, seconds / ALONE_SHARE)
    with _bulk(chain.port, seconds) as consumer:
        p50, p99 = _p50_and_p99(chain, seconds)
        taken = int(consumer.wait_for(r"^took (\d+)$")[1])
    time.sleep(SETTLE_SECONDS)
    return {P50: p50, P99: p99, ALONE: alone, ADDED: p99 - alone, BULK: taken / MIB / seconds}


def _p50_and_p99(chain: Chain, seconds: float) -> tuple[float, float]:
    """Of a stream of tokens that lasts so long, in milliseconds."""
    with chain.connect() as stream:
        delays = load.token_delays(stream, round(seconds / service.TOKEN_SECONDS))
    percentile = quantiles(delays, n=100)
    return percentile[49] * 1000, percentile[98] * 1000


@contextmanager
def _bulk(port: int, seconds: float) -> Iterator[Process]:
    """Downloads that flow from here on for so long."""
    arguments = map(str, (port, BULK_STREAMS, WARM_UP_SECONDS, seconds))
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        consumer = Process("bulk", python("benchmarks.peers.consumer", *arguments), Path(folder))
        try:
            consumer.wait_for("^flowing$")
            yield consumer
        finally:
            consumer.stop()
