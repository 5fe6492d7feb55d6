"""`/metrics`: Prometheus' text format, made a little in each turn of the loop.

The library makes all of it in one go, at 25 µs for each row. So it is given some rows at a time,
and of a family that goes on its head is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
from prometheus_client import Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import relay
from relay.io.turns import in_turn

ROWS_PER_TURN: Final = 32
"""A millisecond."""

Row = tuple[Sequence[str], float]
"""The values of its labels, and its own."""

DELAYS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds: the bounds of the histogram of how late the loop is."""


@dataclass(frozen=True, slots=True)
class Family:
    """All rows of one name."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    help: str
    labels: tuple[str, ...]
    rows: Iterable[Row]


def counter(name: str, text: str, rows: float | Iterable[Row], *labels: str) -> Family:
    """Its name ends in _total."""
    return Family(CounterMetricFamily, name, text, labels, _rows(rows))


def gauge(name: str, text: str, rows: float | Iterable[Row], *labels: str) -> Family:
    return Family(GaugeMetricFamily, name, text, labels, _rows(rows))


def _rows(rows: float | Iterable[Row]) -> Iterable[Row]:
    return [((), rows)] if isinstance(rows, (int, float)) else rows


@dataclass(frozen=True, slots=True)
class _Collected:
    """What the library asks."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        return self.metrics


async def exposition(families: Iterable[Family], *others: Histogram) -> AsyncIterator[bytes]:
    """The whole text in pieces, with what every program has."""
    for family in (*families, _build()):
        async for piece in _pieces(family):
            yield piece
    for other in others:
        yield generate_latest(_Collected(list(other.collect())))
    # It counts our descriptors, which takes the kernel a while when there are many.
    process: list[Metric] = await anyio.to_thread.run_sync(_process)
    yield generate_latest(_Collected(process))


async def _pieces(family: Family) -> AsyncIterator[bytes]:
    is_first = True
    async for rows in in_turn(family.rows, ROWS_PER_TURN):
        metric: Any = family.kind(family.name, family.help, labels=family.labels)
        for labels, value in rows:
            metric.add_metric(labels, value)
        text = generate_latest(_Collected([metric]))
        yield text if is_first else b"".join(_without_head(text))
        is_first = False


def _without_head(text: bytes) -> Iterator[bytes]:
    return (line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))


def _build() -> Family:
    return gauge(
        "relay_build_info", "The release that runs.", [((relay.__version__,), 1)], "version"
    )


def _process() -> list[Metric]:
    return list(ProcessCollector(registry=None).collect())


async def loop_delays() -> Histogram:
    """That of how late the loop is; nothing is in it yet."""
    histogram = Histogram(
        "relay_loop_delay_seconds",
        "How much later than it wanted a task of the event loop had its turn.",
        buckets=DELAYS,
        registry=None,
    )
    # The first time costs 25 ms more, and now no stream waits for it.
    generate_latest(_Collected(await anyio.to_thread.run_sync(_process)))
    return histogram
