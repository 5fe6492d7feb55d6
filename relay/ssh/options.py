"""asyncssh's options for a leg: our algorithms and nothing of the user's asyncssh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncssh
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs

from relay.trust import algorithms


def available(names: tuple[str, ...], known: list[bytes]) -> list[str]:
    """Those of `names` that asyncssh has on this machine (post-quantum ones need new OpenSSL)."""
    return [name for name in names if name.encode() in known]


def common_options(*, server: bool, ciphers: tuple[str, ...]) -> dict[str, Any]:
    """The options that every leg has: our algorithms and nothing of the user's asyncssh."""
    return {
        "config": None,
        "kex_algs": available(
            algorithms.SERVER_KEX if server else algorithms.CLIENT_KEX, get_kex_algs()
        ),
        "encryption_algs": list(ciphers or algorithms.CIPHERS),
        "mac_algs": available(algorithms.MACS, get_mac_algs()),
        "compression_algs": None,
        "signature_algs": list(algorithms.SIGNATURES),
        "x509_trusted_certs": None,
        "host_based_auth": False,
        "kbdint_auth": False,
        "password_auth": False,
        "gss_host": None,
        # When keys are changed, and whether the peer is alive, is the leg's to say.
        "rekey_bytes": 2**63,
        "rekey_seconds": 0,
        "keepalive_interval": 0,
    }


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What serving legs are made with; one object serves any number of them."""

    asyncssh: asyncssh.SSHServerConnectionOptions
    client_alive_interval: float
    client_alive_count_max: int
