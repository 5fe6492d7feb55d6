"""What is offered in a key exchange, and why in this order.

Nothing that ssh-audit fails: no NIST curves, no SHA-1, no CBC, no arcfour. Compression is never
offered: it would have to be undone and redone at B for every packet, and tells lengths apart.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SERVER_KEX: Final = (
    # First, although the client's order decides: dropbear 2022.83 sends its guess with the first
    # packet, and asyncssh takes a guess for right only if it is the first of both lists.
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "mlkem768x25519-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)

CLIENT_KEX: Final = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)

FAST_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Opened and sealed in place."""

SLOW_CIPHERS: Final = ("chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr")
"""Served through asyncssh's packet code, for peers without AES-GCM."""

CIPHERS: Final = FAST_CIPHERS + SLOW_CIPHERS

MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    # dropbear knows no encrypt-then-MAC.
    "hmac-sha2-256",
    "hmac-sha2-512",
)

SIGNATURES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
"""Of users' keys (`server-sig-algs`, RFC 8308 §3.1). Never `ssh-rsa`, which signs with SHA-1."""


def offer_to(client: Collection[str], ours: tuple[str, ...]) -> tuple[str, ...]:
    """Which of our ciphers to offer to a client that offers `client`.

    The client's order decides (RFC 4253 §7.1), and ssh puts chacha20 first: were both offered,
    every stock ssh would leave the fast path. So a client that has AES-GCM is offered that alone.
    """
    fast = tuple(name for name in ours if name in FAST_CIPHERS)
    return fast if any(name in client for name in fast) else ours
