"""A's or C's leg: dial B, check its key, log in."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import asyncssh

from relay.errors import FileError, HostKeyRefused, LegLost, PeerError, Refused, RelayError
from relay.log import EventLog
from relay.policy.forward import format_address
from relay.ssh.config import ClientConfig
from relay.ssh.internals import FastClientConnection, common_options
from relay.ssh.known_hosts import HostKeyVerifier, KnownHosts
from relay.ssh.leg import Leg
from relay.ssh.local import dial
from relay.wire.encoding import string, uint32

StreamHandler = Callable[[str, int, str, int], object]
"""Answers B's `forwarded-tcpip`: service host and port, origin host and port."""

LOGIN_TIMEOUT = 60
"""Seconds from the TCP connection to the login: a person may have to touch a security key."""


class ClientLeg(Leg, FastClientConnection):
    """The leg to B."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stream_handler: StreamHandler | None = None
        # Set when the leg is gone, with the reason in `error`.
        self.down = anyio.Event()
        self.error: Exception | None = None
        # Why the host key was not accepted, if it was not.
        self.refusal: RelayError | None = None

    def forwarded_tcpip(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        if self.stream_handler is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "nothing was asked to be forwarded"
            )
        return self.stream_handler(host, port, origin_host, origin_port)

    async def publish(self, host: str, port: int) -> int | None:
        """Ask B for `tcpip-forward` (RFC 4254 §7.1); returns the port, None if it refused.

        Raises `LegLost`.
        """
        answer = await self.global_request(b"tcpip-forward", string(host) + uint32(port))
        if not self.alive:
            raise LegLost("the connection was lost")
        if answer is None:
            return None
        return int.from_bytes(answer[:4], "big") if port == 0 else port


class Owner(asyncssh.SSHClient):
    """asyncssh's callbacks: the host key's check, and the end."""

    def __init__(self, verifier: HostKeyVerifier) -> None:
        self._verifier = verifier
        self._leg: ClientLeg | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        assert isinstance(conn, ClientLeg)
        self._leg = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        return self._accepts(lambda: self._verifier.verify(host, addr, port, key))

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._accepts(lambda: self._verifier.verify_ca(host, addr, port, key))

    def _accepts(self, verify: Callable[[], None]) -> bool:
        """asyncssh wants yes or no; the reason is kept for `connect` to raise."""
        assert self._leg is not None
        try:
            verify()
        except RelayError as error:
            self._leg.refusal = error
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._leg is not None:
            self._leg.error = exc
            self._leg.down.set()


async def connect(config: ClientConfig, log: EventLog) -> ClientLeg:
    """A leg to B that has logged in.

    Raises `PeerError` or `LocalError`, with a text for the user.
    """
    where = format_address(config.host, config.port)
    verifier = HostKeyVerifier(config, KnownHosts.load(config, log), log)
    options = client_options(config, verifier)
    sock = await _dial(config, where)
    loop = asyncio.get_running_loop()
    options.waiter = loop.create_future()
    leg = ClientLeg(loop, options, wait="auth")
    leg.rekey_limit = config.rekey_limit
    try:
        leg.attach(sock)
        await options.waiter
    except BaseException as error:
        leg.abort()
        if isinstance(error, Exception):
            raise leg.refusal or explain(error, config) from None
        raise
    log.debug(
        "leg up", "connected to {where} ({version}, {cipher})",
        where=where, version=leg.get_extra_info("server_version", ""),
        cipher=leg.get_extra_info("send_cipher", ""),
    )  # fmt: skip
    return leg


async def _dial(config: ClientConfig, where: str) -> socket.socket:
    try:
        with anyio.fail_after(config.connect_timeout):
            return await dial(config.host, config.port)
    except TimeoutError:
        raise LegLost(f"cannot connect to {where}: timed out") from None
    except OSError as error:
        raise LegLost(f"cannot connect to {where}: {error.strerror or error}") from None


def client_options(
    config: ClientConfig, verifier: HostKeyVerifier
) -> asyncssh.SSHClientConnectionOptions:
    """asyncssh's options for one leg. Raises `FileError` for a key file that cannot be used."""
    keys: dict[str, Any] = {}
    if config.identity_files:
        keys = {
            "client_keys": [_load_identity(path) for path in config.identity_files],
            # As ssh does: `-i` adds to the agent's keys unless IdentitiesOnly says otherwise.
            "agent_path": os.environ.get("SSH_AUTH_SOCK") or None,
        }
    return asyncssh.SSHClientConnectionOptions(
        **common_options(server=False, ciphers=config.ciphers),
        client_factory=lambda: Owner(verifier),
        client_version="relay",
        host=config.host,
        port=config.port,
        username=config.user,
        # Only what is revoked, so that every other key is put to our verifier.
        known_hosts=verifier.revocations,
        server_host_key_algs=verifier.preferred_algorithms(),
        preferred_auth="publickey",
        login_timeout=LOGIN_TIMEOUT,
        **keys,
    )


def _load_identity(path: Path) -> Any:
    """The key pair of `-i`: the private key, with its certificate if one lies beside it."""
    try:
        return asyncssh.load_keypairs(str(path))[0]
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if isinstance(error, OSError):
            problem = error.strerror or str(error)
        elif "assphrase" in str(error) or isinstance(error, asyncssh.KeyEncryptionError):
            problem = "the key has a passphrase: add it to ssh-agent with ssh-add"
        else:
            problem = str(error)
        raise FileError(path, problem) from None


def explain(error: Exception, config: ClientConfig) -> RelayError:
    """What went wrong with B, in words for the user."""
    where = format_address(config.host, config.port)
    if isinstance(error, RelayError):
        return error if str(error) else LegLost(f"{where}: connection closed")
    if isinstance(error, asyncssh.PermissionDenied):
        return Refused(
            f"{config.user}@{where}: Permission denied (publickey): "
            "is this key in the server's authorized_keys?"
        )
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyRefused(f"{where}: {error}")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return PeerError(f"{where}: {error.reason}")
    if isinstance(error, asyncssh.DisconnectError):
        return LegLost(f"{where}: {error.reason}")
    return LegLost(f"{where}: {error or type(error).__name__}")
