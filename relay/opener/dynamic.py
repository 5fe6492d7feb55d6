"""`-D`: a SOCKS server whose streams leave from the far end, names resolved there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from relay.core.forward import Forward, format_address
from relay.events import Events
from relay.events.client import Closed, LocalStreamClosed, Ready, SocksRefused
from relay.io.endpoint import Endpoint, tell_end
from relay.io.local import Acceptor, name_of
from relay.opener.gate import Gate, Visitor
from relay.ssh.client import ClientLeg
from relay.wire.messages import tcpip_fields
from relay.wire.numbers import OpenFailure
from relay.wire.socks import Reply, Request, SocksServer, SocksViolation

NEGOTIATION_TIMEOUT: Final = 30.0
"""Seconds in which a client must have said what it wants. It has nothing to wait for."""

NEGOTIATION_SIZE: Final = 1024
"""Bytes looked at at once: more than the longest request (RFC 1928 §4)."""


class DynamicForward:
    """One `-D`: its open port and the clients that come in there."""

    def __init__(
        self,
        gate: Gate[ClientLeg],
        forward: Forward,
        sockets: list[socket.socket],
        events: Events,
    ) -> None:
        """`sockets` listen, and are the forward's from now on."""
        self._gate = gate
        self._events = events
        self._name = name_of(sockets[0])
        # Clients that have not said what they want.
        self._negotiating: set[Negotiation] = set()
        self._acceptors = [Acceptor(sock, self._accepted) for sock in sockets]

    def say_ready(self) -> None:
        """There is a leg for the first time."""
        self._events.emit(Ready(self._name, ""))

    def say_closed(self) -> None:
        """It is not wanted any more."""
        self._events.emit(Closed(self._name, ""))

    def _accepted(self, sock: socket.socket, origin: tuple[str, int]) -> None:
        self._negotiating.add(Negotiation(sock, origin, self._requested, self._failed))

    def _requested(self, client: Negotiation, request: Request) -> None:
        self._negotiating.discard(client)

        def turned_away() -> None:
            client.answer(Reply.FAILED)
            client.sock.close()

        self._gate.enter(Visitor(lambda leg: self._open(leg, client, request), turned_away))

    def _open(self, leg: ClientLeg, client: Negotiation, request: Request) -> None:
        target = format_address(request.host, request.port)

        closed = partial(LocalStreamClosed, listening=self._name, target=target)
        ended = tell_end(self._events, closed)
        fields = tcpip_fields(request.host, request.port, *client.origin)
        SocksEndpoint(leg, client, ended).open(client.sock, b"direct-tcpip", fields)

    def _failed(self, client: Negotiation, reason: str) -> None:
        self._negotiating.discard(client)
        self._events.emit(SocksRefused(self._name, format_address(*client.origin), reason))

    def close(self) -> None:
        """Accept no more, and drop who has not said what it wants."""
        for acceptor in self._acceptors:
            acceptor.close()
        for client in list(self._negotiating):
            client.close()
        self._negotiating.clear()


class Negotiation:
    """A SOCKS client up to its request. Not a byte behind it is taken from the socket: what
    follows is the stream's."""

    def __init__(
        self,
        sock: socket.socket,
        origin: tuple[str, int],
        requested: Callable[[Negotiation, Request], None],
        failed: Callable[[Negotiation, str], None],
    ) -> None:
        self.sock = sock
        self.origin = origin
        self.socks = SocksServer()
        self._requested = requested
        self._failed = failed
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)
        self._timer = self._loop.call_later(
            NEGOTIATION_TIMEOUT, self._give_up, "said nothing of what it wants"
        )

    def _readable(self) -> None:
        try:
            data = self.sock.recv(NEGOTIATION_SIZE, socket.MSG_PEEK)
            if not data:
                self._give_up("gone before its request")
                return
            request, answer = self.socks.receive(data)
            self.sock.recv(len(data) - len(self.socks.rest) if request else len(data))
            if answer:
                self.sock.send(answer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        except SocksViolation as violation:
            # A socket that is closed with unread bytes in it is reset, and its answer lost.
            self.sock.recv(NEGOTIATION_SIZE)
            self._answer(violation.reply)
            self._give_up(str(violation))
            return
        if request is not None:
            self._stop()
            self._requested(self, request)

    def _answer(self, reply: bytes) -> None:
        try:
            self.sock.send(reply)
        except OSError:
            pass  # It is gone: nothing to tell.

    def answer(self, reply: Reply) -> None:
        """Tell the client what became of its request."""
        self._answer(self.socks.reply(reply))

    def _give_up(self, reason: str) -> None:
        self.close()
        self._failed(self, reason)

    def _stop(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self.sock)

    def close(self) -> None:
        self._stop()
        self.sock.close()


class SocksEndpoint(Endpoint):
    """The endpoint of a SOCKS client, who is told whether its stream came to be."""

    def __init__(
        self, leg: ClientLeg, client: Negotiation, ended: Callable[[Endpoint, str], None]
    ) -> None:
        super().__init__(leg, ended)
        self._client = client

    def confirmed(self, sender: int, window: int, packet: int) -> None:
        self._client.answer(Reply.GRANTED)
        super().confirmed(sender, window, packet)

    def failed(self, code: int, reason: str) -> None:
        prohibited = code == OpenFailure.ADMINISTRATIVELY_PROHIBITED
        self._client.answer(Reply.NOT_ALLOWED if prohibited else Reply.REFUSED)
        super().failed(code, reason)
