"""One stream at full speed, in each direction: MiB per second, and the CPU time that it costs.

The cost is counted at A, B and C apart, over both directions, in CPU seconds per GB (10^9 bytes).
That of B is what the operator of a relay pays for.
"""

from __future__ import annotations

from benchmarks import load
from benchmarks.chains import OPENSSH, PLAIN, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.report import Bar, Result

DIRECTIONS = {
    "download C→A, MiB/s": load.download,
    "upload A→C, MiB/s": load.upload,
}
COST = "CPU on {place}, s/GB"
COST_ORDER = ("B", "A", "C")

MIB = 1 << 20
GB = 10**9
WARM_UP_MIB = 64

BARS = [
    *(Bar(direction, least=1.7, against=OPENSSH) for direction in DIRECTIONS),
    *(Bar(direction, least=0.75, against=PLAIN) for direction in DIRECTIONS),
    Bar(COST.format(place="B"), most=0.4, against=OPENSSH),
]


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    rounds, size_mib = context.settings.rounds, context.settings.size_mib
    lineup = context.settings.lineup
    result = Result(
        part="throughput",
        about=f"one stream of {size_mib} MiB, {counted(rounds, 'interleaved round')}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )

    def warm_up(chain: Chain) -> None:
        _measure(chain, min(size_mib, WARM_UP_MIB))

    return interleaved(
        context, result, lineup.chains, lambda chain: _measure(chain, size_mib), warm_up
    )


def _measure(chain: Chain, size_mib: int) -> Samples:
    samples = {}
    size = size_mib * MIB
    before = chain.cpu_seconds()
    for measure, transfer in DIRECTIONS.items():
        with chain.connect() as stream:
            samples[measure] = size_mib / transfer(stream, size)
    after = chain.cpu_seconds()
    gigabytes = len(DIRECTIONS) * size / GB
    for place in COST_ORDER:
        samples[COST.format(place=place)] = (after[place] - before[place]) / gigabytes
    return samples
