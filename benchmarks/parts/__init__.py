"""The parts of the benchmark, by the name that the command line knows. Each is one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.context import Context
from benchmarks.parts import (
    fairness,
    idle,
    latency,
    legs,
    library,
    long_links,
    observe,
    requests,
    strangers,
    streams,
    throughput,
)
from benchmarks.report import Result

Part = Callable[[Context], Result]

CHAINS_OF_THEIR_OWN = frozenset({"idle", "legs", "library", "observe", "strangers"})
"""Parts that are not measured end to end."""

PARTS: Mapping[str, Part] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "requests": requests.run,
    "streams": streams.run,
    "fairness": fairness.run,
    "long-links": long_links.run,
    "idle": idle.run,
    "legs": legs.run,
    "strangers": strangers.run,
    "observe": observe.run,
    "library": library.run,
}
