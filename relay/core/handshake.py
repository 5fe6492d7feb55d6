"""What a peer may send before its login, and how often it may change keys after it.

Both sides of a leg count: a server is met by strangers, a client by a server that turns hostile.
"""

from __future__ import annotations

from relay.core.limits import (
    BYTES_BEFORE_LOGIN,
    KEX_BYTES,
    KEX_SECONDS,
    KEXES_AT_ONCE,
    MAX_AUTH_TRIES,
    PACKETS_BEFORE_LOGIN,
)
from relay.errors import ProtocolViolation


class BeforeLogin:
    """The packets and bytes that came. The lines before the first packet count as packets."""

    __slots__ = ("_max_bytes", "_max_packets", "bytes", "packets")

    def __init__(self, max_packets: int, max_bytes: int) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self.packets = 0
        self.bytes = 0

    def packet(self) -> None:
        """One more. Raises `ProtocolViolation`."""
        self.packets += 1
        if self.packets > self._max_packets:
            raise ProtocolViolation(f"more than {self._max_packets} packets before the login")

    def came(self, size: int) -> None:
        """So many bytes more. Raises `ProtocolViolation`."""
        self.bytes += size
        self.announced(0)

    def another_try(self) -> None:
        """A try to log in was refused that only this server's operator allows: it had a price."""
        self._max_packets += PACKETS_BEFORE_LOGIN // MAX_AUTH_TRIES
        self._max_bytes += BYTES_BEFORE_LOGIN // MAX_AUTH_TRIES

    def announced(self, size: int) -> None:
        """A packet that is still to come is so long. Raises `ProtocolViolation`."""
        if self.bytes + size > self._max_bytes:
            raise ProtocolViolation(f"more than {self._max_bytes >> 10} KiB before the login")


class KeyExchanges:
    """Those that the peer begins: each has to be explained by bytes that passed, or by time.

    `now` is seconds of any one clock.
    """

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(KEXES_AT_ONCE)
        self._at: float | None = None

    def begun(self, size: int, now: float) -> None:
        """One more, after `size` bytes since the last. Raises `ProtocolViolation`."""
        elapsed = now - self._at if self._at is not None else 0.0
        self._at = now
        earned = size / KEX_BYTES + elapsed / KEX_SECONDS
        self._left = min(self._left + earned, float(KEXES_AT_ONCE)) - 1
        if self._left < 0:
            raise ProtocolViolation("more key exchanges than its traffic explains")
