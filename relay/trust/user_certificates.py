"""Public keys and certificates that a peer sends, and what a security key vouches for.

Of asyncssh are the keys and the mathematics alone. It would verify with whatever algorithm a
certificate's signature names, SHA-1 among them, and does not know the critical option
`verify-required`; so what stands in a certificate is read in `certificates.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import asyncssh
from asyncssh.public_key import decode_ssh_public_key

from relay.errors import ProtocolViolation
from relay.trust.algorithms import SIGNATURES
from relay.trust.certificates import HOST, USER, Certificate, Fields, parse
from relay.wire.encoding import Reader


def decode_public_key(blob: bytes) -> asyncssh.SSHKey | None:
    """A plain key (RFC 4253 §6.6); None if it is none, or one that cannot be."""
    try:
        return decode_ssh_public_key(blob)
    except (ValueError, OverflowError):  # The latter: an RSA key with a negative number.
        return None


@dataclass(frozen=True, slots=True)
class UserCertificate:
    """A certificate of `key`; nobody has said yet that it is accepted."""

    key: asyncssh.SSHKey
    fields: Fields
    says: Certificate
    """To no user yet."""
    verified: bool
    """The authority has signed it; False: nobody trusts that, and it was not looked at."""


def decode_user_certificate(
    data: bytes, trusts: Callable[[bytes], bool] = lambda authority: True
) -> UserCertificate | None:
    """The certificate in a login's key blob; None if it is none, or one that is broken.

    `trusts` tells by an authority's public key whether its signatures count anywhere. Only those
    are verified: with an RSA key of a stranger's choice one takes twenty milliseconds, in which
    everybody else would wait.
    """
    try:
        fields = parse(data)
        authority = decode_public_key(fields.authority)
        if authority is None:
            return None
        trusted = trusts(authority.public_data)
        if trusted and not authority.verify(fields.signed, fields.signature):
            return None
        key = decode_public_key(fields.key)
        if key is None or fields.kind not in (USER, HOST):
            return None
        says = Certificate.read(fields, authority.public_data, "")
        return UserCertificate(key, fields, says, verified=trusted)
    except (ProtocolViolation, ValueError):
        return None


def read_user_certificate(certificate: UserCertificate, user: str) -> Certificate:
    """What a user certificate says, for `user` who logs in with it.

    Raises ValueError if it is no user's, or its signature is not accepted.
    """
    if certificate.fields.kind != USER:
        raise ValueError("the certificate is a host's, not a user's")
    if problem := certificate.fields.signature_problem():
        raise ValueError(problem)
    return replace(certificate.says, user=user)


def signature_problem(certificate: asyncssh.SSHCertificate) -> str | None:
    """Why the authority's signature is not accepted; None if it is. That it is right, asyncssh has
    verified when it decoded the certificate."""
    try:
        return parse(certificate.public_data).signature_problem()
    except ProtocolViolation as error:
        return f"the certificate cannot be used: {error}"


SK_SIGNATURES: Final = tuple(name for name in SIGNATURES if name.startswith("sk-"))
"""Of security keys: behind the signature stands what the key vouches for (PROTOCOL.u2f)."""

_TOUCHED: Final = 0x01
_VERIFIED: Final = 0x04


def presence(signature: bytes) -> tuple[bool, bool] | None:
    """Whether the user of a security key touched it, and proved to be its owner; None: the
    signature is another key's.

    PROTOCOL.u2f, "SSH U2F signatures": string algorithm, string signature, byte flags, uint32
    counter. Raises `ProtocolViolation`.
    """
    reader = Reader(signature)
    if reader.string().decode("ascii", "replace") not in SK_SIGNATURES:
        return None
    reader.string()
    flags = reader.byte()
    return bool(flags & _TOUCHED), bool(flags & _VERIFIED)
