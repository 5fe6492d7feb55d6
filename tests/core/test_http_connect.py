"""The CONNECT talk: whose each byte is, however they come, and how a hostile proxy is told of."""

from __future__ import annotations

import base64
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.http_connect import HttpConnect
from relay.core.limits import PROXY_ANSWER
from relay.errors import LegLost, ProtocolViolation, Refused, RelayError, UsageError

YES = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n",
    b"HTTP/1.1 200 OK\nVia: a\n\n",
    b"HTTP/1.1 204 x\r\n\r\n",
    # RFC 9110 §9.3.6: both "MUST" be ignored.
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\n\r\n",
]


def asked(*, logs_in: bool = False) -> HttpConnect:
    return HttpConnect("b", 2222, ("user", "secret") if logs_in else None)


def fed(talk: HttpConnect, parts: list[bytes]) -> bytes:
    """Give it the parts as a socket would that is only looked into; what is left is SSH's."""
    waiting = b""
    for part in parts:
        waiting += part
        if not talk.open and waiting:
            waiting = waiting[talk.receive(waiting) :]
    return waiting


@pytest.mark.parametrize("answer", YES)
@given(st.binary(max_size=40), st.sets(st.integers(0, 200)))
def test_what_is_behind_the_header_is_not_the_proxys(
    answer: bytes, behind: bytes, cuts: set[int]
) -> None:
    """Wherever the bytes are cut: SSH's version line may come with the header, or a byte at a
    time."""
    data = answer + behind
    at = sorted(cut for cut in {0, *cuts, len(data)} if cut <= len(data))
    parts = [data[start:end] for start, end in itertools.pairwise(at)]
    talk = asked()
    assert fed(talk, parts) == behind
    assert talk.open


@pytest.mark.parametrize("status", [301, 400, 403, 404, 405, 407, 418, 499])
def test_who_says_no_says_it_again(status: int) -> None:
    with pytest.raises(Refused, match=f"the proxy answered {status}"):
        asked().receive(b"HTTP/1.1 %d No\r\n\r\n" % status)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_who_cannot_now_may_later(status: int) -> None:
    with pytest.raises(LegLost, match=f"the proxy answered {status}"):
        asked().receive(b"HTTP/1.1 %d No\r\n\r\n" % status)


def test_what_is_told_is_what_the_number_means() -> None:
    """Not what the proxy says: it could say a secret back, or move the cursor."""
    for words in (b"secret \x1b[2J", b"x" * 9000):
        talk = asked(logs_in=True)
        with pytest.raises(LegLost) as caught:
            talk.receive(b"HTTP/1.1 502 " + words + b"\r\nX: " + words[:7] + b"\r\n\r\n<html>")
        assert str(caught.value) == "the proxy answered 502 Bad Gateway"


CHALLENGES: list[tuple[bytes, bool, str]] = [
    (b"", False, "give -o ProxyURL=http://user@proxy:3128 -o ProxyPasswordFile=FILE"),
    (b'Proxy-Authenticate: Basic realm="x"\r\n', False, "-o ProxyPasswordFile=FILE"),
    (b"Proxy-Authenticate: NTLM, basic\r\n", False, "-o ProxyPasswordFile=FILE"),
    (b'Proxy-Authenticate: Basic realm="x"\r\n', True, "does not accept the user name and the"),
    (b"Proxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate\r\n", True, "takes no user name"),
    (b'Proxy-Authenticate: Digest realm="Basically"\r\n', False, "takes no user name"),
]


@pytest.mark.parametrize(("headers", "logs_in", "words"), CHALLENGES)
def test_who_is_to_log_in(headers: bytes, logs_in: bool, words: str) -> None:
    with pytest.raises(Refused, match="407 Proxy Authentication Required: ") as caught:
        asked(logs_in=logs_in).receive(b"HTTP/1.1 407 Who\r\n" + headers + b"\r\n")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


GARBAGE = {
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "one byte": b"\x15",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "no number": b"HTTP/1.1 yes\r\n\r\n",
    "another switch": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "a header that is none": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "a line without end": b"HTTP/1.1 200 " + b"x" * PROXY_ANSWER,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * PROXY_ANSWER,
    "continuing without end": b"HTTP/1.1 100 Continue\r\n\r\n" * PROXY_ANSWER,
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("size", [1, 4096])
def test_what_is_no_answer(said: bytes, size: int) -> None:
    """Told before it takes more than its limit, in pieces of any size."""
    talk = asked()
    taken = 0

    def feed() -> None:
        nonlocal taken
        for start in range(0, len(said), size):
            taken += talk.receive(said[start : start + size])

    with pytest.raises(ProtocolViolation):
        feed()
    assert not talk.open
    assert taken <= PROXY_ANSWER


@pytest.mark.parametrize("said", [b"", b"HTT", b"HTTP/1.1 200 OK\r\n"])
def test_who_closes_early(said: bytes) -> None:
    talk = asked()
    if said:
        talk.receive(said)
    with pytest.raises(LegLost, match="closed"):
        talk.receive(b"")


@given(st.binary(max_size=300) | st.binary(max_size=99).map(b"HTTP/1.1 200".__add__))
def test_nothing_that_a_proxy_says_is_a_fault_of_ours(said: bytes) -> None:
    talk = asked(logs_in=True)
    with contextlib.suppress(RelayError):
        behind = fed(talk, [said])
        assert said.endswith(behind)
        assert talk.open or not behind


# -- what is asked


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("b.example", b"b.example:22"),
        ("10.0.0.1", b"10.0.0.1:22"),
        ("2001:db8::1", b"[2001:db8::1]:22"),
        ("bücher.example", b"xn--bcher-kva.example:22"),
        ("a_b.", b"a_b.:22"),
    ],
)
def test_the_name_is_sent_as_it_is(host: str, target: bytes) -> None:
    """RFC 9112 §3.2.3, and §3.2: "identical"."""
    assert HttpConnect(host, 22).request == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (
        target,
        target,
    )


@pytest.mark.parametrize(
    "host", ["", "a b", "a\r\nX: y", "a/b", "a@b", "[::1]", "a?b", "a..b", "a\0", "x" * 64]
)
def test_no_name_says_more_than_a_name(host: str) -> None:
    with pytest.raises(UsageError, match="no name that a proxy can be asked for"):
        HttpConnect(host, 22)


@pytest.mark.parametrize("password", ["secret", "with:colon", "mit ü", "", "\udcff"])
def test_the_credentials(password: str) -> None:
    """RFC 7617 §2."""
    request = HttpConnect("b", 22, ("user", password)).request
    token = request.partition(b"Proxy-Authorization: Basic ")[2].partition(b"\r\n")[0]
    assert base64.b64decode(token) == b"user:" + password.encode(errors="surrogateescape")
