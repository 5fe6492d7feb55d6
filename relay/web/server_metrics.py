"""The metrics of relay-server: read when they are asked for, as its `Relay` has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from prometheus_client import Histogram

from relay.core.traffic import Traffic
from relay.server.relay import Relay
from relay.web.metrics import Family, Row, counter, exposition, gauge

OTHER = "other"
"""All services that have no row of their own. (Each name of one has a port.)"""


async def server_metrics(relay: Relay, *others: Histogram) -> AsyncIterator[bytes]:
    """The pieces of the text."""
    reading = await relay.reading()
    families = [
        *_of_all(relay, await relay.legs.rekeys()),
        *_of_services(relay, reading.waiting.get),
    ]
    async for piece in exposition(families, *others):
        yield piece


def _of_all(relay: Relay, rekeys: int) -> Iterator[Family]:
    counters, legs, traffic = relay.counters, relay.legs, relay.services.traffic
    yield gauge("relay_connections", "Open SSH connections, logged in or not.", len(legs))
    yield gauge("relay_legs", "SSH connections that have logged in.", legs.logged_in)
    yield counter("relay_logins_total", "Logins.", counters.logins)
    yield counter(
        "relay_failed_logins_total", "Connections that ended without one.", counters.logins_failed
    )
    yield counter(
        "relay_refusals_total", "What was refused to clients.",
        list(counters.refusals.items()), "what", "reason",
    )  # fmt: skip
    yield counter(
        "relay_limit_hits_total", "What a limit of ours has cut off.",
        [((limit,), count) for limit, count in counters.limits.items()], "limit",
    )  # fmt: skip
    yield counter("relay_rekeys_total", "Key exchanges after the first of each leg.", rekeys)
    yield gauge("relay_services", "Published services.", len(relay.services))
    yield counter(
        "relay_published_services_total", "Services that were published.", counters.published
    )
    yield gauge("relay_streams", "Open streams.", traffic.open)
    yield counter("relay_opened_streams_total", "Streams that were opened.", traffic.opened)
    yield counter(
        "relay_transferred_bytes_total", "Bytes to services (there) and from them (back).",
        [(("there",), traffic.sent), (("back",), traffic.received)], "direction",
    )  # fmt: skip
    yield gauge("relay_waiting_bytes", "Bytes that wait for a slow reader.", relay.waiting)
    yield counter(
        "relay_stalls_total", "Times that a sender was held back for a slow reader.", traffic.stalls
    )


def _of_services(relay: Relay, waiting: Callable[[Traffic, int], int]) -> Iterator[Family]:
    by_name = relay.services.by_name

    def each(value: Callable[[Traffic], float]) -> Iterator[Row]:
        for name, traffic in [*by_name, (OTHER, by_name.others)]:
            yield (name,), value(traffic)

    def both_ways() -> Iterator[Row]:
        for name, traffic in [*by_name, (OTHER, by_name.others)]:
            yield (name, "there"), traffic.sent
            yield (name, "back"), traffic.received

    yield gauge(
        "relay_service_streams", "Open streams, by service.", each(lambda one: one.open), "service"
    )
    yield counter(
        "relay_service_opened_streams_total", "Streams that were opened, by service.",
        each(lambda one: one.opened), "service",
    )  # fmt: skip
    yield counter(
        "relay_service_transferred_bytes_total",
        "Bytes to a service (there) and from it (back).",
        both_ways(), "service", "direction",
    )  # fmt: skip
    yield gauge(
        "relay_service_waiting_bytes", "Bytes that wait for a slow reader, by service.",
        each(lambda one: waiting(one, 0)), "service",
    )  # fmt: skip
    yield counter(
        "relay_service_stalls_total", "Times that a sender was held back, by service.",
        each(lambda one: one.stalls), "service",
    )  # fmt: skip
