"""What stands in a leg's table of channels: the joint between a channel and what it serves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from asyncssh.packet import SSHPacket, SSHPacketHandler

from relay.errors import LocalError, ProtocolViolation
from relay.observe.faults import whatever_fails
from relay.wire import numbers
from relay.wire.packet import DATA_OFFSET, TAIL_ROOM, frame_data


class OpenRefused(LocalError):
    """We refuse the peer's CHANNEL_OPEN; the text is what it is told (RFC 4254 §5.1)."""

    def __init__(self, code: numbers.OpenFailure, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ChannelHandler(SSHPacketHandler):
    """Takes the messages of one channel of one leg.

    `Leg` calls the methods without underscore straight from its packet loop. Those that asyncssh
    calls (`process_…`, for channel opens and under ciphers without the fast path) are
    translated to the same methods here.
    """

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

    def overflow(self) -> None:
        """More waits for the leg than it may hold, and this channel has just added to that. (Only
        a splice passes on what its leg has no room for.)"""

    @abstractmethod
    def leg_lost(self) -> None:
        """The leg is gone and the channel with it."""

    # -- as asyncssh calls it

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool:
        match pkttype:
            case numbers.MSG_CHANNEL_DATA:
                self._slow_data(packet.get_string())
            case numbers.MSG_CHANNEL_WINDOW_ADJUST:
                self.window_adjust(packet.get_uint32())
            case numbers.MSG_CHANNEL_EOF:
                self.eof()
            case numbers.MSG_CHANNEL_CLOSE:
                self.peer_closed()
            case numbers.MSG_CHANNEL_REQUEST:
                packet.get_string()
                self.request(packet.get_boolean())
            case numbers.MSG_CHANNEL_SUCCESS | numbers.MSG_CHANNEL_FAILURE:
                pass  # We ask nothing of a channel, so this answers nothing.
            case numbers.MSG_CHANNEL_EXTENDED_DATA:
                raise ProtocolViolation("extended data on a channel that has only one stream")
            case _:
                return False
        return True

    def _slow_data(self, data: bytes) -> None:
        """The same shape that a packet has on the fast path, in memory of its own."""
        buffer = memoryview(bytearray(DATA_OFFSET + len(data) + TAIL_ROOM))
        buffer[DATA_OFFSET : DATA_OFFSET + len(data)] = data
        self.data(buffer, 0, frame_data(buffer, 0, len(data)), len(data))

    def close(self) -> None:
        """asyncssh, before it closes a leg; `leg_lost` follows and is enough."""

    def process_open(self, sender: int, window: int, packet: int, session: object) -> None:
        self.opened_by_peer(sender, window, packet)

    def process_open_confirmation(
        self, sender: int, window: int, packet: int, rest: SSHPacket
    ) -> None:
        self.confirmed(sender, window, packet)

    def process_open_failure(self, code: int, reason: str, lang: str) -> None:
        self.failed(code, reason)

    def process_connection_close(self, exc: Exception | None) -> None:
        with whatever_fails("ending a channel"):  # The others shall hear of it too.
            self.leg_lost()

    def log_received_packet(self, *args: Any, **kwargs: Any) -> None:
        """Not a line for each packet."""

    def log_sent_packet(self, *args: Any, **kwargs: Any) -> None:
        """Not a line for each packet."""
