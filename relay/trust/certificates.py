"""Certificates of OpenSSH (PROTOCOL.certkeys, version 01): what stands in one, what a user's says,
and whether that holds now.

That the signature is right has been checked by whoever made the `Certificate`. Nothing here reads a
file or the clock.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from relay.core.patterns import parse_ip
from relay.errors import ProtocolViolation
from relay.trust.algorithms import SIGNATURES
from relay.wire.encoding import Reader, string

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

USER: Final = 1
HOST: Final = 2
"""The kinds: SSH_CERT_TYPE_USER and SSH_CERT_TYPE_HOST."""

CA_SIGNATURES: Final = SIGNATURES
"""With which an authority may sign: `CASignatureAlgorithms` of sshd_config(5) has the same."""

_FLAGS: Final = frozenset(
    {
        b"no-touch-required",
        b"permit-X11-forwarding",
        b"permit-agent-forwarding",
        b"permit-port-forwarding",
        b"permit-pty",
        b"permit-user-rc",
    }
)
"""The extensions that are known; all are without data. Others are passed over."""

_FOREVER: Final = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""Seconds; ssh-keygen writes 2^64 - 1 for a certificate that never expires."""


@dataclass(frozen=True, slots=True)
class _KeyType:
    """How a certificate has the fields of a key: as the key's blob has them, `count` strings (RFC
    4253 §6.6; an mpint is one too), the first of which is the `curve` if there is one."""

    name: bytes
    count: int
    curve: bytes = b""

    def blob(self, reader: Reader) -> bytes:
        fields = [reader.string() for _ in range(self.count)]
        if self.curve and fields[0] != self.curve:
            raise ProtocolViolation("a key on another curve than its type says")
        return string(self.name) + b"".join(map(string, fields))


_SK_ECDSA: Final = b"sk-ecdsa-sha2-nistp256"

_KEY_TYPES: Final = {
    b"ssh-ed25519-cert-v01@openssh.com": _KeyType(b"ssh-ed25519", 1),
    b"ssh-rsa-cert-v01@openssh.com": _KeyType(b"ssh-rsa", 2),
    **{
        b"ecdsa-sha2-%b-cert-v01@openssh.com" % curve: _KeyType(b"ecdsa-sha2-" + curve, 2, curve)
        for curve in (b"nistp256", b"nistp384", b"nistp521")
    },
    # PROTOCOL.u2f: behind the key's own fields, its application.
    b"sk-ssh-ed25519-cert-v01@openssh.com": _KeyType(b"sk-ssh-ed25519@openssh.com", 2),
    _SK_ECDSA + b"-cert-v01@openssh.com": _KeyType(_SK_ECDSA + b"@openssh.com", 3, b"nistp256"),
}
"""Of the certificates that are read. Others, DSA's among them, are none."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What stands in a certificate. Nothing of it is verified.

    `key` and `authority` are public keys as the wire has them (RFC 4253 §6.6); the authority's may
    be anything. `signed` is all that is before the `signature`. Times are in seconds of Unix.
    """

    key: bytes
    kind: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: bytes
    extensions: bytes
    authority: bytes
    signature: bytes
    signed: bytes

    def signature_problem(self) -> str | None:
        """Why a signature with this algorithm is not accepted; None if it is. Raises
        `ProtocolViolation`."""
        algorithm = Reader(self.signature).string().decode("ascii", "replace")
        if algorithm in CA_SIGNATURES:
            return None
        return f"the certificate is signed with {algorithm}, which is not accepted"


def parse(blob: bytes) -> Fields:
    """Raises `ProtocolViolation` if this is no certificate of a key that is known."""
    reader = Reader(blob)
    key_type = _KEY_TYPES.get(reader.string())
    if key_type is None:
        raise ProtocolViolation("no certificate of a known type")
    reader.string()  # The nonce.
    key = key_type.blob(reader)
    reader.uint64()  # The serial number.
    kind = reader.uint32()
    reader.text()  # The key ID.
    principals = tuple(_texts(reader.string()))
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical_options, extensions = reader.string(), reader.string()
    reader.string()  # Reserved.
    authority = reader.string()
    signature = reader.string()
    reader.end()
    return Fields(
        key=key,
        kind=kind,
        principals=principals,
        valid_after=valid_after,
        valid_before=valid_before,
        critical_options=critical_options,
        extensions=extensions,
        authority=authority,
        signature=signature,
        signed=blob[: -len(string(signature))],
    )


