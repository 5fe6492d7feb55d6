"""relay/trust/authorized_keys.py: the file as a whole, its keys, and who is let in."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.trust.authorized_keys import (
    AuthorizedKeys,
    Entry,
    Problem,
    Refusal,
    fingerprint,
    parse,
)
from relay.trust.certificates import Certificate

# Made by ssh-keygen, as are the fingerprints below.
ED25519 = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLXn1vzrPJwlseF+eX72pL/hekkom0hOQuH5ZiXUjOG me@ed25519"
)
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOSbYJfrnCZ7L7l0GPzV"
    "tHSk7wMXPOr3VSVoFs2sk50KCu7jlNtXY+FG3aa5XlkYJd8slq4kMzWAFyWY+J72HIU= me@ecdsa"
)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


SIGNED = Certificate(b"", "me")


def blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])


def encoded(*strings: bytes) -> str:
    return base64.b64encode(b"".join(len(s).to_bytes(4, "big") + s for s in strings)).decode()


def problem(line: str) -> str:
    keys = parse(line, "keys", UTC)
    assert keys.entries == ()
    assert len(keys.problems) == 1
    return keys.problems[0].text


def find(keys: AuthorizedKeys, line: str = ED25519, address: str = "10.0.0.1") -> Entry | Refusal:
    return keys.find(blob(line), address=address, now=NOW)


def certified(keys: AuthorizedKeys, certificate: Certificate) -> Entry | Refusal:
    """For a key of some sort, signed by ED25519."""
    signed = replace(certificate, authority=blob(ED25519))
    return keys.find(b"its own key", address="::1", now=NOW, certificate=signed)


def refusal(text: str, address: str = "10.0.0.1") -> str:
    found = find(parse(text, "keys", UTC), address=address)
    assert isinstance(found, Refusal)
    return found.reason


def test_fingerprints_are_those_of_ssh_keygen() -> None:
    assert fingerprint(blob(ED25519)) == "SHA256:sIfDn+rIhU9Vy2jD8+X6oRH+HLYR4X3pd8NEECqRh98"
    assert fingerprint(blob(ECDSA)) == "SHA256:+kJKJ3or3NW+jiQiXtogRGK+7HTr6NvGPk0MhfbGFds"


def test_a_file() -> None:
    text = f'# keys\r\n\r\n{ED25519}\r\n \t restrict,from="10.*"\t {ECDSA} and more \n\n'
    keys = parse(text, "keys")
    assert keys.problems == ()
    first, second = keys.entries
    assert (first.line, first.key_type, first.comment) == (3, "ssh-ed25519", "me@ed25519")
    assert first.blob == blob(ED25519)
    assert first.grant.may_open("a", 1)
    assert (second.line, second.comment) == (4, "me@ecdsa and more")
    assert second.source == "10.*"
    assert not second.grant.may_open("a", 1)


def test_a_comment_is_optional_and_may_hold_anything() -> None:
    bare = " ".join(ED25519.split()[:2])
    first, second = parse(f'{bare}\n{bare} a "b \u2028 c', "keys").entries
    assert first.comment == ""
    assert second.comment == 'a "b \u2028 c'


def test_a_quoted_blank_is_part_of_the_options() -> None:
    keys = parse(f'command="a \\" ssh-rsa b",cert-authority,principals="x y" {ED25519}', "keys")
    assert keys.entries[0].principals == ("x y",)


def test_all_types_of_key() -> None:
    for name in ("ssh-rsa", "sk-ssh-ed25519@openssh.com", "ssh-mldsa44-ed25519@openssh.com"):
        for options in ("", "restrict "):
            line = f"{options}{name} {encoded(name.encode(), b'1', b'2')}"
            assert parse(line, "keys").entries[0].key_type == name


def test_a_problem_closes_its_own_line_only() -> None:
    keys = parse(f"{ECDSA}\nfoo {ED25519}\nrestrict {ED25519}", "dir/keys")
    assert [entry.line for entry in keys.entries] == [1, 3]
    assert keys.problems == (Problem("dir/keys", 2, 'unknown option "foo"'),)
    assert str(keys.problems[0]) == 'dir/keys:2: unknown option "foo": this key is closed'


def test_no_key() -> None:
    key_type, key, _ = ED25519.split()
    assert "no public key" in problem("hello")
    assert "no public key" in problem("restrict")
    assert "no public key" in problem(key_type)
    assert "base64" in problem(f"{key_type} {key[:-1]}")
    assert "base64" in problem(f"{key_type} \u0660{key}")
    assert "quote is not closed" in problem(f'from="10.0.0.1 {ED25519}')


def test_a_blob_that_is_not_what_it_should_be() -> None:
    assert "no 'ssh-rsa'" in problem(f"ssh-rsa {ED25519.split()[1]}")
    assert "cut short" in problem(f"ssh-rsa {encoded(b'ssh-rsa')}")
    whole = encoded(b"ssh-rsa", b"12345", b"1")
    for length in range(4, len(whole), 4):
        assert "cut short" in problem(f"ssh-rsa {whole[:length]}"), length
    for left_over in (b"x", b"\0\0\0", b"\xff\xff\xff\xff"):
        junk = base64.b64encode(base64.b64decode(whole) + left_over).decode()
        assert "cut short" in problem(f"ssh-rsa {junk}")


def test_keys_that_are_not_supported_say_so() -> None:
    assert "protocol 1" in problem("1024 35 1234567890 me@old")
    assert "protocol 1" in problem("restrict 1024 35 1234567890 me@old")
    assert "DSA" in problem(f"ssh-dss {encoded(b'ssh-dss', b'1')}")
    name = "ssh-ed25519-cert-v01@openssh.com"
    assert "certificate" in problem(f"{name} {encoded(name.encode(), b'1')}")


def test_find() -> None:
    keys = parse(f"{ECDSA}\n{ED25519}", "keys")
    found = find(keys)
    assert isinstance(found, Entry)
    assert found.line == 2
    assert find(parse(ECDSA, "keys")) == Refusal("unknown key")


def test_expired() -> None:
    text = f'expiry-time="20250601120000" {ED25519}'
    keys = parse(text, "keys", UTC)
    # sshd: a key is still accepted in its last second.
    assert isinstance(find(keys), Entry)
    late = keys.find(blob(ED25519), address="::1", now=NOW + timedelta(microseconds=1))
    assert late == Refusal("line 1: expired at 2025-06-01 12:00:00Z")


def test_from() -> None:
    text = f'from="10.0.0.0/8,!10.0.0.13" {ED25519}'
    assert isinstance(find(parse(text, "keys")), Entry)
    assert refusal(text, "10.0.0.13") == "line 1: not from 10.0.0.13"
    assert refusal(text, "192.0.2.1") == "line 1: not from 192.0.2.1"


def test_the_first_line_that_admits_counts() -> None:
    expired = f'expiry-time="20200101Z" {ED25519}'
    elsewhere = f'from="192.0.2.1" {ED25519}'
    keys = parse(f"{expired}\n{elsewhere}\nrestrict {ED25519}\n{ED25519}", "keys")
    found = find(keys)
    assert isinstance(found, Entry)
    assert found.line == 3
    assert refusal(f"{expired}\n{elsewhere}") == (
        "line 1: expired at 2020-01-01 00:00:00Z; line 2: not from 10.0.0.1"
    )


def test_whom_it_trusts() -> None:
    keys = parse(f"{ED25519}\ncert-authority {ECDSA}\n", "keys")
    assert keys.trusts(blob(ECDSA))
    assert not keys.trusts(blob(ED25519))
    assert not keys.trusts(b"")


def test_a_certification_authority_is_no_key_and_the_other_way_round() -> None:
    authority = parse(f"cert-authority {ED25519}", "keys")
    assert find(authority) == Refusal("unknown key")
    assert isinstance(certified(authority, SIGNED), Entry)
    assert certified(parse(ED25519, "keys"), SIGNED) == Refusal("unknown certification authority")


def test_principals() -> None:
    keys = parse(f'cert-authority,principals="ann,bob" {ED25519}', "keys")

    def admits(*principals: str) -> bool:
        return isinstance(certified(keys, replace(SIGNED, principals=principals)), Entry)

    assert admits("bob")
    assert admits("eve", "ann")
    assert not admits("eve")
    assert not admits("Bob")
    assert not admits()


def test_without_principals_of_its_own_a_line_wants_the_user_s_name() -> None:
    keys = parse(f"cert-authority {ED25519}", "keys")

    def admits(*principals: str) -> bool:
        return isinstance(certified(keys, replace(SIGNED, principals=principals)), Entry)

    assert admits("eve", SIGNED.user)
    assert not admits("eve")
    assert admits()  # As sshd takes it.
    # The line that does not fit leaves the next one its turn.
    both = f'cert-authority {ED25519}\ncert-authority,principals="eve" {ED25519}'
    found = certified(parse(both, "keys"), replace(SIGNED, principals=("eve",)))
    assert isinstance(found, Entry)
    assert found.line == 2


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (replace(SIGNED, valid_after=NOW + timedelta(seconds=1)), "not valid before"),
        (replace(SIGNED, valid_before=NOW), "expired"),
        (replace(SIGNED, sources=(ip_network("10.0.0.0/8"),)), "not for ::1"),
        (replace(SIGNED, sources=()), "not for ::1"),
    ],
)
def test_a_certificate_that_does_not_hold(certificate: Certificate, reason: str) -> None:
    found = certified(parse(f"cert-authority {ED25519}", "keys"), certificate)
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_a_certificate_restricts_further_and_permits_nothing_more() -> None:
    keys = parse(f'cert-authority,expiry-time="20300101Z",no-touch-required {ED25519}', "keys")
    end = NOW + timedelta(hours=1)
    found = certified(keys, replace(SIGNED, valid_before=end, port_forwarding=False, verify=True))
    assert isinstance(found, Entry)
    assert (found.expires, found.grant.port_forwarding) == (end, False)
    assert (found.no_touch, found.verify) == (False, True)
    found = certified(keys, replace(SIGNED, no_touch=True))
    assert isinstance(found, Entry)
    assert found.no_touch
    assert found.expires == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ("", [(True, False), (True, True)]),
        ("no-touch-required", [(False, False), (False, True), (True, False), (True, True)]),
        ("verify-required", [(True, True)]),
        ("no-touch-required,verify-required", [(False, True), (True, True)]),
    ],
)
def test_what_a_security_key_must_vouch_for(
    options: str, accepted: list[tuple[bool, bool]]
) -> None:
    entry = parse(f"{options} {ED25519}".lstrip(), "keys").entries[0]
    both = (False, True)
    assert accepted == [
        (touched, verified)
        for touched in both
        for verified in both
        if entry.presence_refusal(touched=touched, verified=verified) is None
    ]


def test_ten_thousand_keys_are_not_gone_through() -> None:
    lines = [f"ssh-ed25519 {encoded(b'ssh-ed25519', b'%d' % number)}" for number in range(1000)]
    keys = parse("\n".join(lines), "keys")
    found = keys.find(blob(lines[900]), address="::1", now=NOW)
    assert isinstance(found, Entry)
    assert found.line == 901
    assert len(keys._of[blob(lines[900])]) == 1


words = st.sampled_from(
    [
        *ED25519.split(),
        encoded(b"ssh-rsa", b"1"),
        encoded(b"ssh-rsa"),
        "ssh-rsa",
        "restrict",
        'from="',
        "cert-authority",
        ",",
        '"',
        "\\",
        " ",
        "\t",
        "\n",
        "\r\n",
        "#",
        "1024",
        "\udcff",
        "\x00",
    ]
)


@given(st.text() | st.lists(words).map("".join))
def test_any_text_is_a_file(text: str) -> None:
    keys = parse(text, "keys")
    lines = text.split("\n")
    meant = [n for n, line in enumerate(lines, 1) if line.strip(" \t\r") and "#" not in line]
    spoken_for = {entry.line for entry in keys.entries} | {p.line for p in keys.problems}
    assert spoken_for.issuperset(meant)
    assert len(spoken_for) == len(keys.entries) + len(keys.problems)


@given(st.binary())
def test_any_blob_is_a_key_or_a_problem(data: bytes) -> None:
    keys = parse(f"ssh-rsa {base64.b64encode(data).decode()}", "keys")
    assert len(keys.entries) + len(keys.problems) == 1


@given(st.lists(st.binary(), min_size=1))
def test_a_blob_of_strings_is_a_key(parts: list[bytes]) -> None:
    line = f"ssh-rsa {encoded(b'ssh-rsa', *parts)}"
    assert parse(line, "keys").entries[0].blob == blob(line)


@pytest.mark.parametrize("prefix", ["", "restrict "])
def test_a_line_is_read_in_linear_time(prefix: str) -> None:
    text = prefix + '"\\' * 50_000
    assert len(parse(text, "keys").problems) == 1
