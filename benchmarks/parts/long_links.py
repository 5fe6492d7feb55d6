"""One stream over a long way: 25 ms from A to B and from B to C, and back, so 100 ms for a round
trip from end to end; no loss and no limit of the rate.

This shows windows: a stream can have no more than one window under way, so it carries one window in
a round trip. (OpenSSH's windows end at B, whose round trips to A and to C take 50 ms each; ours
pass through B.) Of a window that grows, the growth belongs to the figure, but not the first moment:
the clock starts when a quarter of the amount that is timed has arrived on the same stream, and
stops when all has, at the end that receives.
"""

from __future__ import annotations

from benchmarks import load
from benchmarks.chains import ASYNCSSH, OPENSSH, OPENSSH_SESSION, Chain
from benchmarks.context import Context
from benchmarks.parts.interleaved import Samples, counted, interleaved
from benchmarks.report import Bar, Result

ONE_WAY_SECONDS = 0.025
"""Of one leg. A round trip crosses two legs twice."""
SIZE_MIB, QUICK_SIZE_MIB = 128, 32
WARM_UP_MIB = 128
"""A second or two of ours, in which the windows grow from 1 MiB to 40; more than three of
OpenSSH's, whose windows stay as they are."""
ROUNDS, QUICK_ROUNDS = 3, 1

DIRECTIONS = {
    "download C→A, MiB/s": load.steady_download,
    "upload A→C, MiB/s": load.steady_upload,
}
MIB = 1 << 20

BARS = [Bar(direction, least=8.0, against=OPENSSH) for direction in DIRECTIONS]


def run(context: Context) -> Result:
    """Measure relay, OpenSSH and, to show what the way itself allows, plain TCP."""
    settings, lineup = context.settings, context.settings.lineup
    size_mib = min(settings.size_mib, QUICK_SIZE_MIB if settings.quick else SIZE_MIB)
    rounds = min(settings.rounds, QUICK_ROUNDS if settings.quick else ROUNDS)
    result = Result(
        part="long-links",
        about=f"one stream of {size_mib} MiB, {ONE_WAY_SECONDS * 4000:g} ms from end to end and "
        f"back, {counted(rounds, 'interleaved round')}",
        baselines=list(lineup.baselines),
        subject=lineup.subject,
        bars=BARS,
    )
    left_out = {ASYNCSSH, OPENSSH_SESSION}
    chains = {name: build for name, build in lineup.chains.items() if name not in left_out}
    return interleaved(
        context,
        result,
        chains,
        measure=lambda chain: _measure(chain, size_mib),
        warm_up=lambda chain: _measure(chain, 1, 1),
        rounds=rounds,
        delay=ONE_WAY_SECONDS,
    )


def _measure(chain: Chain, size_mib: int, warm_up_mib: int = WARM_UP_MIB) -> Samples:
    size = size_mib * MIB
    samples = {}
    for measure, transfer in DIRECTIONS.items():
        with chain.connect() as stream:
            samples[measure] = size_mib / transfer(stream, size, warm_up_mib * MIB)
    return samples
