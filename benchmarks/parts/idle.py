"""What an open stream that does nothing costs B: its memory, over all of its processes.

All streams go through one leg of A's and one of C's. Memory is PSS, which counts a page that
several processes share in parts: sshd's processes share most of their pages. What the kernel holds
is not in it; B's kernel holds nothing for a stream of ours, and two sockets for one of sshd's.

B's own limit of streams on a leg is raised by a flag, and the descriptors of A, C and this process
to the hard limit. OpenSSH gets fewer streams: it looks at all of them whenever one of them moves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks import load
from benchmarks.chains import ASYNCSSH, CHAINS, OPENSSH, RELAY, Chain, relay
from benchmarks.context import Context
from benchmarks.processes import raise_descriptor_limit
from benchmarks.report import Bar, Result

STREAMS: Mapping[str, int] = {RELAY: 10_000, OPENSSH: 1_000, ASYNCSSH: 1_000}
QUICK_STREAMS: Mapping[str, int] = {RELAY: 2_000, OPENSSH: 300}
AT_ONCE = 50
"""Opened before the first of them is waited for; fewer than wait in any backlog."""
SPARE_DESCRIPTORS = 200
SETTLE_SECONDS = 1.0

MEMORY = "B's memory per open stream, KiB"

BARS = [Bar(MEMORY, most=8.0)]


def run(context: Context) -> Result:
    """Measure one chain after the other: memory is no matter of luck."""
    most = raise_descriptor_limit() - SPARE_DESCRIPTORS
    wanted = QUICK_STREAMS if context.settings.quick else STREAMS
    streams = {name: min(count, most) for name, count in wanted.items()}
    counts = ", ".join(f"{count} of {name}" for name, count in streams.items())
    result = Result(
        part="idle",
        about=f"streams that are open and idle: {counts}",
        baselines=[OPENSSH],
        bars=BARS,
    )
    chains = {name: CHAINS.chains[name] for name in streams}
    chains[RELAY] = relay.with_flags("--channels-per-leg", str(2 * streams[RELAY]))
    with context.chains(chains) as standing:
        result.notes += standing.notes
        for name in standing.chains:
            with standing.using(name) as chain:
                kib = measure(chain, streams[name])
            result.add(MEMORY, name, kib)
            context.say(f"{name}: {kib:.1f} KiB for each of {streams[name]}")
    result.sort(list(chains))
    return result


def measure(chain: Chain, count: int) -> float:
    """KiB of B's for each of so many streams."""
    with _open(chain, AT_ONCE):
        pass
    time.sleep(SETTLE_SECONDS)
    before = chain.b.memory()
    with _open(chain, count):
        time.sleep(SETTLE_SECONDS)
        after = chain.b.memory()
    return (after - before) / count / 1024


@contextmanager
def _open(chain: Chain, count: int) -> Iterator[None]:
    """Streams that stand from end to end: each has carried something."""
    with ExitStack() as stack:
        for opened in range(0, count, AT_ONCE):
            some = range(opened, min(opened + AT_ONCE, count))
            streams = [stack.enter_context(chain.connect()) for _ in some]
            for stream in streams:
                stream.sendall(load.ECHO + load.REQUEST)
            for stream in streams:
                load.receive_reply(stream)
        yield
