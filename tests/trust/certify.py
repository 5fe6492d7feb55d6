"""Certificates with any fields at all, signed by a key of ours (PROTOCOL.certkeys)."""

from __future__ import annotations

from typing import Final

import asyncssh

from relay.wire.encoding import string, uint32

FOREVER: Final = 2**64 - 1

HIDDEN: Final = b"permit-port-forwarding"
"""An extension that gives something."""


def key_fields(key: asyncssh.SSHKey) -> bytes:
    """What is behind the type's name in a public key."""
    return key.public_data[len(string(key.algorithm)) :]


def type_of(algorithm: bytes) -> bytes:
    """The name of the type of certificates for such a key."""
    return algorithm.removesuffix(b"@openssh.com") + b"-cert-v01@openssh.com"


def option(name: bytes, data: bytes = b"") -> bytes:
    return string(name) + string(data)


def body(
    *,
    kind: int = 1,
    key_id: bytes = b"an id",
    principals: bytes = string("me"),
    valid_after: int = 0,
    valid_before: int = FOREVER,
    critical: bytes = b"",
    extensions: bytes = b"",
) -> bytes:
    """The fields between the key's and the authority's."""
    times = valid_after.to_bytes(8, "big") + valid_before.to_bytes(8, "big")
    lists = string(critical) + string(extensions) + string("")
    return bytes(8) + uint32(kind) + string(key_id) + string(principals) + times + lists


def certified(
    ca: asyncssh.SSHKey,
    type_name: bytes,
    fields: bytes,
    *,
    authority: bytes | None = None,
    algorithm: bytes | None = None,
) -> bytes:
    """A certificate with these fields behind the nonce, and a right signature of `ca` whatever
    they say and whoever is named as the `authority`."""
    signer = ca.public_data if authority is None else authority
    data = string(type_name) + string(bytes(32)) + fields + string(signer)
    return data + string(ca.sign(data, algorithm or ca.sig_algorithms[0]))
