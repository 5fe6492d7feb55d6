"""`-R port` without a target: a SOCKS server for who comes in at B, whose streams leave from here.

The client's SOCKS talk comes through the channel, ahead of what it has to say to its target. So the
endpoint answers the open at once, reads the request itself, and is joined with the target's socket
when that is connected; from then on it is an endpoint like any other.

    CHANNEL_OPEN ─► confirmed ─ greeting, request ─► dial ─ connected: granted ─► the stream
                                        └─ not SOCKS, not permitted    └─ refused
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from relay.core.channel import Half
from relay.core.forward import format_address
from relay.core.grants import Permit
from relay.core.port import State
from relay.events import Events
from relay.events.client import SocksRefused
from relay.io.dial import dial_service
from relay.io.endpoint import Endpoint, Leg
from relay.wire.messages import channel_data
from relay.wire.socks import Reply, Request, SocksServer, SocksViolation

NEGOTIATION_TIMEOUT: Final = 30.0
"""Seconds in which a client must have said what it wants; and in which one that was turned away
must have read why."""


class SocksExit:
    """What one dynamic forward may reach; `name` is the service that its clients come through."""

    def __init__(self, name: str, permits: tuple[Permit, ...] | None, events: Events) -> None:
        """`permits` is PermitRemoteOpen; None permits every target."""
        self._name = name
        self._permits = permits
        self._events = events

    def permits(self, request: Request) -> bool:
        return self._permits is None or any(
            permit.allows_open(request.host, request.port) for permit in self._permits
        )

    async def dial(self, request: Request) -> socket.socket:
        """The target's socket. Raises OSError."""
        return await dial_service(request.host, request.port)

    def refused(self, reason: str) -> None:
        self._events.emit(SocksRefused(self._name, "", reason))


class SocksStream(Endpoint):
    """A stream whose client says where it is to go."""

    def __init__(
        self, leg: Leg, socks_exit: SocksExit, ended: Callable[[Endpoint, str], None]
    ) -> None:
        super().__init__(leg, ended)
        self._exit = socks_exit
        self._socks = SocksServer()
        # The request is whole: what comes behind it is for the target, and waits in `_pending`.
        self._requested = False
        # The client was told no: what it may still say is for nobody.
        self._turned_away = False
        # What it is told and has no window for yet. It goes before what the target says.
        self._answers = b""
        self._dialling: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(NEGOTIATION_TIMEOUT, self._timed_out)

    def _dial(self) -> None:
        self.joined()  # It is the client that says whom to dial.

    def data_unjoined(self, data: memoryview) -> None:
        self.received_bytes += len(data)
        if self.over:
            return
        if self._requested and not self._turned_away:
            self._pending += data
            return
        self.delivered(len(data), self._loop.time())
        if not self._turned_away:
            self._negotiate(bytes(data))

    def _negotiate(self, data: bytes) -> None:
        try:
            request, answer = self._socks.receive(data)
        except SocksViolation as violation:
            self._turn_away(str(violation), violation.reply)
            return
        self._say(answer)
        if request is not None:
            self._requests(request)

    def _requests(self, request: Request) -> None:
        self._requested = True
        self._timer.cancel()
        rest = self._socks.rest
        if rest:
            self.delivered_bytes -= len(rest)
            self._pending += rest
        if self._exit.permits(request):
            self._dialling = self.leg.create_task(self._reach(request))
        else:
            where = format_address(request.host, request.port)
            reply = self._socks.reply(Reply.NOT_ALLOWED)
            self._turn_away(f"{where} is not in PermitRemoteOpen", reply)

    async def _reach(self, request: Request) -> None:
        try:
            sock = await self._exit.dial(request)
        except OSError as error:
            self._dialling = None
            where = format_address(request.host, request.port)
            reply = self._socks.reply(Reply.REFUSED)
            self._turn_away(f"{where}: {error.strerror or error}", reply)
            return
        self._dialling = None
        self._adopt(sock)
        self._say(self._socks.reply(Reply.GRANTED))
        if self._pending:
            self._await_writable(sock)
        elif self.state is State.PEER_ENDED:
            self._shut()  # It said all before there was anybody to hear it.

    def _say(self, answer: bytes) -> None:
        """Tell the client, as soon as it has a window for that."""
        self._answers += answer
        self._read()

    def _read(self) -> None:
        channel = self.channel
        while self._answers and channel.sending is Half.OPEN:
            size = min(len(self._answers), channel.send_window, channel.send_packet)
            if not size:
                return
            channel.send_window -= size
            self.sent_bytes += size
            self.out.send_payload(channel_data(channel.remote_id, self._answers[:size]))
            self._answers = self._answers[size:]
        super()._read()

    def _turn_away(self, reason: str, reply: bytes) -> None:
        """Say why, and end. A CLOSE at once could overtake the answer at the client's side, where a
        stream that is closed without its EOF is reset."""
        self._exit.refused(reason)
        self._turned_away = True
        self._pending.clear()
        self.delivered_bytes = self.received_bytes
        self._say(reply)
        if self._answers:
            self.local_lost("")
            return
        self._timer.cancel()
        self._timer = self._loop.call_later(NEGOTIATION_TIMEOUT, self.local_lost, "")
        self.local_eof()

    def eof(self) -> None:
        super().eof()
        if not self._requested and not self._turned_away:
            self._turn_away("gone before its request", b"")

    def _timed_out(self) -> None:
        self._turn_away("said nothing of what it wants", b"")

    def _ended_for(self, reason: str) -> None:
        """The stream has ended, and what was done for it ends with it."""
        self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        super()._ended_for(reason)
