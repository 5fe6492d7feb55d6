"""`-L`: a local port whose connections are streams to one target."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from relay.core.channel import Half
from relay.core.forward import Forward
from relay.core.services import GOODBYE, NOT_PUBLISHED
from relay.events import Events
from relay.events.client import Closed, LocalStreamClosed, Ready, StreamWaits
from relay.io.endpoint import Endpoint, tell_end
from relay.io.local import Acceptor, name_of
from relay.opener.gate import Gate, Visitor
from relay.ssh.client import ClientLeg
from relay.wire.messages import streamlocal_fields, tcpip_fields
from relay.wire.numbers import OpenFailure

NOT_YET: Final = {
    OpenFailure.NOT_PUBLISHED: NOT_PUBLISHED,
    OpenFailure.STOPPING: GOODBYE,
}
"""The refusals that may be over in a moment, and what is said of them."""


class LocalForward:
    """One `-L`: its open ports and the streams that come in there."""

    def __init__(
        self,
        gate: Gate[ClientLeg],
        forward: Forward,
        sockets: list[socket.socket],
        events: Events,
    ) -> None:
        """`sockets` listen, and are the forward's from now on."""
        self._gate = gate
        self._forward = forward
        self._events = events
        self._name = name_of(sockets[0])
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]

    def say_ready(self) -> None:
        """There is a leg for the first time."""
        self._events.emit(Ready(self._name, self._forward.target))

    def say_closed(self) -> None:
        """It is not wanted any more."""
        self._events.emit(Closed(self._name, self._forward.target))

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        if path := self._forward.target_path:
            kind, fields = b"direct-streamlocal@openssh.com", streamlocal_fields(path)
        else:
            kind = b"direct-tcpip"
            fields = tcpip_fields(self._forward.host, self._forward.hostport, *origin)
        target = self._forward.target
        closed = partial(LocalStreamClosed, listening=self._name, target=target)
        ended = tell_end(self._events, closed)

        def begin(leg: ClientLeg) -> None:
            LocalEndpoint(leg, ended, not_yet).open(sock, kind, fields)

        def not_yet(endpoint: Endpoint, code: OpenFailure) -> None:
            """It may be in a moment: B is there again before the agent is, or starts anew."""
            if self._gate.may_enter_again(visitor, stopping=code is OpenFailure.STOPPING):
                endpoint.take_back()
                self._say_waiting(visitor, NOT_YET[code])
                self._gate.enter_again(visitor)

        visitor: Visitor[ClientLeg] = Visitor(begin, sock.close)
        self._gate.enter(visitor)

    def _say_waiting(self, visitor: Visitor[ClientLeg], reason: str) -> None:
        self._events.emit(StreamWaits(self._name, self._forward.target, reason, visitor.again))

    def close(self) -> None:
        """Accept no more."""
        for acceptor in self._acceptors:
            acceptor.close()


class LocalEndpoint(Endpoint):
    """The endpoint of a connection that waits for its service as it waits for B."""

    def __init__(
        self,
        leg: ClientLeg,
        ended: Callable[[Endpoint, str], None],
        not_yet: Callable[[Endpoint, OpenFailure], None],
    ) -> None:
        super().__init__(leg, ended)
        self._not_yet = not_yet

    def failed(self, code: int, reason: str) -> None:
        if self.channel.receiving is Half.ANSWERING:
            for one in NOT_YET:
                if code == one:
                    self._not_yet(self, one)
        super().failed(code, reason)
