"""A's or C's leg: dial B, check its key, log in."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable

import anyio
import asyncssh
from asyncssh.kex import get_kex_algs

from relay.core.forward import format_address
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import BYTES_BEFORE_OUR_LOGIN, PACKETS_BEFORE_OUR_LOGIN
from relay.errors import (
    HostKeyRefused,
    LegLost,
    PeerError,
    ProtocolViolation,
    Refused,
    RelayError,
    Replaced,
    UsageError,
)
from relay.events import Events
from relay.events.client import Connected
from relay.io.engine import Engine
from relay.io.nested import NestedStream
from relay.io.proxy import ProxyCommand
from relay.io.resume import ResumableStream
from relay.ssh.denied import TOO_MANY_TRIES, denied
from relay.ssh.guest import ClientGuest
from relay.ssh.leg import Leg
from relay.ssh.options import available, common_options
from relay.ssh.way import reach
from relay.sshconfig.client import ClientConfig
from relay.trust.identities import Identities, load_identities
from relay.trust.known_hosts import HostKeyVerifier, KnownHosts
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
    DISCONNECT_REPLACED,
    RELAY_VERSION,
    SERVICE_REFUSED,
    SERVICE_STATE,
    SERVICE_TAKEN,
    VERSION_START,
    OpenFailure,
)

StreamHandler = Callable[[str, int, str, int], ChannelHandler]
"""Answers B's `forwarded-tcpip`: service host and port, origin host and port."""

LOGIN_TIMEOUT = 60
"""Seconds from the TCP connection to the login: a person may have to touch a security key."""

SHORTEST_LOGIN_SILENCE = 5.0
"""Seconds that B may take for an answer before the login, however short the keepalive's patience
is: it lets those wait who come too fast."""


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


class Owner(asyncssh.SSHClient):
    """asyncssh's callbacks: the host key's check, and the end."""

    def __init__(self, verifier: HostKeyVerifier) -> None:
        self._verifier = verifier
        self._leg: ClientLeg | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        assert isinstance(conn, ClientGuest)
        assert isinstance(conn.host, ClientLeg)
        self._leg = conn.host

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        return self._accepts(lambda: self._verifier.verify(host, addr, port, key))

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._accepts(lambda: self._verifier.verify_ca(host, addr, port, key))

    def _accepts(self, verify: Callable[[], None]) -> bool:
        """asyncssh wants yes or no; the reason is kept for `connect` to raise."""
        assert self._leg is not None
        self._leg.host_key_shown()
        try:
            verify()
        except RelayError as error:
            self._leg.refusal = error
            return False
        return True

    def auth_completed(self) -> None:
        assert self._leg is not None
        self._leg.login_over()
        if not self._leg.login.done():
            self._leg.login.set_result(None)


async def connect(
    config: ClientConfig, events: Events, engine: Engine, *, resumable: bool = False
) -> ClientLeg:
    """A leg to the host that `config` names, logged in, through those of its `proxy_jump`.
    `resumable`: it may change what carries it, if it is a session inside another leg.

    Raises `PeerError` or `LocalError`, with a text for the user.
    """
    via = await jump(config, events, engine)
    return await _onwards(config, events, engine, via, config, resumable=resumable)


async def jump(config: ClientConfig, events: Events, engine: Engine) -> ClientLeg | None:
    """A leg to the last jump host on the way; None: there is none. Raises as `connect`."""
    leg: ClientLeg | None = None
    for hop in config.proxy_jump:
        leg = await _onwards(hop, events, engine, leg, config)
    return leg


async def _onwards(
    config: ClientConfig,
    events: Events,
    engine: Engine,
    via: ClientLeg | None,
    asked: ClientConfig,
    *,
    resumable: bool = False,
) -> ClientLeg:
    try:
        return await _connect(config, events, engine, via, asked, resumable=resumable)
    except BaseException:
        if via is not None:
            via.close()
        raise


