"""User certificates as a stranger may send them, and as an authority may sign them.

tests/programs/test_certificates.py has sshd's word on those that ssh-keygen makes.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any, Final

import asyncssh
import pytest
from asyncssh.public_key import decode_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.trust.certificates import Certificate, parse
from relay.trust.user_certificates import (
    UserCertificate,
    decode_public_key,
    decode_user_certificate,
    presence,
    read_user_certificate,
    signature_problem,
)
from relay.wire.encoding import Reader, byte, mpint, string, uint32
from tests.trust.certify import FOREVER, HIDDEN, body, certified, key_fields, option, type_of

ED25519: Final = asyncssh.generate_private_key("ssh-ed25519")
CA: Final = asyncssh.generate_private_key("ssh-ed25519")
RSA: Final = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
CURVES: Final = [
    asyncssh.generate_private_key(f"ecdsa-sha2-nistp{bits}") for bits in (256, 384, 521)
]
SK_ED25519: Final = decode_ssh_public_key(
    string("sk-ssh-ed25519@openssh.com") + key_fields(ED25519) + string("ssh:")
)
SK_ECDSA: Final = decode_ssh_public_key(
    string("sk-ecdsa-sha2-nistp256@openssh.com") + key_fields(CURVES[0]) + string("ssh:")
)
KEYS: Final = [ED25519, RSA, *CURVES, SK_ED25519, SK_ECDSA]
DSA: Final = asyncssh.generate_private_key("ssh-dss")
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


def certificate(
    key: asyncssh.SSHKey = ED25519,
    ca: asyncssh.SSHKey = CA,
    *,
    authority: bytes | None = None,
    algorithm: bytes | None = None,
    **says: Any,
) -> bytes:
    fields = key_fields(key) + body(**says)
    return certified(ca, type_of(key.algorithm), fields, authority=authority, algorithm=algorithm)


def decoded(data: bytes) -> UserCertificate:
    found = decode_user_certificate(data)
    assert found is not None
    return found


def read(data: bytes, user: str = "me") -> Certificate:
    return read_user_certificate(decoded(data), user)


# -- keys and authorities


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.get_algorithm())
def test_every_type_of_key(key: asyncssh.SSHKey) -> None:
    found = decoded(certificate(key))
    assert found.key.public_data == key.public_data
    assert found.key.sig_algorithms == key.sig_algorithms
    assert read_user_certificate(found, "me").authority == CA.public_data


@pytest.mark.parametrize("ca", [ED25519, RSA, *CURVES], ids=lambda key: key.get_algorithm())
def test_every_type_of_authority(ca: asyncssh.SSHKey) -> None:
    algorithm = b"rsa-sha2-512" if ca is RSA else None
    data = certificate(CA, ca, algorithm=algorithm)
    assert read(data).authority == ca.public_data


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.get_algorithm())
def test_asyncssh_reads_the_same(key: asyncssh.SSHKey) -> None:
    theirs = CA.generate_user_certificate(
        key, "id", principals=["a", "b"], source_address=["10.0.0.0/8"], permit_port_forwarding=True
    )
    assert read(theirs.public_data, "b") == Certificate(
        CA.public_data,
        "b",
        ("a", "b"),
        datetime.fromtimestamp(0, UTC),
        sources=[ipaddress.ip_network("10.0.0.0/8")],
        port_forwarding=True,
    )


def test_dsa_and_others_have_no_certificates() -> None:
    assert decode_user_certificate(certificate(DSA)) is None
    for name in (b"ssh-ed448", b"ecdsa-sha2-1.3.132.0.10", b"x509v3-ssh-rsa", b""):
        data = certified(CA, name + b"-cert-v01@openssh.com", key_fields(ED25519) + body())
        assert decode_user_certificate(data) is None


def test_the_signature_of_an_authority_that_nobody_trusts_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may cost as much as a stranger likes. And it is worth nothing, right or wrong."""
    asked: list[bytes] = []

    def verify(*args: object) -> bool:
        asked.append(b"")
        return True

    monkeypatch.setattr(type(CA), "verify", verify)
    found = decode_user_certificate(certificate(), lambda authority: authority != CA.public_data)
    assert found is not None
    assert not found.verified
    assert not asked
    assert decoded(certificate()).verified
    assert asked


