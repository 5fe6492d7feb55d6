"""What it costs B to be looked at: `--http` on and scraped once a second, against the same chain
without; and how long the event loop is held while B has 10,000 services.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import observed
from benchmarks.chains import Chain, relay
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.parts.throughput import DIRECTIONS, GB, MIB, WARM_UP_MIB
from benchmarks.processes import Process, python
from benchmarks.report import Bar, Result

ALONE, SCRAPED = "relay", "relay, scraped"

WITHIN = 0.01
"""Of the speed without, and of what it costs B."""
COST = "CPU on B, s/GB"

LONGEST_TURN_MS = 5.0
LONGEST = "longest turn of the loop, ms: {path}"
NOTHING = "nothing asked"
QUICK_SERVICES = 1_000


def run(context: Context) -> Result:
    """Both chains interleaved, then the turns."""
    rounds, size_mib = context.settings.rounds, context.settings.size_mib
    services = QUICK_SERVICES if context.settings.quick else observed.SERVICES
    measures = [LONGEST.format(path=path or NOTHING) for path in ("", *observed.LOOKED_AT)]
    result = Result(
        part="observe",
        about=f"one stream of {size_mib} MiB beside a scrape each second, "
        f"{counted(rounds, 'interleaved round')}; {services:,} services",
        baselines=[ALONE],
        subject=SCRAPED,
        bars=[
            *(Bar(direction, least=1 - WITHIN, against=ALONE) for direction in DIRECTIONS),
            Bar(COST, most=1 + WITHIN, against=ALONE),
            *(Bar(measure, most=LONGEST_TURN_MS) for measure in measures[1:]),
        ],
    )
    chains = {ALONE: relay.build, SCRAPED: relay.with_flags("--http", "127.0.0.1:0")}
    interleaved(
        context, result, chains, lambda chain: _measure(chain, size_mib),
        lambda chain: _measure(chain, min(size_mib, WARM_UP_MIB)),
    )  # fmt: skip
    context.say(f"looking at {services:,} services")
    for measure, longest in zip(measures, observed.measure(services).values(), strict=True):
        result.add(measure, SCRAPED, longest)
    return result


def _measure(chain: Chain, size_mib: int) -> Samples:
    with _beside(chain):
        samples, before = {}, chain.cpu_seconds()["B"]
        for measure, transfer in DIRECTIONS.items():
            with chain.connect() as stream:
                samples[measure] = size_mib / transfer(stream, size_mib * MIB)
        gigabytes = len(DIRECTIONS) * size_mib * MIB / GB
        samples[COST] = (chain.cpu_seconds()["B"] - before) / gigabytes
        return samples


@contextmanager
def _beside(chain: Chain) -> Iterator[None]:
    """A scraper comes meanwhile, if there is something to scrape."""
    address = re.search(r"http at 127\.0\.0\.1:(\d+)", chain.b.output())
    if address is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        scraper = Process("scraper", python("benchmarks.peers.scraper", address[1]), Path(folder))
        try:
            scraper.wait_for("^1: scraped")
            yield
        finally:
            scraper.stop()
