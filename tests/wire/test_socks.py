"""SOCKS 4, 4a and 5: requests whole and in pieces, and what is none."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.socks import MAX_TEXT, Reply, Request, SocksServer, SocksViolation

Outcome = tuple[Request | None, bytes, bytes, str]

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=MAX_TEXT)
ports = st.integers(0, 65535)
methods = st.binary(max_size=254).map(lambda others: bytes((len(others) + 1, *others, 0)))
users = st.binary(max_size=MAX_TEXT).map(lambda text: text.replace(b"\0", b"x") + b"\0")


def socks5(target: bytes, port: int, greeting: bytes = b"\1\0") -> bytes:
    return b"\5" + greeting + b"\5\1\0" + target + port.to_bytes(2, "big")


def name5(name: str) -> bytes:
    return bytes((3, len(name))) + name.encode()


def socks4(address: bytes, port: int, user: bytes = b"\0", name: bytes = b"") -> bytes:
    return b"\4\1" + port.to_bytes(2, "big") + address + user + name


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Request]:
    """What a client sends, and what it wants."""
    port = draw(ports)
    version = draw(st.sampled_from(["4", "4a", "5 v4", "5 v6", "5 name"]))
    if version == "4a":
        name = draw(names)
        last = bytes((0, 0, 0, draw(st.integers(1, 255))))
        return socks4(last, port, draw(users), name.encode() + b"\0"), Request(name, port)
    if version == "5 name":
        name = draw(names)
        return socks5(name5(name), port, draw(methods)), Request(name, port)
    if version == "5 v6":
        address6 = draw(st.ip_addresses(v=6))
        sent = socks5(b"\4" + address6.packed, port, draw(methods))
        return sent, Request(str(address6), port)
    address = draw(st.ip_addresses(v=4, network="1.0.0.0/8"))
    if version == "4":
        return socks4(address.packed, port, draw(users)), Request(str(address), port)
    return socks5(b"\1" + address.packed, port, draw(methods)), Request(str(address), port)


def outcome(pieces: Sequence[bytes]) -> Outcome:
    """What comes of these pieces: the request, what was answered, what is over, or the problem."""
    server, answers = SocksServer(), b""
    request: Request | None = None
    over = b""
    try:
        for piece in pieces:
            if request is not None:
                over += piece  # No business of the negotiation's.
                continue
            request, answer = server.receive(piece)
            answers += answer
    except SocksViolation as violation:
        return None, answers + violation.reply, b"", str(violation)
    return request, answers, (server.rest if request else b"") + over, ""


def one_by_one(data: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in data]


@given(requests(), st.binary(max_size=20))
def test_a_request_is_understood_and_what_follows_is_left(
    case: tuple[bytes, Request], behind: bytes
) -> None:
    sent, wanted = case
    request, answer, rest, problem = outcome([sent + behind])
    assert (request, rest, problem) == (wanted, behind, "")
    assert answer == (b"\5\0" if sent[0] == 5 else b"")


@given(requests(), st.binary(max_size=20))
def test_byte_by_byte_is_as_all_at_once(case: tuple[bytes, Request], behind: bytes) -> None:
    data = case[0] + behind
    assert outcome(one_by_one(data)) == outcome([data])


starts = st.sampled_from([b"", b"\4\1", b"\5\1\0\5\1\0"])


@given(st.builds(bytes.__add__, starts, st.binary(max_size=600)))
def test_any_bytes_end_in_a_request_or_in_its_own_error(data: bytes) -> None:
    assert outcome(one_by_one(data)) == outcome([data])


@given(requests())
def test_a_part_of_a_request_is_none_yet(case: tuple[bytes, Request]) -> None:
    server = SocksServer()
    for byte in one_by_one(case[0][:-1]):
        assert server.receive(byte)[0] is None


@pytest.mark.parametrize(
    ("data", "reply", "problem"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", b"", "no SOCKS", id="http"),
        pytest.param(b"\5\1\2", b"\5\xff", "authentication", id="password only"),
        pytest.param(b"\5\0", b"\5\xff", "authentication", id="no method"),
        pytest.param(b"\5\1\0\4\1\0\1\1", b"\5\0", "behind its greeting", id="5 then 4"),
        pytest.param(b"\5\1\0\5\2\0\1\1", b"\5\0\5\7\0\1" + bytes(6), "command 2", id="bind 5"),
        pytest.param(b"\5\1\0\5\3\0\1\1", b"\5\0\5\7\0\1" + bytes(6), "command 3", id="udp"),
        pytest.param(b"\5\1\0\5\1\0\2\1", b"\5\0\5\x08\0\1" + bytes(6), "type 2", id="type"),
        pytest.param(socks5(b"\3\0", 1), b"\5\0", "proper name", id="empty name"),
        pytest.param(socks5(b"\3\2a\n", 1), b"\5\0", "proper name", id="control character"),
        pytest.param(socks5(b"\3\2\xc3\xa4", 1), b"\5\0", "proper name", id="not ascii"),
        pytest.param(b"\4\2\0\1\1\2\3\4\0", b"\0\x5b" + bytes(6), "command 2", id="bind 4"),
        pytest.param(
            b"\4\1\0\1\1\2\3\4" + bytes(range(1, 256)) + b"x" * 9, b"\0\x5b" + bytes(6),
            "without an end", id="user without end",
        ),
        pytest.param(
            socks4(b"\0\0\0\1", 1, name=b"x" * 256), b"\0\x5b" + bytes(6), "without an end",
            id="name without end",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, reply: bytes, problem: str) -> None:
    request, answer, _, said = outcome([data])
    assert request is None
    assert problem in said
    assert answer.startswith(reply), "whoever asks gets an answer that it understands"


def test_an_address_of_zeros_is_no_name() -> None:
    assert outcome([socks4(bytes(4), 80)])[0] == Request("0.0.0.0", 80)


@pytest.mark.parametrize("reply", Reply)
def test_replies(reply: Reply) -> None:
    for sent, size in ((socks4(b"\1\2\3\4", 1), 8), (socks5(b"\1\1\2\3\4", 1), 10)):
        server = SocksServer()
        server.receive(sent)
        answer = server.reply(reply)
        assert len(answer) == size
        granted = answer[1] == (90 if size == 8 else 0)
        assert granted is (reply is Reply.GRANTED)


def test_ipv6_is_said_as_people_write_it() -> None:
    address = ipaddress.ip_address("2001:db8::1")
    assert outcome([socks5(b"\4" + address.packed, 443)])[0] == Request("2001:db8::1", 443)
