"""One SSH connection: a mux, a guest that does its handshake, and the stream that it runs on.

    Stream ─received─► Mux ─► channels, requests
                        └─ handshake ─► Guest (asyncssh) ─► Mux ─► Stream

The leg is what these three have in common: it passes on what one has for another, tells the time,
and ends all of them together.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.packet import PacketDecodeError

from relay.core import stream as core
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import STALL_TIMEOUT
from relay.core.mux import Mux
from relay.core.requests import Answered, GlobalRequest
from relay.errors import INTERNAL, LegLost, ProtocolViolation, Replaced
from relay.io.engine import Engine
from relay.io.resume import ResumableStream, Session
from relay.io.stream import Stream
from relay.observe.faults import whatever_fails
from relay.ssh.ciphers import Cipher
from relay.ssh.guest import Guest
from relay.ssh.keepalive import Keepalive
from relay.wire import messages
from relay.wire.cipher import TagMismatch
from relay.wire.numbers import (
    DISCONNECT_MAC_ERROR,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_REPLACED,
    RESUME_RECEIVED,
    OpenFailure,
)
from relay.wire.resume import parse_received, received_fields

_log: Final = logging.getLogger(INTERNAL)


class LegStream(core.Stream, Protocol):
    """What a leg runs on; it calls `received`, `flush` and `stream_lost`."""

    def start(self) -> None:
        """Begin to read."""

    def abort(self) -> None:
        """Close it; what it has taken is still sent. May be said again."""


class InnerStream(core.InnerStream, LegStream, Protocol):
    """A channel of an outer leg (`nested.py`)."""

    def attach(self, reader: Session) -> None: ...


class Leg:
    """One SSH connection and the traffic on it. Made in a running event loop."""

    def __init__(self, engine: Engine, guest: Guest, before_login: BeforeLogin) -> None:
        self.engine = engine
        self.loop = engine.loop
        self.guest = guest
        guest.host = self  # Though it never begins: its login timer runs already.
        self.mux = Mux(engine, self, before_login)
        self.out = self.mux.out
        # False once the connection is closing: nothing more is read or sent.
        self.alive = False
        self._stream: LegStream | None = None
        # The stream, when it can change its carrier; whether it may, the two ends agree on.
        self.resumable: ResumableStream | None = None
        # Called when the session has lost its carrier and is held, and when it goes on: after so
        # many seconds.
        self.when_held: Callable[[], object] = lambda: None
        self.when_going_on: Callable[[float], object] = lambda away: None
        # Called when it can go on no more, with the reason, before its streams hear of it.
        self.when_over: Callable[[str], object] = lambda reason: None
        # Called when a carrier of its is not used any more.
        self.when_let_go: Callable[[], object] = lambda: None
        # Whom to tell by its name when a limit is hit.
        self.limit_hit: Callable[[str], object] = lambda limit: None
        # What works for this leg, and ends with it.
        self._tasks: set[asyncio.Task[None]] = set()
        self.keepalive = Keepalive(self.loop, self)
        # The check whether a full leg still takes some while others are paused for it.
        self._stall_check: asyncio.TimerHandle | None = None

    # -- its life

    def attach(self, sock: socket.socket) -> None:
        """Start the SSH protocol on a connected socket, which is the leg's from now on."""
        stream = Stream(self.engine, sock, self)
        stream.give_up_after(self.keepalive.patience)
        self.run_on(stream, stream.addresses)

    def run_on(self, stream: LegStream, addresses: dict[str, Any]) -> None:
        """Start the SSH protocol on whatever carries bytes. `addresses` are its `sockname` and
        `peername`, if it has any."""
        self.out.attach(stream)
        self._begin(stream, addresses)

    def attach_nested(self, stream: InnerStream) -> None:
        """Start the SSH protocol on a channel of an outer leg."""
        self.out.attach_nested(stream)
        if isinstance(stream, ResumableStream):
            self.resumable = stream
        stream.attach(self)
        self._begin(stream, {})

    def _begin(self, stream: LegStream, addresses: dict[str, Any]) -> None:
        self._stream = stream
        self.alive = True
        self.keepalive.heard = self.loop.time()
        self.guest.begin(addresses)
        stream.start()

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` while the leg lives; what it raises ends the leg."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    def login_over(self) -> None:
        """The login is over."""
        self.mux.logged_in()
        self.keepalive.begin()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What was negotiated, by asyncssh's names (`server_version`, `send_cipher`)."""
        return self.guest.get_extra_info(name, default)

    # -- what its stream calls

    def received(self, view: memoryview, start: int, end: int) -> int:
        """Use the whole packets in `view[start:end]`; returns where the first unused byte is."""
        if not self.alive:
            return end  # A packet behind one that was forged must not be taken for the next.
        now = self.keepalive.heard = self.loop.time()
        try:
            start, much = self.mux.received(view, start, end, now)
            if self.mux.rekey_due:
                self.guest.change_keys()
        except ProtocolViolation as error:
            self.fail(error)
        except Exception as error:
            self.failed(error)
        else:
            if self._stream is None or not self.alive:
                return end
            if self.mux.busy:
                self._stream.pause("handshake")
            elif much:
                self._stream.pause("turn")
                self.loop.call_soon(self._stream.resume, "turn")
        return start if self.alive else end

    def flush(self) -> None:
        """The stream takes bytes again."""
        self.out.flush()

    def wake(self) -> None:
        """Tell those who wait for room."""
        self.out.wake()

    def stream_lost(self, error: Exception | None) -> None:
        """The socket is at its end, or broke."""
        if not self.alive:
            return
        self.when_over(str(error or ""))
        if isinstance(error, LegLost):
            self._end(error)
        elif isinstance(error, OSError):
            self._end(LegLost(f"connection lost: {error.strerror or error}"))
        else:
            self._end(LegLost("connection closed by the other side"))

    def says_received(self, received: int, wanted: bool) -> None:
        """What has come of a resumable session."""
        self.tell(RESUME_RECEIVED, received_fields(received, wanted=wanted))

    def held(self) -> None:
        """The session has no carrier at present. (One that has just ended needs none.)"""
        if self.alive:
            self.keepalive.stop()
            self.when_held()

    def goes_on(self, away: float) -> None:
        """It has one again, after so many seconds."""
        if self.alive:
            self.keepalive.begin()
            self.when_going_on(away)

    def let_go(self) -> None:
        """What has carried the session is not used any more."""
        self.when_let_go()

    @property
    def carried(self) -> bool:
        """Whatever is sent is on its way."""
        return self.alive and (self.resumable is None or not self.resumable.held)

    # -- what its guest calls

    def guest_line(self, line: bytes) -> None:
        self.out.send_line(line)

    def guest_sends(self, payload: bytes) -> None:
        self.mux.send_handshake(payload)

    def lines_are_over(self) -> None:
        self.mux.lines_are_over()

    def seal_with(self, cipher: Callable[[int], Cipher], *, strict: bool) -> None:
        self.mux.seal_with(cipher, strict=strict)

    def open_with(self, cipher: Callable[[int], Cipher], *, strict: bool) -> None:
        self.mux.open_with(cipher, strict=strict)

    def keys_changed(self) -> None:
        self.mux.keys_changed()

    def guest_ready(self) -> None:
        self.mux.busy = False
        if self._stream is not None and self.alive:
            self._stream.resume("handshake")

    def guest_ended(self, error: Exception | None) -> None:
        if not self.alive:
            return
        if error is None or isinstance(error, asyncssh.DisconnectError):
            self._end(error)
        else:
            self.failed(error)

    @property
    def received_packets(self) -> int:
        return self.mux.received_packets

    # -- what its mux calls

    def line(self, data: bytes) -> None:
        self.guest.line(data)

    def handshake(self, payload: bytes) -> None:
        self.guest.packet(payload)
        self.mux.busy = self.guest.busy

    def opened(self, kind: bytes, fields: bytes) -> ChannelHandler:
        """The peer's CHANNEL_OPEN. Returns what serves it, or raises `OpenRefused`."""
        raise OpenRefused(OpenFailure.UNKNOWN_CHANNEL_TYPE, "no such channel is known here")

    def refused(self, what: str) -> None:
        """The peer asked for something that is not given."""

    def requested(self, request: GlobalRequest) -> None:
        """The peer asks for something; `mux.requests.answer` is called now or later."""
        self.mux.requests.answer(None)

    def told(self, name: bytes, fields: bytes) -> None:
        """The peer sent a request of our own (`numbers.PRIVATE`) that wants no answer. One that is
        not known is passed over."""
        if name == RESUME_RECEIVED and self.resumable is not None:
            received, wanted = parse_received(fields)
            self.resumable.acknowledged(received, wanted=wanted)

    def idle(self) -> None:
        """The last channel is over."""

    def others_wait(self) -> None:
        if self._stall_check is None:
            self._stall_check = self.loop.call_later(
                STALL_TIMEOUT, self._check_stall, self.out.taken
            )

    def _check_stall(self, taken_before: int) -> None:
        """Others stand still because this leg is full: does its peer still read at all?"""
        self._stall_check = None
        if not self.alive or not self.out.others_waiting:
            return
        if self.out.stands_still(taken_before):
            self.fail(LegLost("it does not read what it asked for, and others wait for it"))
            return
        self.others_wait()

    def failed(self, error: BaseException) -> None:
        """What was raised where nobody expects it: a violation that a handler of ours saw, what
        asyncssh stumbled over, or a fault of ours, which is logged with its trace. It ends this leg
        only."""
        if not isinstance(error, ProtocolViolation) and self._stumbled_over(error):
            _log.debug("a message that cannot be used", exc_info=error)
            what = str(error) if isinstance(error, PacketDecodeError) else type(error).__name__
            error = ProtocolViolation(f"a message that cannot be used: {what}")
        if not isinstance(error, ProtocolViolation | asyncssh.DisconnectError):
            _log.error("internal error on a leg", exc_info=error)
        self.fail(error)

    def _stumbled_over(self, error: BaseException) -> bool:
        """Is this the peer's doing? asyncssh lets through whatever its decoders and the library of
        ciphers raise. Before the login, where all is its code, every error is the peer's: no
        stranger is worth a trace."""
        if isinstance(error, PacketDecodeError | UnicodeError):
            return True
        changes_keys = not self.out.ready and isinstance(error, ValueError)
        return changes_keys or self.mux.before_login is not None

    # -- global requests (RFC 4254 §4)

    def ask(self, name: bytes, fields: bytes, answered: Answered) -> None:
        """Ask the peer. `answered` gets the answer's fields, or None if it refused or is gone, as
        soon as the answer is read: before anything that comes behind it."""
        if self.alive:
            self.mux.requests.ask(name, fields, answered)
        else:
            answered(None)

    def tell(self, name: bytes, fields: bytes = b"") -> None:
        """A global request that wants no answer."""
        self.mux.requests.tell(name, fields)

    # -- what its keepalive calls

    @property
    def listening(self) -> bool:
        """Is the peer's input read at present?"""
        return not self.out.paused_by

    def ask_whether_alive(self, answered: Answered) -> None:
        self.guest.logger.debug1("Sending keepalive request")
        self.ask(b"keepalive@openssh.com", b"", answered)

    def gives_no_answer(self) -> None:
        peer = "Server" if self.guest.is_client() else "Client"
        if self.resumable is not None and self.resumable.resumable:
            self.resumable.lost(f"{peer} not responding to keepalive")
            return
        self._end(asyncssh.ConnectionLost(f"{peer} not responding to keepalive"))

    # -- its end

    def fail(self, error: BaseException) -> None:
        """End the leg: tell the peer if it did it, close the stream, tell every channel."""
        if isinstance(error, TagMismatch):
            self._send_disconnect(DISCONNECT_MAC_ERROR, str(error))
        elif isinstance(error, ProtocolViolation):
            self._send_disconnect(DISCONNECT_PROTOCOL_ERROR, str(error))
        elif isinstance(error, Replaced):
            self._send_disconnect(DISCONNECT_REPLACED, str(error))
        elif isinstance(error, asyncssh.DisconnectError):
            self._send_disconnect(error.code, error.reason)
        self._end(error)

    def disconnect(self, code: int, reason: str) -> None:
        """Tell the peer why, and close the leg."""
        self._send_disconnect(code, reason)
        self._end(None)

    def close(self) -> None:
        """Close the leg; it did what it was for."""
        self.disconnect(asyncssh.DISC_BY_APPLICATION, "Disconnected by application")

    def abort(self) -> None:
        """Close the leg without a word."""
        self._end(None)

    def _send_disconnect(self, code: int, reason: str) -> None:
        if self.alive:
            self.out.send_now(messages.disconnect(code, reason))

    def _end(self, error: BaseException | None) -> None:
        """Nothing is used or sent from now on, but for what is sealed. All who have a part in the
        leg are told in the loop's next turn: whoever found the end may be in the middle of
        something."""
        if not self.alive:
            return
        self.alive = False
        self.out.close()
        self.loop.call_soon(self._cleanup, error)

    def _cleanup(self, error: BaseException | None) -> None:
        """Whatever fails here is told, and the rest is done all the same: a service that outlives
        its leg keeps everybody else from its name."""
        self.keepalive.stop()
        if self._stall_check is not None:
            self._stall_check.cancel()
        if self._stream is not None:
            with whatever_fails("closing a stream"):
                self._stream.abort()
        for task in tuple(self._tasks):
            task.cancel()
        with whatever_fails("ending a handshake"):
            self.guest.abort()
        self.mux.lost(_told)
        with whatever_fails("taking leave of a leg"):
            self.lost(error if isinstance(error, Exception) else None)

    def lost(self, error: Exception | None) -> None:
        """The leg is gone, its channels have been told. None: we closed it, or the peer did in good
        order."""


def _told(end: Callable[[], None]) -> None:
    with whatever_fails("ending a channel"):
        end()
