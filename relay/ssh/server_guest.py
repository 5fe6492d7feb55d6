"""B's guest: what it offers in a key exchange that is its own, and who may log in.

It hears the client's KEXINIT first, and offers the ciphers that are best for this client.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.connection import SSHServerConnection
from asyncssh.kex import Kex
from asyncssh.packet import SSHPacket

from relay.ssh.guest import Guest, Host
from relay.ssh.kex import ServerKex
from relay.trust import algorithms
from relay.trust.user_certificates import decode_public_key, decode_user_certificate, presence
from relay.wire.encoding import Reader, string
from relay.wire.numbers import MSG_KEXINIT

KEXINIT_PATIENCE: Final = 1.0
"""Seconds that B waits for the client's KEXINIT before it sends its own. Every client we know
sends at once (RFC 4253 §7.1 lets both); one that waits for ours is offered all ciphers."""

CURVE25519: Final = b"curve25519-sha256"
"""A key exchange that asyncssh always has."""


class ServerHost(Host, Protocol):
    """What the serving side asks of its leg besides."""

    def signature_refused(self, algorithm: str) -> None:
        """The client signed with an algorithm that is not accepted."""

    def validate_key(self, key: asyncssh.SSHKey) -> bool:
        """Is this key authorized? Its signature is verified then."""

    def trusts(self, authority: bytes) -> bool:
        """Does a signature of this authority count anywhere? It is verified then."""

    def validate_certificate(self, username: str, certificate: Any) -> asyncssh.SSHKey | None:
        """The key of a user certificate that is accepted, or None."""

    def validate_presence(self, presence: tuple[bool, bool] | None) -> bool:
        """Does what a security key says of its user, who touched it and proved to be its owner,
        do for the key that was just validated? None: it is no security key."""

    def login_refused(self) -> None:
        """A request to log in is refused; raises `asyncssh.DisconnectError` if there were too
        many."""


class ServerGuest(Guest, SSHServerConnection):
    """B's side."""

    host: ServerHost

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._own_kex: Kex | None = None
        self._kex_chosen = b""
        # The exchange hash of the first key exchange (RFC 4253 §7.2).
        self._session = b""
        # Our first KEXINIT waits for the client's.
        self._kexinit_timer: asyncio.TimerHandle | None = None
        self._client_was_heard = False
        # The host key that was chosen, with the algorithm that this client chose for it.
        self.host_key: asyncssh.SSHKeyPair | None = None
        super().__init__(*args, **kwargs)

    def packet(self, payload: bytes) -> None:
        if payload[0] == MSG_KEXINIT and not self._client_was_heard:
            self._client_was_heard = True
            if self._kexinit_timer is not None:
                self._offer(_ciphers_of(payload))
        super().packet(payload)

    # -- key exchange

    def _send_kexinit(self) -> None:
        if self._session or self._client_was_heard:
            super()._send_kexinit()
            return
        # Which ciphers to offer depends on what the client offers: see `offer_to`.
        loop = asyncio.get_running_loop()
        self._kexinit_timer = loop.call_later(KEXINIT_PATIENCE, self._offer, ())

    def _offer(self, client: tuple[str, ...]) -> None:
        """B's first KEXINIT, once it is known what the client offers, or it has kept silent."""
        if self._kexinit_timer is None or self.ended:
            return
        self._kexinit_timer.cancel()
        self._kexinit_timer = None
        ours = tuple(name.decode() for name in self._enc_algs)
        if client:
            offered = algorithms.offer_to(client, ours)
            self._enc_algs = [name.encode() for name in offered]
            if algorithms.brings_its_own_mac(offered):
                self._mac_algs = [name.encode() for name in algorithms.ETM_MACS]
        super()._send_kexinit()

    def _choose_alg(self, alg_type: str, local_algs: Any, remote_algs: Any) -> bytes:
        chosen: bytes = super()._choose_alg(alg_type, local_algs, remote_algs)
        if alg_type != "key exchange":
            return chosen
        self._kex_chosen = chosen
        return CURVE25519  # Whatever it makes of it, `_kex` is ours.

    def choose_server_host_key(self, peer_host_key_algs: Any) -> bool:
        # asyncssh writes the algorithm that one client chooses into what all clients share.
        chosen: bool = super().choose_server_host_key(peer_host_key_algs)
        self.host_key = copy.copy(self.get_server_host_key())
        return chosen

    @property
    def _kex(self) -> Kex | None:
        return self._own_kex

    @_kex.setter
    def _kex(self, value: Kex | None) -> None:
        self._own_kex = ServerKex(self._kex_chosen, self) if value is not None else None

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        self._session = self._session or h
        super().send_newkeys(k, h)

    # -- login

    async def reload_config(self) -> None:
        """asyncssh reads its configuration anew for each user; there is none."""

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """asyncssh verifies whatever algorithm the signature names; ours must be among those
        that we announce (RFC 8332 §3: SHA-1 is not). And what a security key vouches for is ours
        to judge: asyncssh would not do so for what a certificate says."""
        if msg:
            algorithm = SSHPacket(signature).get_string().decode("ascii", "replace")
            if algorithm not in algorithms.SIGNATURES:
                self.host.signature_refused(algorithm)
                return False
        certificate = decode_user_certificate(key_data, self.host.trusts)
        if certificate is None:
            key = self._authorized(key_data)
        else:
            key = self.host.validate_certificate(username, certificate)
        if key is None or not msg:
            return key is not None
        key.set_touch_required(False)
        verified: bool = key.verify(string(self._session) + msg, signature)
        return verified and self.host.validate_presence(presence(signature))

    def _authorized(self, key_data: bytes) -> asyncssh.SSHKey | None:
        key = decode_public_key(key_data)
        return key if key is not None and self.host.validate_key(key) else None

    def send_userauth_failure(self, partial_success: bool) -> None:
        self.host.login_refused()
        super().send_userauth_failure(partial_success)

    def _force_close(self, exc: Exception | None) -> None:
        if self._kexinit_timer is not None:
            self._kexinit_timer.cancel()
            self._kexinit_timer = None
        super()._force_close(exc)


def _ciphers_of(kexinit: bytes) -> tuple[str, ...]:
    """Those that a KEXINIT offers for what its sender sends (RFC 4253 §7.1). Raises
    `ProtocolViolation`."""
    reader = Reader(kexinit)
    reader.skip(1 + 16)  # The message number and the cookie.
    for _ in range(2):
        reader.string()
    return tuple(reader.string().decode("ascii", "replace").split(","))