async def _connect(
    config: ClientConfig,
    events: Events,
    engine: Engine,
    via: ClientLeg | None,
    asked: ClientConfig,
    *,
    resumable: bool = False,
) -> ClientLeg:
    """One leg: from here, or as a session inside `via`, which ends with it; on the way to the host
    that was `asked` for, or to that."""
    where = format_address(config.host, config.port)
    verifier = HostKeyVerifier(config, KnownHosts.load(config, events), events)
    identities = await load_identities(config, events)
    try:
        # "This timeout is applied both to establishing the connection and to performing the
        # initial SSH protocol handshake and key exchange."
        with anyio.fail_after(config.connect_timeout) as timeout:
            options = client_options(config, verifier, identities)
            way, proxy = await reach(config, via)
            leg = ClientLeg(engine, options)
            # asyncssh knows no 0, which to ssh means that one question must be answered in time.
            count_max = max(1, config.server_alive_count_max)
            leg.keepalive.set(config.server_alive_interval, count_max)
            leg.mux.rekey.limit = config.rekey_limit
            leg.proxy, leg.via = proxy, via
            leg.host_key_shown = lambda: setattr(timeout, "deadline", math.inf)
            if (patience := leg.keepalive.patience) and not identities.need_a_person:
                silence = max(patience, SHORTEST_LOGIN_SILENCE)
                leg.expect_answers(silence, f"cannot connect to {where}: no answer")
            stream: NestedStream | ResumableStream | socket.socket = way
            if resumable and isinstance(way, NestedStream):
                stream = ResumableStream(way, engine.retained)
            await _log_in(leg, stream, config, identities, asked)
    except TimeoutError:
        raise LegLost(f"cannot connect to {where}: timed out") from None
    finally:
        identities.close()
    if config.rekey_seconds:
        leg.rekey_every(config.rekey_seconds)
    version, cipher = (leg.get_extra_info(name, "") for name in ("server_version", "send_cipher"))
    events.emit(Connected(where, version, cipher))
    return leg


async def _log_in(
    leg: ClientLeg,
    way: socket.socket | NestedStream | ResumableStream,
    config: ClientConfig,
    identities: Identities,
    asked: ClientConfig,
) -> None:
    try:
        if isinstance(way, socket.socket):
            leg.attach(way)
        else:
            leg.attach_nested(way)
        await leg.login
    except BaseException as error:
        failure = leg.proxy.failure() if leg.proxy is not None else ""
        leg.abort()
        if not isinstance(error, Exception):
            raise
        if failure:
            where = format_address(config.host, config.port)
            raise LegLost(f"cannot connect to {where}: {failure}") from None
        cut_short = isinstance(error, asyncssh.DisconnectError) and TOO_MANY_TRIES in error.reason
        if isinstance(error, asyncssh.PermissionDenied) or cut_short:
            version = leg.get_extra_info("server_version", "")
            raise denied(config, identities, version, asked, cut_short=cut_short) from None
        raise leg.refusal or explain(error, config) from None


def client_options(
    config: ClientConfig, verifier: HostKeyVerifier, identities: Identities
) -> asyncssh.SSHClientConnectionOptions:
    """asyncssh's options for one leg. Raises `UsageError`."""
    options = common_options(server=False, ciphers=config.ciphers)
    if config.kex_algorithms:
        options["kex_algs"] = available(config.kex_algorithms, get_kex_algs())
        if not options["kex_algs"]:
            raise UsageError("of the KexAlgorithms asked for, this machine's OpenSSL has none")
    if config.mac_algorithms:
        options["mac_algs"] = list(config.mac_algorithms)
    return asyncssh.SSHClientConnectionOptions(
        **options,
        client_factory=lambda: Owner(verifier),
        client_version=RELAY_VERSION.removeprefix(VERSION_START),
        host=config.host,
        port=config.port,
        username=config.user,
        # An empty list would stand for ~/.ssh/id_*, which have been looked at already.
        client_keys=identities.pairs or None,
        agent_path=None,
        # Only what is revoked, so that every other key is put to our verifier.
        known_hosts=verifier.revocations,
        host_key_alias=config.host_key_alias or None,
        server_host_key_algs=verifier.preferred_algorithms(),
        preferred_auth="publickey",
        login_timeout=LOGIN_TIMEOUT,
    )


def about(leg: ClientLeg | None) -> dict[str, str]:
    """What a person wants to know of a connection; empty: there is none."""
    if leg is None or not leg.alive:
        return {}
    return {
        "server": leg.get_extra_info("server_version", ""),
        "cipher": leg.get_extra_info("send_cipher", ""),
    } | ({} if leg.resumable is None else {"resumable": leg.resumable.about})


def explain(error: Exception, config: ClientConfig) -> RelayError:
    """What went wrong with B, in words for the user."""
    where = format_address(config.host, config.port)
    if isinstance(error, ProtocolViolation):
        return ProtocolViolation(f"{where}: {error}")
    if isinstance(error, RelayError):
        return error if str(error) else LegLost(f"{where}: connection closed")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyRefused(f"{where}: {error}")
    if isinstance(error, asyncssh.DisconnectError) and error.code == DISCONNECT_REPLACED:
        return Replaced(f"{where}: another program with the same key has taken over")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return PeerError(f"{where}: {error.reason}")
    if isinstance(error, asyncssh.DisconnectError):
        return LegLost(f"{where}: {error.reason}")
    return LegLost(f"{where}: {error or type(error).__name__}")
