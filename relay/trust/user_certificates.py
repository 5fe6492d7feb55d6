"""OpenSSH's certificates (PROTOCOL.certkeys), as asyncssh reads them and with what it leaves out.

asyncssh verifies the authority's signature with whatever algorithm the signature names, SHA-1
among them, and does not know the critical option `verify-required`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from asyncssh import public_key
from asyncssh.packet import SSHPacket

from relay.trust.algorithms import SIGNATURES
from relay.trust.certificates import Certificate

CA_SIGNATURES: Final = SIGNATURES
"""With which an authority may sign: `CASignatureAlgorithms` of sshd_config(5) has the same."""

_FOREVER: Final = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""Seconds; ssh-keygen writes 2^64 - 1 for a certificate that never expires."""


class _UserCertificate(public_key.SSHOpenSSHCertificateV01):
    """One with `verify-required`: for asyncssh an unknown critical option, which refuses it."""

    _user_option_decoders = {  # noqa: RUF012  # asyncssh's own, with one of ours
        **public_key.SSHOpenSSHCertificateV01._user_option_decoders,
        b"verify-required": public_key.SSHOpenSSHCertificateV01._decode_bool,
    }


def decode_user_certificate(data: bytes) -> Any:
    """The certificate in a login's key blob; None if it is none, or one that is broken."""
    try:
        packet = SSHPacket(data)
        algorithm = packet.get_string()
        key_handler, kind = public_key._certificate_alg_map.get(algorithm, (None, None))
        if key_handler is None or kind is not public_key.SSHOpenSSHCertificateV01:
            return None
        return _UserCertificate.construct(packet, algorithm, key_handler, None)
    except ValueError:  # asyncssh's errors about keys and packets are ValueErrors.
        return None


def signature_problem(certificate: Any) -> str | None:
    """Why the authority's signature is not accepted; None if it is. That it is right has been
    verified when the certificate was decoded."""
    packet = SSHPacket(certificate.public_data)
    packet.get_string()
    certificate._decode(packet, type(certificate.key))
    packet.get_string()
    algorithm = SSHPacket(packet.get_string()).get_string().decode("ascii", "replace")
    if algorithm in CA_SIGNATURES:
        return None
    return f"the certificate is signed with {algorithm}, which is not accepted"


def read_user_certificate(certificate: Any, user: str) -> Certificate:
    """What a user certificate says, for `user` who logs in with it.

    Raises ValueError if it is no user's, or its signature is not accepted.
    """
    if certificate._cert_type != public_key.CERT_TYPE_USER:
        raise ValueError("the certificate is a host's, not a user's")
    if problem := signature_problem(certificate):
        raise ValueError(problem)
    options = certificate.options
    return Certificate(
        authority=certificate.signing_key.public_data,
        user=user,
        principals=tuple(certificate.principals),
        valid_after=_time(certificate._valid_after) or datetime.max.replace(tzinfo=UTC),
        valid_before=_time(certificate._valid_before),
        sources=options.get("source-address"),
        port_forwarding=bool(options.get("permit-port-forwarding")),
        no_touch=bool(options.get("no-touch-required")),
        verify=bool(options.get("verify-required")),
    )


def _time(seconds: int) -> datetime | None:
    """None: beyond all calendars."""
    return datetime.fromtimestamp(seconds, UTC) if seconds < _FOREVER else None


SK_SIGNATURES: Final = tuple(name for name in SIGNATURES if name.startswith("sk-"))
"""Of security keys: behind the signature stands what the key vouches for (PROTOCOL.u2f)."""

_TOUCHED: Final = 0x01
_VERIFIED: Final = 0x04


def presence(signature: bytes) -> tuple[bool, bool] | None:
    """Whether the user of a security key touched it, and proved to be its owner; None: the
    signature is another key's.

    PROTOCOL.u2f, "SSH U2F signatures": string algorithm, string signature, byte flags, uint32
    counter. Raises ValueError.
    """
    packet = SSHPacket(signature)
    if packet.get_string().decode("ascii", "replace") not in SK_SIGNATURES:
        return None
    packet.get_string()
    flags = packet.get_byte()
    return bool(flags & _TOUCHED), bool(flags & _VERIFIED)