def test_dsa_is_no_authority() -> None:
    with pytest.raises(ValueError, match="signed with ssh-dss, which is not accepted"):
        read(certificate(ca=DSA))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.get_algorithm())
def test_the_type_of_the_certificate_is_that_of_the_key(key: asyncssh.SSHKey) -> None:
    for other in KEYS:
        # Any two strings may be an exponent and a modulus.
        if other is not key and other is not RSA:
            data = certified(CA, type_of(other.algorithm), key_fields(key) + body())
            assert decode_user_certificate(data) is None


def test_a_plain_key_is_no_certificate() -> None:
    for key in KEYS:
        assert decode_user_certificate(key.public_data) is None


def test_an_authority_is_no_certificate_itself() -> None:
    """PROTOCOL.certkeys: "chained" certificates are not supported."""
    inner = certificate(CA)
    for authority in (inner, string(inner), CA.public_data + b"\0", b""):
        data = certificate(authority=authority)
        assert decode_user_certificate(data) is None


def test_a_signature_of_somebody_else() -> None:
    data = certificate(ca=ED25519, authority=CA.public_data)
    assert decode_user_certificate(data) is None


def test_an_authority_that_signs_with_sha1() -> None:
    data = certificate(ca=RSA, algorithm=b"ssh-rsa")
    with pytest.raises(ValueError, match="signed with ssh-rsa, which is not accepted"):
        read(data)


NEGATIVE: Final = string(b"\xff")


@pytest.mark.parametrize(
    "fields",
    [NEGATIVE * 2, mpint(b"\3") + NEGATIVE, mpint(b"") * 2, mpint(b"\3") * 2, string(b"") * 2],
)
def test_an_rsa_key_that_cannot_be(fields: bytes) -> None:
    assert decode_public_key(string("ssh-rsa") + fields) is None
    assert decode_user_certificate(certified(CA, type_of(RSA.algorithm), fields + body())) is None
    # An authority need not exist for a stranger to name it.
    data = certified(
        CA,
        type_of(ED25519.algorithm),
        key_fields(ED25519) + body(),
        authority=string("ssh-rsa") + fields,
    )
    assert decode_user_certificate(data) is None


def test_a_key_on_another_curve_than_its_type_says() -> None:
    data = certified(CA, type_of(CURVES[0].algorithm), key_fields(CURVES[1]) + body())
    assert decode_user_certificate(data) is None


# -- what it says


def test_kinds() -> None:
    with pytest.raises(ValueError, match="a host's, not a user's"):
        read(certificate(kind=2))
    for kind in (0, 3, 2**32 - 1):
        assert decode_user_certificate(certificate(kind=kind)) is None


@pytest.mark.parametrize(
    ("after", "before", "refusal"),
    [
        (0, FOREVER, None),
        (int(NOW.timestamp()), int(NOW.timestamp()) + 1, None),
        (0, int(NOW.timestamp()), "expired at 2030-01-01 00:00:00Z"),
        (int(NOW.timestamp()) + 1, FOREVER, "not valid before 2030-01-01 00:00:01Z"),
        (0, 0, "expired at 1970"),
        (0, 2**63, None),
        (0, 253402300798, None),
        (0, 253402300799, None),
        (2**63, FOREVER, "not valid before 9999"),
        (FOREVER, FOREVER, "not valid before 9999"),
        (FOREVER, 0, "not valid before 9999"),
    ],
)
def test_when_it_is_valid(after: int, before: int, refusal: str | None) -> None:
    said = read(certificate(valid_after=after, valid_before=before)).refusal(address="::1", now=NOW)
    assert said is None if refusal is None else refusal in (said or "")


