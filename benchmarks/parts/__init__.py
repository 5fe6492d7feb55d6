"""The parts of the benchmark, by the name that the command line knows. Each is one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.context import Context
from benchmarks.parts import strangers, throughput
from benchmarks.report import Result

Part = Callable[[Context], Result]

PARTS: Mapping[str, Part] = {
    "throughput": throughput.run,
    "strangers": strangers.run,
}
