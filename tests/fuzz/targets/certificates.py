"""`decode_user_certificate`: any bytes, as a stranger sends them, and with an authority's signature
behind them. The first byte says of what type the second is said to be."""

from __future__ import annotations

from typing import Final

import asyncssh
from asyncssh.public_key import decode_ssh_public_key

from relay.errors import ProtocolViolation
from relay.trust.certificates import USER, parse
from relay.trust.user_certificates import decode_user_certificate, read_user_certificate
from relay.wire.encoding import string
from tests.trust.certify import certified, type_of

CA: Final = asyncssh.generate_private_key("ssh-ed25519")
TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def one_input(data: bytes) -> None:
    decode_user_certificate(data)
    kind, fields = data[0] if data else 0, data[1:]
    whole = certified(CA, type_of(TYPES[kind % len(TYPES)].encode()), fields)
    found = decode_user_certificate(whole)
    try:
        stands = parse(whole)
    except ProtocolViolation:
        assert found is None
        return
    assert stands.signed + string(stands.signature) == whole
    if found is None:
        return
    assert found.fields == stands
    assert found.says.authority == CA.public_data
    assert decode_ssh_public_key(stands.key).public_data == found.key.public_data
    try:
        said = read_user_certificate(found, "me")
    except ValueError:
        assert stands.kind != USER
    else:
        assert said.user == "me"
    for place in (0, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        assert decode_user_certificate(bytes(changed)) is None
        assert decode_user_certificate(whole[:place]) is None