def test_principals() -> None:
    assert read(certificate(principals=b"")).principals == ()
    several = string("a") + string("") + string("ü")
    assert read(certificate(principals=several)).principals == ("a", "", "ü")
    for broken in (b"me", string("a") + b"\0", string(b"\xff"), uint32(2**32 - 1) + b"a"):
        assert decode_user_certificate(certificate(principals=broken)) is None
    assert decode_user_certificate(certificate(key_id=b"\xff")) is None


def test_extensions() -> None:
    plain = read(certificate())
    assert (plain.port_forwarding, plain.no_touch, plain.verify) == (False, False, False)
    both = option(b"no-touch-required") + option(b"permit-port-forwarding")
    permitted = read(certificate(extensions=both))
    assert (permitted.port_forwarding, permitted.no_touch) == (True, True)
    for known in (b"no-touch-required", b"permit-port-forwarding", b"permit-pty"):
        assert decode_user_certificate(certificate(extensions=option(known, b"x"))) is None
    for broken in (b"\0", string("permit-pty"), option(b"permit-pty") + b"\0"):
        assert decode_user_certificate(certificate(extensions=broken)) is None


def test_the_data_of_an_unknown_extension_is_no_extension() -> None:
    hidden = option(b"other@example.com", string(HIDDEN)) + option(b"that@example.com", HIDDEN)
    assert not read(certificate(extensions=hidden)).port_forwarding
    behind = option(b"other@example.com", HIDDEN) + option(b"permit-port-forwarding")
    assert read(certificate(extensions=behind)).port_forwarding
    # A critical option among the extensions is nothing that anybody need understand.
    assert not read(certificate(extensions=option(b"verify-required"))).verify


def test_critical_options() -> None:
    command = option(b"force-command", string("true"))
    sources = option(b"source-address", string("10.0.0.0/8,::1/128"))
    said = read(certificate(critical=command + sources + option(b"verify-required")))
    assert said.verify
    assert said.refusal(address="10.1.2.3", now=NOW) is None
    assert said.refusal(address="192.0.2.1", now=NOW) == "the certificate is not for 192.0.2.1"
    nowhere = read(certificate(critical=option(b"source-address", string(""))))
    assert nowhere.refusal(address="10.1.2.3", now=NOW) is not None


@pytest.mark.parametrize(
    "critical",
    [
        option(b"other@example.com"),
        option(b"permit-port-forwarding"),
        option(b""),
        option(b"force-command"),
        option(b"force-command", b"true"),
        option(b"force-command", string("true") + b"\0"),
        option(b"force-command", string(b"\xff")),
        option(b"force-command", string("true")) * 2,
        option(b"verify-required", b"\0"),
        option(b"verify-required") + option(b"Verify-Required"),
        option(b"source-address"),
        option(b"source-address", string("10.0.0.1/8")),
        option(b"source-address", string("10.0.0.0/8,")),
        option(b"source-address", string(b"\xff")),
        option(b"source-address", string("10.0.0.0/8")) + option(b"source-address", string("::/0")),
        string("verify-required"),
        option(b"verify-required") + b"\0",
    ],
)
def test_a_critical_option_that_is_not_understood_refuses(critical: bytes) -> None:
    assert decode_user_certificate(certificate(critical=critical)) is None


# -- the client's side: certificates that asyncssh has read


def test_with_what_a_hosts_certificate_is_signed() -> None:
    assert signature_problem(CA.generate_host_certificate(ED25519, "id")) is None
    sha1 = RSA.generate_host_certificate(ED25519, "id", sig_alg="ssh-rsa")
    assert signature_problem(sha1) == (
        "the certificate is signed with ssh-rsa, which is not accepted"
    )
    secp = asyncssh.generate_private_key("ecdsa-sha2-1.3.132.0.10")
    other = signature_problem(CA.generate_host_certificate(secp, "id"))
    assert other is not None
    assert "cannot be used" in other


