"""`-L`: a local port whose connections are streams to one target."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio

from relay.core.channel import Half
from relay.core.forward import Forward
from relay.core.services import GOODBYE, NOT_PUBLISHED, is_address
from relay.events import Events
from relay.events.client import Closed, LocalStreamClosed, Ready, StreamWaits
from relay.io.endpoint import Endpoint, tell_end
from relay.io.local import Acceptor, name_of
from relay.life.running import Trouble
from relay.opener.gate import Gate, Visitor
from relay.ssh.client import ClientLeg
from relay.wire.messages import LONGEST_REASON, streamlocal_fields, tcpip_fields
from relay.wire.numbers import ENDPOINT_VERSION, VERSION_START, OpenFailure

NOT_YET: Final = {
    OpenFailure.NOT_PUBLISHED: NOT_PUBLISHED,
    OpenFailure.STOPPING: GOODBYE,
    OpenFailure.UNKNOWN_SERVICE: NOT_PUBLISHED,
}
"""The refusals that may be over in a moment, and what is said of them. (The last one only where the
service is known to have been there.)"""

NOT_THERE: Final = (OpenFailure.NOT_PUBLISHED, OpenFailure.UNKNOWN_SERVICE)


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
        # The service has been there, since this was opened. One that never was is a wrong name, or
        # its agent has yet to come: nobody waits for that.
        self._was_there = False
        # Why the last stream was refused; None: it was not, or there was none.
        self.trouble: Trouble | None = None
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]

    def say_ready(self) -> None:
        """There is a leg for the first time: B says whether the service is there, too."""
        leg, forward = self._gate.leg, self._forward
        if leg is None or forward.target_path:
            self._events.emit(Ready(self._name, forward.target))
        else:
            leg.outlook(forward.host, forward.hostport, partial(self._say_ready, leg))

    def _say_ready(self, leg: ClientLeg, outlook: tuple[int, str, str] | None) -> None:
        problem = ""
        if outlook is None:
            problem = ports_only(leg, self._forward.host)
        else:
            code, reason, near = outlook
            self._was_there = not code
            if code in NOT_THERE:
                problem = f"{self._forward.target} is not published yet"
            elif code:
                problem = f"but {reason}"
            if near:
                problem += f" (did you mean {near}?)"
        self._events.emit(Ready(self._name, self._forward.target, problem[:LONGEST_REASON]))

    def say_closed(self) -> None:
        """It is not wanted any more."""
        self._events.emit(Closed(self._name, self._forward.target))

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        kind, fields = open_message(self._forward, origin)
        target = self._forward.target
        closed = partial(LocalStreamClosed, listening=self._name, target=target)
        tell = tell_end(self._events, closed)

        def ended(endpoint: Endpoint, reason: str) -> None:
            if endpoint.refused:
                self._refused(reason.removeprefix("refused: "))
            tell(endpoint, reason)

        def begin(leg: ClientLeg) -> None:
            LocalEndpoint(leg, ended, not_yet, self._is_there).open(sock, kind, fields)

        def not_yet(endpoint: Endpoint, code: OpenFailure) -> None:
            """It may be in a moment: B is there again before the agent is, or starts anew."""
            if code is OpenFailure.UNKNOWN_SERVICE and not self._was_there:
                return
            if self._gate.may_enter_again(visitor.came, stopping=code is OpenFailure.STOPPING):
                endpoint.take_back()
                self._refused(NOT_YET[code])
                self._say_waiting(visitor, NOT_YET[code])
                self._gate.enter_again(visitor)

        visitor: Visitor[ClientLeg] = Visitor(begin, sock.close)
        self._gate.enter(visitor)

    def _is_there(self) -> None:
        self._was_there = True
        self.trouble = None

    def _refused(self, reason: str) -> None:
        since = self.trouble.since if self.trouble is not None else anyio.current_time()
        self.trouble = Trouble(reason, since)

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
        is_there: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(leg, ended)
        self._not_yet = not_yet
        self._is_there = is_there

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self._is_there()
        super().confirmed(sender, window, packet)

    def failed(self, code: int, reason: str) -> None:
        if self.channel.receiving is Half.ANSWERING:
            for one in NOT_YET:
                if code == one:
                    self._not_yet(self, one)
        super().failed(code, reason)


def open_message(forward: Forward, origin: tuple[str, int]) -> tuple[bytes, bytes]:
    """The kind and the fields of CHANNEL_OPEN for a forward's target."""
    if forward.target_path:
        return b"direct-streamlocal@openssh.com", streamlocal_fields(forward.target_path)
    return b"direct-tcpip", tcpip_fields(forward.host, forward.hostport, *origin)


def ports_only(leg: ClientLeg, host: str) -> str:
    """What is to be said of a target that looks like a named service, at a server that has none."""
    version = leg.get_extra_info("server_version", "")
    if leg.to_a_relay or version == ENDPOINT_VERSION or is_address(host) or "." in host:
        return ""
    return (
        f"but {version.removeprefix(VERSION_START)} is no relay-server: it knows ports only, no "
        f"named services, and looks up {host} as a host of its own network"
    )
