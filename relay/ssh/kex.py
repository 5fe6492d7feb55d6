"""The server's half of a key exchange, in turns with everybody else.

asyncssh computes the whole of it in one go. What takes more than a millisecond stops nobody here:
an RSA signature is made in a thread, and sntrup761 in four steps, between which others have their
turn. And no table of asyncssh's has to know sntrup761 for it.

RFC 8731 (curve25519-sha256), draft-ietf-sshm-mlkem-hybrid-kex and draft-ietf-sshm-ntruprime-ssh:
the client's message holds its public keys, the server's answer its own, or what it has
encapsulated for the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import TYPE_CHECKING, Any, Final

from asyncssh.kex import Kex
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from relay.errors import ProtocolViolation
from relay.trust.algorithms import SNTRUP_KEX
from relay.wire import sntrup
from relay.wire.encoding import mpint, string
from relay.wire.numbers import MSG_KEX_ECDH_INIT, MSG_KEX_ECDH_REPLY

if TYPE_CHECKING:
    from asyncssh.packet import SSHPacket

    from relay.ssh.server_guest import ServerGuest

SIGNER: Final = ThreadPoolExecutor(1, "rsa")
"""Makes RSA signatures, which take milliseconds and leave the interpreter to others meanwhile. One
thread: a host key is one for all, and a leg has no more than one exchange under way."""

RSA: Final = b"ssh-rsa"

X25519_SIZE: Final = 32
MLKEM768_SIZE: Final = 1184
"""Bytes of a public key."""

Encapsulate = Callable[[bytes], Awaitable[tuple[bytes, bytes]]]
"""A secret for the owner of a public key, and the ciphertext by which it gets it. Raises
`ValueError`: that is no public key."""


async def _mlkem768(public_key: bytes) -> tuple[bytes, bytes]:
    return MLKEM768PublicKey.from_public_bytes(public_key).encapsulate()


async def _sntrup761(public_key: bytes) -> tuple[bytes, bytes]:
    steps = sntrup.encapsulation(public_key)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: tuple[bytes, bytes] = end.value
            return found
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """What stands before the X25519 keys in both messages."""

    encapsulate: Encapsulate
    public_size: int


METHODS: Final[dict[bytes, tuple[Any, Hybrid | None]]] = {
    b"curve25519-sha256": (sha256, None),
    b"curve25519-sha256@libssh.org": (sha256, None),
    b"mlkem768x25519-sha256": (sha256, Hybrid(_mlkem768, MLKEM768_SIZE)),
    **{name.encode(): (sha512, Hybrid(_sntrup761, sntrup.PUBLIC_KEY_SIZE)) for name in SNTRUP_KEX},
}
"""The hash of each, and its second key exchange if it has one."""


class ServerKex(Kex):
    """One key exchange. asyncssh's, as far as it asks for a `Kex`."""

    def __init__(self, algorithm: bytes, conn: ServerGuest) -> None:
        self._hash, self._hybrid = METHODS[algorithm]
        super().__init__(algorithm, conn, self._hash)
        self._server = conn
        self._answered = False

    async def start(self) -> None:
        """The client begins."""

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        if pkttype != MSG_KEX_ECDH_INIT or self._answered:
            return False
        self._answered = True
        client = packet.get_string()
        packet.check_end()
        return self._answer(client)

    async def _answer(self, client: bytes) -> None:
        conn, key = self._server, self._server.host_key
        assert key is not None
        try:
            secret, server = await self._agree(client)
        except ValueError:
            raise ProtocolViolation("an impossible public key in a key exchange") from None
        digest = self._hash(
            conn.get_hash_prefix()
            + string(key.public_data)
            + string(client)
            + string(server)
            + secret
        ).digest()
        if key.key_algorithm == RSA:
            loop = asyncio.get_running_loop()
            signature = await loop.run_in_executor(SIGNER, key.sign, digest)
        else:
            signature = key.sign(digest)
        if not conn.ended:
            self.send_packet(
                MSG_KEX_ECDH_REPLY, string(key.public_data) + string(server) + string(signature)
            )
            conn.send_newkeys(secret, digest)

    async def _agree(self, client: bytes) -> tuple[bytes, bytes]:
        """The shared secret, as the hash and the keys take it, and what the client gets."""
        private = X25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        if self._hybrid is None:
            return mpint(_exchange(private, client)), public
        size = self._hybrid.public_size
        if len(client) != size + X25519_SIZE:
            raise ValueError(f"{len(client)} bytes")
        found, ciphertext = await self._hybrid.encapsulate(client[:size])
        shared = _exchange(private, client[size:])
        return string(self._hash(found + shared).digest()), ciphertext + public


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """Raises `ValueError` for what is no key, and for one that makes the secret zero (RFC 8731 §3,
    RFC 7748 §6.1)."""
    return private.exchange(X25519PublicKey.from_public_bytes(public))
