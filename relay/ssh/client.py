"""A's or C's leg to B: what it asks for, and what B asks and says on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import asyncssh

from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import BYTES_BEFORE_OUR_LOGIN, PACKETS_BEFORE_OUR_LOGIN
from relay.errors import (
    LegLost,
    Refused,
    RelayError,
)
from relay.io.engine import Engine
from relay.io.proxy import ProxyCommand
from relay.ssh.guest import ClientGuest
from relay.ssh.leg import Leg
from relay.wire.messages import (
    LONGEST_REASON,
    forward_fields,
    parse_forward,
    parse_port,
    parse_service_refused,
    parse_service_state,
    parse_tcpip,
)
from relay.wire.numbers import (
    ASK_AGAIN,
    RELAY_VERSION,
    SERVICE_REFUSED,
    SERVICE_STATE,
    SERVICE_TAKEN,
    OpenFailure,
)

StreamHandler = Callable[[str, int, str, int], ChannelHandler]
"""Answers B's `forwarded-tcpip`: service host and port, origin host and port."""


class ClientLeg(Leg):
    """The leg to B."""

    def __init__(self, engine: Engine, options: asyncssh.SSHClientConnectionOptions) -> None:
        # asyncssh's own word for the login; that of `login` is the leg's.
        options.waiter = engine.loop.create_future()
        options.waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.guest: ClientGuest
        guest = ClientGuest(engine.loop, options, wait="auth")
        limits = BeforeLogin(PACKETS_BEFORE_OUR_LOGIN, BYTES_BEFORE_OUR_LOGIN)
        super().__init__(engine, guest, limits)
        self.login: asyncio.Future[None] = engine.loop.create_future()
        """Done when the login is over; fails if it is not to be."""
        self.stream_handler: StreamHandler | None = None
        # Set when the leg is gone, with the reason in `error`.
        self.down = anyio.Event()
        # Set when it is gone, or has lost what carries it. Another one when it goes on.
        self.away = anyio.Event()
        # Called when it does.
        self.when_attached: Callable[[], object] = lambda: None
        self.error: Exception | None = None
        # Why the host key was not accepted, if it was not.
        self.refusal: RelayError | None = None
        # Called when B says that what it refused is worth asking for again, and when it gives a
        # service of ours (its address and port as we asked for it) to another program, and why.
        self.ask_again: Callable[[], object] = lambda: None
        self.service_taken: Callable[[str, int, str], object] = lambda host, port, why: None
        # B's reason for the refusal that comes next; empty: it has none.
        self._why_refused = ""
        # Called as soon as B has shown its host key.
        self.host_key_shown: Callable[[], None] = lambda: None
        # The command that the leg runs over, if it does.
        self.proxy: ProxyCommand | None = None
        # The leg that this one is a session inside of; it has no other use, and ends with it.
        self.via: ClientLeg | None = None
        self._rekey_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def expect_answers(self, seconds: float, problem: str) -> None:
        """Until the login, give B up after so much silence: the keepalive begins behind it (no
        server takes a global request before, RFC 4252 §6), and on a link that is lost in between
        nothing of ours may be under way that the kernel would miss an answer to."""
        self.keepalive.heard = self.loop.time()
        self._check_answer(seconds, problem)

    def _check_answer(self, seconds: float, problem: str) -> None:
        if self.mux.before_login is None:
            return
        left = seconds - self.keepalive.silence
        if left <= 0:
            self.fail(LegLost(problem))
            return
        self._answer_timer = self.loop.call_later(left, self._check_answer, seconds, problem)

    def rekey_every(self, seconds: float) -> None:
        """Change keys after so much time, if anything was sent under them (RFC 4253 §9)."""
        self._rekey_timer = self.loop.call_later(seconds, self._rekey_timed, seconds)

    def _rekey_timed(self, seconds: float) -> None:
        if self.alive and self.mux.may_change_keys:
            self.guest.change_keys()
        self.rekey_every(seconds)

    def lost(self, error: Exception | None) -> None:
        for timer in (self._rekey_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        if self.proxy is not None:
            self.proxy.close()
        if self.via is not None:
            self.via.close()
        if not self.login.done():
            self.login.set_exception(error or LegLost("connection closed"))
            self.login.exception()  # Nobody may wait for it.
        self.error = error
        self.down.set()
        self.away.set()

    def held(self) -> None:
        super().held()
        if self.alive:
            self.away.set()

    def goes_on(self, away: float) -> None:
        self.away = anyio.Event()
        super().goes_on(away)
        self.when_attached()

    def let_go(self) -> None:
        via, self.via = self.via, None
        if via is not None:
            via.close()
        super().let_go()

    def opened(self, kind: bytes, fields: bytes) -> ChannelHandler:
        if kind != b"forwarded-tcpip":
            return super().opened(kind, fields)
        host, port, origin_host, origin_port = parse_tcpip(fields)
        if self.stream_handler is None:
            raise OpenRefused(
                OpenFailure.ADMINISTRATIVELY_PROHIBITED, "nothing was asked to be forwarded"
            )
        return self.stream_handler(host, port, origin_host, origin_port)

    @property
    def server_host_key(self) -> asyncssh.SSHKey | None:
        """What the other side has proved to be."""
        return self.guest.get_server_host_key()

    @property
    def to_a_relay(self) -> bool:
        """Is the other side a relay-server, which knows requests of our own?"""
        return bool(self.get_extra_info("server_version", "") == RELAY_VERSION)

    def told(self, name: bytes, fields: bytes) -> None:
        if name == ASK_AGAIN:
            self.ask_again()
        elif name == SERVICE_REFUSED:
            self._why_refused = parse_service_refused(fields)[1]
        elif name == SERVICE_TAKEN:
            self.service_taken(*parse_forward(fields), self._why())
        else:
            super().told(name, fields)

    def _why(self) -> str:
        why, self._why_refused = self._why_refused, ""
        return why[:LONGEST_REASON]

    async def publish(
        self, host: str, port: int, granted: Callable[[int], object] = lambda port: None
    ) -> int:
        """Ask B for `tcpip-forward` (RFC 4254 §7.1); returns the port.

        `granted` is called with the port as soon as the answer is read: the first stream for the
        service may come right behind it.

        Raises `Refused`, with B's reason if it gives one, and `LegLost`.
        """
        done: asyncio.Future[int | Refused] = self.engine.loop.create_future()

        def answered(fields: bytes | None) -> None:
            # What B said before is this answer's: it gives one after the other (RFC 4254 §4).
            found: int | Refused = Refused(self._why())
            if fields is not None:
                found = parse_port(fields) if port == 0 else port
                granted(found)
            if not done.done():  # Nobody waits any more.
                done.set_result(found)

        self.ask(b"tcpip-forward", forward_fields(host, port), answered)
        found = await done
        if not self.alive:
            raise LegLost("the connection was lost")
        if isinstance(found, Refused):
            raise found
        return found

    def outlook(
        self, host: str, port: int, answered: Callable[[tuple[int, str, str] | None], object]
    ) -> None:
        """Ask B what would become of a stream to this: `answered` gets the fields of its answer to
        `SERVICE_STATE`, or None if it gives none. An sshd is not asked."""

        def read(fields: bytes | None) -> None:
            answered(None if fields is None else parse_service_state(fields))

        if self.to_a_relay:
            self.ask(SERVICE_STATE, forward_fields(host, port), read)
        else:
            answered(None)

    async def withdraw(self, host: str, port: int) -> bool:
        """Ask B for `cancel-tcpip-forward` (RFC 4254 §7.1); returns whether B knew the service.

        Raises `LegLost`.
        """
        done: asyncio.Future[bool] = self.engine.loop.create_future()

        def answered(fields: bytes | None) -> None:
            if not done.done():
                done.set_result(fields is not None)

        self.ask(b"cancel-tcpip-forward", forward_fields(host, port), answered)
        known = await done
        if not self.alive:
            raise LegLost("the connection was lost")
        return known
