"""What is offered in a key exchange, and why in this order.

Nothing that ssh-audit fails: no NIST curves, no SHA-1, no CBC, no arcfour. Compression is never
offered: it would have to be undone and redone at B for every packet, and tells lengths apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from relay.core.patterns import match_pattern
from relay.errors import UsageError

SNTRUP_KEX: Final = ("sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com")
"""What OpenSSH 8.5 to 9.8 and PuTTY 0.78 have against quantum computers."""

# What one key exchange costs the server, in microseconds of the loop's thread (CPython 3.11,
# cryptography 50, one core of an EPYC that others keep busy; a quiet one needs two thirds):
#
#     curve25519-sha256                 80      + signature by ssh-ed25519            40
#     mlkem768x25519-sha256            230                     ecdsa-sha2-nistp256    45
#     sntrup761x25519-sha512   1,400-2,500                     ecdsa-sha2-nistp384   260
#     diffie-hellman-group14           690                     ecdsa-sha2-nistp521   310
#     diffie-hellman-group16         3,100                     RSA of 2,048 bits     670
#     diffie-hellman-group18        16,000                     RSA of 3,072 bits   2,000
#                                                              RSA of 4,096 bits   4,800
#
# (sntrup761 beside X25519: the least and the median of fifty.) What takes more than a millisecond
# keeps all waiting, so the groups are not offered: the library keeps the interpreter to itself
# while it computes, and a thread would help nobody. It does not for RSA, which is signed with in a
# thread of its own. sntrup761 is Python, and is computed in four steps, between which others have
# their turn. Whoever knows no Curve25519 (an OpenSSH before 6.5, of 2014, or one in FIPS mode) is
# not served.
SERVER_KEX: Final = (
    # First, although the client's order decides: dropbear 2022.83 sends its guess with the first
    # packet, and asyncssh takes a guess for right only if it is the first of both lists.
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "mlkem768x25519-sha256",
    *SNTRUP_KEX,
)

CLIENT_KEX: Final = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    # For an sshd in FIPS mode, which has no other of these.
    "diffie-hellman-group16-sha512",
)

FAST_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Opened and sealed in place."""

SLOW_CIPHERS: Final = ("chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr")
"""Served through asyncssh's packet code, for peers without AES-GCM."""

CIPHERS: Final = FAST_CIPHERS + SLOW_CIPHERS

ETM_MACS: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")

# dropbear knows no encrypt-then-MAC.
MACS: Final = (*ETM_MACS, "hmac-sha2-256", "hmac-sha2-512")

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


HOST_KEYS: Final = (
    "ssh-ed25519",
    "rsa-sha2-512",
    "rsa-sha2-256",
    # Last: a weak random number gives an ECDSA key away. Some servers have no other.
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
)
"""What a client accepts from a server that it knows nothing of. No SHA-1, no DSA."""


def certified(names: Sequence[str]) -> tuple[str, ...]:
    """The same algorithms with a certificate of the key in place of the key (PROTOCOL.certkeys)."""
    return tuple(f"{name}-cert-v01@openssh.com" for name in names)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The algorithms of one kind that a user may name in ssh_config.

    `passed_over` are OpenSSH's that we do not have: a file that names them is right all the same,
    as long as it names another one too.
    """

    kind: str
    default: tuple[str, ...]
    known: tuple[str, ...]
    passed_over: tuple[str, ...]

    def assemble(self, spec: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """The algorithms of a list in ssh_config(5)'s form, best first.

        "If the specified list begins with a `+` character, then the specified [algorithms] will
        be appended to the default set instead of replacing them. If […] `-` […] (including
        wildcards) will be removed from the default set […]. If […] `^` […] will be placed at the
        head of the default set."

        Raises:
            UsageError: a name that nobody knows, or nothing is left.
        """
        base = list(self.default if default is None else default)
        sign = spec[:1] if spec[:1] in ("+", "-", "^") else ""
        patterns = spec.removeprefix(sign).split(",")
        if sign == "-":
            names = [n for n in base if not any(match_pattern(n, one) for one in patterns)]
        else:
            named = [name for pattern in patterns for name in self._named(pattern)]
            names = {"+": base + named, "^": named + base}.get(sign, named)
        if not names:
            raise self._unknown(spec)
        return tuple(dict.fromkeys(names))

    def _named(self, pattern: str) -> list[str]:
        found = [name for name in self.known if match_pattern(name, pattern)]
        if not found and not any(match_pattern(name, pattern) for name in self.passed_over):
            raise self._unknown(pattern)
        return found

    def _unknown(self, text: str) -> UsageError:
        return UsageError(f"unknown {self.kind} {text!r}; known are {', '.join(self.known)}")


CIPHER_NAMES: Final = Catalogue(
    kind="cipher",
    default=CIPHERS,
    known=CIPHERS,
    passed_over=("aes192-ctr", "aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"),
)

KEX_NAMES: Final = Catalogue(
    kind="key exchange",
    default=CLIENT_KEX,
    # For a server that has nothing better, if the user asks for them.
    known=(
        *CLIENT_KEX,
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group-exchange-sha256",
    ),
    passed_over=(
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ),
)

MAC_NAMES: Final = Catalogue(
    kind="MAC",
    default=MACS,
    known=MACS,
    passed_over=tuple(
        f"{name}{etm}"
        for name in ("hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96")
        for etm in ("", "-etm@openssh.com")
    )
    + tuple(f"umac-{bits}{etm}@openssh.com" for bits in (64, 128) for etm in ("", "-etm")),
)

_HARDWARE: Final = ("sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256")

HOST_KEY_NAMES: Final = Catalogue(
    kind="host key algorithm",
    default=HOST_KEYS,
    known=HOST_KEYS + certified(HOST_KEYS),
    passed_over=(
        "ssh-rsa",
        "ssh-dss",
        *certified(("ssh-rsa", "ssh-dss", *_HARDWARE)),
        *(f"{name}@openssh.com" for name in (*_HARDWARE, "webauthn-sk-ecdsa-sha2-nistp256")),
    ),
)


def offer_to(client: Collection[str], ours: tuple[str, ...]) -> tuple[str, ...]:
    """Which of our ciphers to offer to a client that offers `client`.

    The client's order decides (RFC 4253 §7.1), and ssh puts chacha20 first: were both offered,
    every stock ssh would leave the fast path. So a client that has AES-GCM is offered that alone.
    """
    fast = tuple(name for name in ours if name in FAST_CIPHERS)
    return fast if any(name in client for name in fast) else ours


def brings_its_own_mac(ciphers: Collection[str]) -> bool:
    """Do all of them? Then what MACs there are is said for form's sake (PROTOCOL of OpenSSH,
    1.6), and only the good ones need be said."""
    return all(name in FAST_CIPHERS for name in ciphers)
