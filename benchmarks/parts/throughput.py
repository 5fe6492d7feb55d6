"""One stream at full speed, in each direction: MiB per second, and the CPU time that it costs.

The cost is counted at A, B and C apart, over both directions, in CPU seconds per GB (10^9 bytes).
That of B is what the operator of a relay pays for.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import load
from benchmarks.chains import CHAINS, END_TO_END, OPENSSH, OPENSSH_END_TO_END, PLAIN, RELAY
from benchmarks.context import Context, Standing
from benchmarks.report import Result
from benchmarks.table import number

DIRECTIONS = {
    "download C→A, MiB/s": load.download,
    "upload A→C, MiB/s": load.upload,
}
COST = "CPU on {place}, s/GB"
COST_ORDER = ("B", "A", "C")

MIB = 1 << 20
GB = 10**9
WARM_UP_MIB = 64
"""Before the first round: grows the kernel's buffers and windows, and the interpreters' caches."""


def run(context: Context) -> Result:
    """Measure all chains, interleaved."""
    rounds, size_mib = context.settings.rounds, context.settings.size_mib
    end_to_end = context.settings.end_to_end
    chains = END_TO_END if end_to_end else CHAINS
    result = Result(
        part="throughput",
        about=f"one stream of {size_mib} MiB, {rounds} interleaved round{'s' * (rounds > 1)}",
        baselines=[OPENSSH_END_TO_END, RELAY] if end_to_end else [OPENSSH, PLAIN],
    )
    with context.chains(chains) as standing:
        result.notes += standing.notes
        for name in standing.chains:
            _measure(standing, name, min(size_mib, WARM_UP_MIB))
        for number in range(rounds):
            for name in rotated(list(standing.chains), number):
                samples = _measure(standing, name, size_mib)
                for measure, sample in samples.items():
                    result.add(measure, name, sample)
                context.say(f"round {number + 1} of {rounds}, {name}: {_brief(samples)}")
    result.sort(list(chains))
    return result


def rotated(names: Sequence[str], steps: int) -> list[str]:
    """The same order, begun elsewhere: no chain always follows the same one's heat."""
    start = steps % len(names) if names else 0
    return [*names[start:], *names[:start]]


def _measure(standing: Standing, name: str, size_mib: int) -> dict[str, float]:
    samples = {}
    size = size_mib * MIB
    with standing.using(name) as chain:
        before = chain.cpu_seconds()
        for measure, transfer in DIRECTIONS.items():
            with chain.connect() as stream:
                samples[measure] = size_mib / transfer(stream, size)
        after = chain.cpu_seconds()
    gigabytes = len(DIRECTIONS) * size / GB
    for place in COST_ORDER:
        samples[COST.format(place=place)] = (after[place] - before[place]) / gigabytes
    return samples


def _brief(samples: dict[str, float]) -> str:
    return ", ".join(f"{number(samples[measure])} {measure}" for measure in DIRECTIONS)
