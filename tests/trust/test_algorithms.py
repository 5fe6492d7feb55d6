"""Lists of algorithms as ssh_config writes them."""

from __future__ import annotations

import pytest

from relay.errors import UsageError
from relay.trust.algorithms import (
    CIPHER_NAMES,
    CIPHERS,
    CLIENT_KEX,
    HOST_KEY_NAMES,
    KEX_NAMES,
    MAC_NAMES,
    MACS,
    Catalogue,
)

ALL = (CIPHER_NAMES, KEX_NAMES, MAC_NAMES, HOST_KEY_NAMES)
LETTERS = Catalogue("letter", default=("a", "b"), known=("a", "b", "c1", "c2"), passed_over=("x",))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("b", "b"),
        ("b,a", "b a"),
        ("b,x,a", "b a"),
        ("a,a", "a"),
        ("c*", "c1 c2"),
        ("+c1", "a b c1"),
        ("+a", "a b"),
        ("+x", "a b"),
        ("-a", "b"),
        ("-a,nonsense", "b"),
        ("-?,a", ""),
        ("^b", "b a"),
        ("^c2,b", "c2 b a"),
        ("x", ""),
        ("d", ""),
        ("+d", ""),
        ("", ""),
    ],
)
def test_assemble(spec: str, expected: str) -> None:
    if expected:
        assert LETTERS.assemble(spec) == tuple(expected.split(" "))
    else:
        with pytest.raises(UsageError, match=r"unknown letter '.*'; known are a, b, c1, c2"):
            LETTERS.assemble(spec)


def test_a_default_that_was_changed_before() -> None:
    assert LETTERS.assemble("+c1", ("b",)) == ("b", "c1")


@pytest.mark.parametrize("catalogue", ALL, ids=lambda one: one.kind)
def test_the_default_is_known_and_nothing_weak_is(catalogue: Catalogue) -> None:
    assert set(catalogue.default) <= set(catalogue.known)
    assert not set(catalogue.known) & set(catalogue.passed_over)
    for name in catalogue.known:
        assert not {"sha1", "md5", "cbc", "dss"} & set(name.replace("@", "-").split("-"))


def test_what_openssh_writes_by_itself_is_understood() -> None:
    """Its own defaults, spelt out in a file, must not be an error."""
    assert CIPHER_NAMES.assemble(
        "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,"
        "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
    )
    assert set(CIPHER_NAMES.assemble("+3des-cbc")) == set(CIPHERS)
    assert KEX_NAMES.assemble("sntrup761x25519-sha512@openssh.com,curve25519-sha256") == (
        "curve25519-sha256",
    )
    assert KEX_NAMES.assemble("+diffie-hellman-group1-sha1") == CLIENT_KEX
    assert MAC_NAMES.assemble("^umac-128-etm@openssh.com") == MACS
    assert HOST_KEY_NAMES.assemble("+ssh-rsa,ssh-dss") == HOST_KEY_NAMES.default