# -- broken ones


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.get_algorithm())
def test_a_part_of_a_certificate_is_none(key: asyncssh.SSHKey) -> None:
    data = certificate(key, critical=option(b"verify-required"), extensions=option(HIDDEN))
    for size in range(len(data)):
        assert decode_user_certificate(data[:size]) is None
    for more in (b"\0", data):
        with pytest.raises(ProtocolViolation, match="after a message's last field"):
            parse(data + more)
        assert decode_user_certificate(data + more) is None
        assert decode_user_certificate(string(data) + more) is None


@pytest.mark.parametrize("key", [ED25519, RSA, SK_ECDSA], ids=lambda key: key.get_algorithm())
def test_a_certificate_with_a_bit_turned_is_none(key: asyncssh.SSHKey) -> None:
    data = bytearray(certificate(key, critical=option(b"verify-required")))
    for place in range(len(data) * 8):
        data[place // 8] ^= 1 << place % 8
        assert decode_user_certificate(bytes(data)) is None
        data[place // 8] ^= 1 << place % 8
    decoded(bytes(data))


def test_lengths_beyond_all_bounds() -> None:
    data = certificate()
    lengths = [at for at in range(len(data) - 4) if int.from_bytes(data[at : at + 4], "big") < 64]
    for at in lengths:
        for length in (2**32 - 1, 2**31, len(data)):
            broken = data[:at] + uint32(length) + data[at + 4 :]
            assert decode_user_certificate(broken) is None


pieces = st.one_of(
    st.binary(max_size=40),
    st.builds(string, st.binary(max_size=40)),
    st.builds(
        option,
        st.sampled_from(
            [b"force-command", b"source-address", b"verify-required", HIDDEN, b"no-touch-required"]
        ),
        st.one_of(st.just(b""), st.builds(string, st.text(max_size=20)), st.binary(max_size=20)),
    ),
)
lists = st.builds(b"".join, st.lists(pieces, max_size=4))
moments = st.integers(0, FOREVER)


@given(
    key=st.sampled_from(KEYS), fields=st.one_of(st.none(), st.binary(max_size=80), lists),
    kind=st.integers(0, 3), key_id=st.binary(max_size=10), principals=lists,
    valid_after=moments, valid_before=moments, critical=lists, extensions=lists,
)  # fmt: skip
def test_whatever_an_authority_signs(
    key: asyncssh.SSHKey, fields: bytes | None, **says: Any
) -> None:
    """It is refused, or it says what stands there, word for word."""
    its_key = key_fields(key) if fields is None else fields
    data = certified(CA, type_of(key.algorithm), its_key + body(**says))
    found = decode_user_certificate(data)
    if found is None:
        return
    stands = parse(data)
    assert stands.critical_options == says["critical"]
    assert stands.signed + string(stands.signature) == data
    assert b"".join(map(string, stands.principals)) == says["principals"]
    assert (stands.valid_after, stands.valid_before) == (says["valid_after"], says["valid_before"])
    if says["kind"] == 1:
        said = read_user_certificate(found, "me")
        said.refusal(address="127.0.0.1", now=NOW)
        assert said.verify is (b"verify-required" in option_names(says["critical"]))
        assert (said.sources is None) is (
            option_names(says["critical"]).isdisjoint({b"source-address"})
        )
        assert said.port_forwarding is (HIDDEN in option_names(says["extensions"]))


def option_names(data: bytes) -> set[bytes]:
    reader, names = Reader(data), set()
    while reader.left:
        names.add(reader.string())
        reader.string()
    return names


# -- what a security key vouches for


def test_presence() -> None:
    def signature(flags: int, name: str = "sk-ssh-ed25519@openssh.com") -> bytes:
        return string(name) + string(bytes(64)) + byte(flags) + uint32(7)

    assert [presence(signature(flags)) for flags in (0, 1, 4, 5)] == [
        (False, False), (True, False), (False, True), (True, True),
    ]  # fmt: skip
    assert presence(string("ssh-ed25519") + string(bytes(64))) is None
    with pytest.raises(ProtocolViolation):
        presence(signature(0)[:-5])