def _texts(data: bytes) -> Iterator[str]:
    reader = Reader(data)
    while reader.left:
        yield reader.text()


def _options(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names of options, each with its data."""
    reader = Reader(data)
    while reader.left:
        yield reader.string(), reader.string()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an authority says of a key.

    `authority` is the signer's public key as the wire has it (RFC 4253 §6.6), `user` the name by
    which the client logs in. `sources` are the networks of `source-address`; None: from anywhere.
    """

    authority: bytes
    user: str
    principals: tuple[str, ...] = ()
    valid_after: datetime | None = None
    """An aware time, as `valid_before`; None: no such limit."""
    valid_before: datetime | None = None
    sources: Sequence[Network] | None = None
    port_forwarding: bool = True
    """`permit-port-forwarding` is there."""
    no_touch: bool = False
    """`no-touch-required` is there."""
    verify: bool = False
    """`verify-required` is there."""

    @classmethod
    def read(cls, fields: Fields, authority: bytes, user: str) -> Certificate:
        """What a user's certificate says, to `user` who logs in with it.

        "All such options are "critical" in the sense that an implementation must refuse to
        authorise a key that has an unrecognised option." "Each named option may only appear once
        in a certificate": an extension that does is taken for one, as sshd takes it.

        Raises `ProtocolViolation` or ValueError if it is not understood.
        """
        sources: Sequence[Network] | None = None
        critical: set[bytes] = set()
        for name, data in _options(fields.critical_options):
            if name in critical:
                raise ProtocolViolation("a critical option twice")
            critical.add(name)
            match name:
                case b"force-command":
                    # There is no command here that it could stand for.
                    _only_text(data)
                case b"source-address":
                    sources = _networks(_only_text(data))
                case b"verify-required" if not data:
                    pass
                case _:
                    raise ProtocolViolation("an unknown critical option")
        flags: set[bytes] = set()
        for name, data in _options(fields.extensions):
            if name in _FLAGS and data:
                raise ProtocolViolation("an extension with data that it has no use for")
            flags.add(name)
        return cls(
            authority=authority,
            user=user,
            principals=fields.principals,
            valid_after=_time(fields.valid_after) or datetime.max.replace(tzinfo=UTC),
            valid_before=_time(fields.valid_before),
            sources=sources,
            port_forwarding=b"permit-port-forwarding" in flags,
            no_touch=b"no-touch-required" in flags,
            verify=b"verify-required" in critical,
        )

    def refusal(self, *, address: str, now: datetime) -> str | None:
        """Why it does not hold, whoever signed it; None if it does."""
        if self.valid_after is not None and now < self.valid_after:
            return f"the certificate is not valid before {self.valid_after:%Y-%m-%d %H:%M:%SZ}"
        if self.valid_before is not None and now >= self.valid_before:
            return f"the certificate expired at {self.valid_before:%Y-%m-%d %H:%M:%SZ}"
        if self.sources is not None:
            ip = parse_ip(address)
            if ip is None or not any(ip in network for network in self.sources):
                return f"the certificate is not for {address}"
        return None

    def names(self, principals: Sequence[str]) -> str | None:
        """Why it is for none of the `principals` of an authority's line; None if it is.

        "At least one name from the list must appear in the certificate's list of principals". A
        line without a list wants the user's name there; to such a line sshd takes a certificate
        that names nobody for one that is for everybody.
        """
        if principals:
            if not set(principals) & set(self.principals):
                return f"the certificate is for none of {', '.join(principals)}"
        elif self.principals and self.user not in self.principals:
            return f"the certificate is not for the user {self.user!r}"
        return None


def _only_text(data: bytes) -> str:
    """The data of an option that is one text: that, and nothing behind it."""
    reader = Reader(data)
    text = reader.text()
    reader.end()
    return text


def _networks(text: str) -> list[Network]:
    """Of a list with commas between, which may be empty: then it is from nowhere. Raises
    ValueError."""
    return [ipaddress.ip_network(one) for one in text.split(",")] if text else []


def _time(seconds: int) -> datetime | None:
    """None: beyond all calendars."""
    return datetime.fromtimestamp(seconds, UTC) if seconds < _FOREVER else None
