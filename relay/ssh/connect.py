"""From a host's name to a leg that has logged in: dial B, or through others, and check its key."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import asyncssh
from asyncssh.kex import get_kex_algs

from relay.core.forward import format_address
from relay.errors import (
    HostKeyRefused,
    LegLost,
    PeerError,
    ProtocolViolation,
    RelayError,
    Replaced,
    UsageError,
)
from relay.events import Events
from relay.events.client import Connected
from relay.io.engine import Engine
from relay.io.nested import NestedStream
from relay.io.resume import ResumableStream
from relay.ssh.client import ClientLeg
from relay.ssh.denied import TOO_MANY_TRIES, denied
from relay.ssh.guest import ClientGuest
from relay.ssh.options import available, common_options
from relay.ssh.way import reach
from relay.sshconfig.client import ClientConfig
from relay.trust.identities import Identities, load_identities
from relay.trust.known_hosts import HostKeyVerifier, KnownHosts
from relay.wire.numbers import (
    DISCONNECT_REPLACED,
    RELAY_VERSION,
    VERSION_START,
)

LOGIN_TIMEOUT = 60
"""Seconds from the TCP connection to the login: a person may have to touch a security key."""

SHORTEST_LOGIN_SILENCE = 5.0
"""Seconds that B may take for an answer before the login, however short the keepalive's patience
is: it lets those wait who come too fast."""


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
    with or_closed(via):
        return await _connect(config, events, engine, via, config, resumable=resumable)


async def jump(config: ClientConfig, events: Events, engine: Engine) -> ClientLeg | None:
    """A leg to the last jump host on the way; None: there is none. Raises as `connect`."""
    leg: ClientLeg | None = None
    for hop in config.proxy_jump:
        with or_closed(leg):
            leg = await _connect(hop, events, engine, leg, config)
    return leg


@contextmanager
def or_closed(via: ClientLeg | None) -> Iterator[None]:
    """Close the leg, if there is one, unless what is done with it comes to something."""
    try:
        yield
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
