"""What stands in a mux's table of channels: the joint between a channel and what it serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from relay.errors import (
    LegLost,
    LocalError,
    NotPublished,
    Refused,
    RelayError,
    ServiceUnreachable,
    UnknownService,
)
from relay.wire import numbers


class OpenRefused(LocalError):
    """We refuse the peer's CHANNEL_OPEN; the text is what it is told (RFC 4254 §5.1)."""

    def __init__(self, code: numbers.OpenFailure, reason: str) -> None:
        super().__init__(reason)
        self.code = code


_REFUSALS: Final[Mapping[int, type[RelayError]]] = {
    numbers.OpenFailure.ADMINISTRATIVELY_PROHIBITED: Refused,
    numbers.OpenFailure.NOT_PUBLISHED: NotPublished,
    numbers.OpenFailure.UNKNOWN_SERVICE: UnknownService,
    numbers.OpenFailure.STOPPING: LegLost,
}


def refusal(code: int, reason: str) -> RelayError:
    """What our CHANNEL_OPEN comes to that the peer refuses. A service that is not there now may be
    there later; a right hardly will."""
    return _REFUSALS.get(code, ServiceUnreachable)(reason)


class ChannelHandler(ABC):
    """Takes the messages of one channel of one leg."""

    @abstractmethod
    def data(self, view: memoryview, start: int, length: int, size: int) -> None:
        """A data packet with `size` bytes of data, opened, at `start` of `view`; the memory is
        ours until the batch of packets is flushed."""

    @abstractmethod
    def window_adjust(self, size: int) -> None:
        """The peer takes `size` bytes more."""

    @abstractmethod
    def eof(self) -> None:
        """The peer sends no more data."""

    @abstractmethod
    def peer_closed(self) -> None:
        """The peer closed the channel."""

    @abstractmethod
    def request(self, want_reply: bool) -> None:
        """The peer asks something of this channel."""

    @abstractmethod
    def opened_by_peer(self, sender: int, window: int, packet: int) -> None:
        """The peer's CHANNEL_OPEN, accepted so far: confirm it or refuse it."""

    @abstractmethod
    def confirmed(self, sender: int, window: int, packet: int) -> None:
        """The peer confirmed our CHANNEL_OPEN."""

    @abstractmethod
    def failed(self, code: int, reason: str) -> None:
        """The peer refused our CHANNEL_OPEN."""

    def overflow(self) -> None:  # noqa: B027
        """More waits for the leg than it may hold, and this channel has just added to that. (Only
        a splice passes on what its leg has no room for.)"""

    @abstractmethod
    def leg_lost(self) -> None:
        """The leg is gone and the channel with it."""
