"""What serving legs are made with: asyncssh's options, and its callbacks passed to the leg."""

from __future__ import annotations

from collections.abc import Sequence

import asyncssh

from relay.core.limits import CLIENT_ALIVE_COUNT_MAX, CLIENT_ALIVE_INTERVAL, LOGIN_GRACE_TIME
from relay.ssh.keepalive import NEVER_GIVE_UP
from relay.ssh.options import ServerOptions, common_options
from relay.ssh.server import ServerLeg
from relay.ssh.server_guest import ServerGuest
from relay.trust.algorithms import SNTRUP_KEX
from relay.trust.hostkeys import HostIdentity
from relay.wire.numbers import RELAY_VERSION, VERSION_START


class Owner(asyncssh.SSHServer):
    """asyncssh's callbacks, passed to the leg and its host. Public keys are the only way in."""

    _leg: ServerLeg

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, ServerGuest)
        assert isinstance(conn.host, ServerLeg)
        self._leg = conn.host

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def auth_completed(self) -> None:
        self._leg.logged_in = True
        self._leg.login_over()
        self._leg.host.leg_up(self._leg)


def server_options(
    host_keys: Sequence[HostIdentity],
    ciphers: tuple[str, ...],
    login_grace_time: float = LOGIN_GRACE_TIME,
    client_alive_interval: float = CLIENT_ALIVE_INTERVAL,
    client_alive_count_max: int = CLIENT_ALIVE_COUNT_MAX,
    version: str = RELAY_VERSION,
) -> ServerOptions:
    """The options of serving legs."""
    options = asyncssh.SSHServerConnectionOptions(
        **common_options(server=True, ciphers=ciphers),
        server_factory=Owner,
        server_host_keys=list(host_keys),
        server_version=version.removeprefix(VERSION_START),
        login_timeout=login_grace_time,
        authorized_client_keys=None,
        agent_forwarding=False,
    )
    # `ServerKex` has it; asyncssh's table of key exchanges is nobody's to change.
    options.kex_algs = [*options.kex_algs, *map(str.encode, SNTRUP_KEX)]
    return ServerOptions(
        options,
        client_alive_interval,
        # sshd_config(5): "Setting a zero ClientAliveCountMax disables connection termination."
        client_alive_count_max or NEVER_GIVE_UP,
    )
