"""Who failed to log in, from where, and how long it has to wait. A source is what `source_of` makes
of an address.

A source may fail a number of times for nothing: people have several keys. Each failure more
doubles the time for which its connections are refused, up to `MAX_DELAY`. A login clears it; so
does as long a time without a failure as the longest delay; and time forgives one after the other.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from relay.core.limits import (
    FAILED_SOURCES,
    FIRST_DELAY,
    FORGIVEN_AFTER,
    MAX_DELAY,
    NetBlockSize,
)
from relay.core.patterns import parse_ip

DEFAULT_SIZE: Final = NetBlockSize()

MAX_DOUBLINGS: Final = 16
"""Far over `MAX_DELAY`; keeps the power small."""


@dataclass(slots=True)
class _Source:
    failures: float
    refused_until: float
    last_failure: float


class Sources:
    """The sources that failed of late. Every `now` is seconds of one clock."""

    def __init__(self, size: int = FAILED_SOURCES) -> None:
        self._size = size
        # The one that failed last is at the end, so that the front is forgotten first.
        self._sources: dict[str, _Source] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def failed(self, name: str, tries: int, free: int, now: float) -> None:
        """`tries` keys from this source were refused; `free` failures have no consequence."""
        source = self._sources.pop(name, None)
        if source is None or now - source.last_failure > MAX_DELAY:
            source = _Source(0, now, now)
        forgiven = (now - source.last_failure) / FORGIVEN_AFTER
        source.failures = max(0.0, source.failures - forgiven) + tries
        source.last_failure = now
        over = source.failures - free
        if over > 0:
            delay = min(MAX_DELAY, FIRST_DELAY * 2 ** min(over - 1, MAX_DOUBLINGS))
            source.refused_until = now + delay
        self._sources[name] = source
        if len(self._sources) > self._size:
            del self._sources[next(iter(self._sources))]

    def wait(self, name: str, now: float) -> float:
        """Seconds for which connections from this source are still refused; 0: they are not."""
        source = self._sources.get(name)
        return max(0.0, source.refused_until - now) if source is not None else 0.0

    def logged_in(self, name: str) -> None:
        """Somebody there has a good key."""
        self._sources.pop(name, None)


def source_of(address: str, size: NetBlockSize = DEFAULT_SIZE) -> str:
    """What is counted together: one IPv4 address, and the /64 of an IPv6 address, or networks of
    another size."""
    ip = parse_ip(address)
    if ip is None:
        return address
    bits = size.ipv4 if ip.version == 4 else size.ipv6
    network = ipaddress.ip_network((ip, bits), strict=False)
    return str(ip) if bits == ip.max_prefixlen else str(network)
