"""relay/core/forward.py: what ssh accepts is accepted, all else is a UsageError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.forward import (
    Forward,
    format_address,
    parse_destination,
    parse_forward,
    parse_listen,
    parse_port,
    split_fields,
)
from relay.errors import UsageError

ports = st.integers(1, 65535)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9_.-]{1,40}", fullmatch=True),
    st.ip_addresses().map(str),
)
# Mostly made of what matters to the parsers, so that the inputs get far into them.
texts = st.one_of(st.text(), st.text(alphabet="[]:*@%/-\\ s0159abh\n\x00é\u0660"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3000:localhost:80", Forward(None, 3000, "localhost", 80)),
        ("gpu1:8000:localhost:8001", Forward("gpu1", 8000, "localhost", 8001)),
        ("*:3000:h:80", Forward("*", 3000, "h", 80)),
        (":3000:h:80", Forward("", 3000, "h", 80)),
        ("[::1]:3000:[fe80::1]:80", Forward("::1", 3000, "fe80::1", 80)),
        ("[]:3000:[h]:80", Forward("", 3000, "h", 80)),
        ("3000:[fe80::1%eth0]:80", Forward(None, 3000, "fe80::1%eth0", 80)),
        ("65535:h:65535", Forward(None, 65535, "h", 65535)),
    ],
)
def test_forward(text: str, expected: Forward) -> None:
    assert parse_forward(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3000",
        "3000:80",
        "3000:h:",
        "3000::80",
        "a:3000:h:80:",
        "a:3000:h:80:90",
        "::1:3000:h:80",
        "[::1:3000:h:80",
        "[::1]3000:h:80",
        "x[::1]:3000:h:80",
        "3000:h:80\n",
        "3000:h:[80]\n",
        "a b:3000:h:80",
        "/run/socket:3000:h:80",
        "3000:h h:80",
        "3000:h\x1b:80",
        "3000:/run/socket:80",
        "65536:h:80",
        "+1:h:80",
        " 1:h:80",
        "\u0661:h:80",
        "1_0:h:80",
        "http:h:80",
    ],
)
def test_no_forward(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_forward(text, allow_zero=True)
    assert repr(text) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_that_is_too_long_is_not_shown_whole() -> None:
    with pytest.raises(UsageError, match=r"'h{20}'… has 256 characters: a name has at most 255"):
        parse_forward(f"1:{'h' * 256}:80")
    assert parse_forward(f"1:{'h' * 255}:80").host == "h" * 255


def test_port_zero_is_for_listening_and_on_request_only() -> None:
    assert parse_forward("0:h:80", allow_zero=True).port == 0
    with pytest.raises(UsageError, match="give 1 to 65535"):
        parse_forward("0:h:80")
    with pytest.raises(UsageError, match="give 1 to 65535"):
        parse_forward("80:h:0", allow_zero=True)


def test_the_error_shows_what_would_be_right() -> None:
    with pytest.raises(UsageError, match=r"\[bind:\]port:host:hostport"):
        parse_forward("8000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3000:/run/s", Forward(None, 3000, target_path="/run/s")),
        ("[::1]:3000:/run/s", Forward("::1", 3000, target_path="/run/s")),
        ("/run/s:h:80", Forward(None, 0, "h", 80, listen_path="/run/s")),
        ("/a:/b", Forward(None, 0, listen_path="/a", target_path="/b")),
        ("./a:sub/b", Forward(None, 0, listen_path="./a", target_path="sub/b")),
        ("[/a:b]:[/c:d]", Forward(None, 0, listen_path="/a:b", target_path="/c:d")),
        ("gpu1:8000:/run/s", Forward("gpu1", 8000, target_path="/run/s")),
    ],
)
def test_unix_sockets_on_either_side(text: str, expected: Forward) -> None:
    assert parse_forward(text) == expected
    assert str(expected) == text
    assert not expected.dynamic


@pytest.mark.parametrize(
    "text", ["/a", "/a:", "/a:b", "a:b:/c:d", "a:/b:80", f"1:/{'x' * 107}", "1:/\0"]
)
def test_no_unix_socket(text: str) -> None:
    with pytest.raises(UsageError):
        parse_forward(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1080", Forward(None, 1080)),
        ("localhost:1080", Forward("localhost", 1080)),
        ("[::1]:1080", Forward("::1", 1080)),
        (":1080", Forward("", 1080)),
        ("/run/s", Forward(None, 0, listen_path="/run/s")),
    ],
)
def test_dynamic(text: str, expected: Forward) -> None:
    assert parse_forward(text, dynamic=True) == expected
    assert expected.target == "SOCKS"
    assert str(expected) == text
    assert expected.dynamic


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "0", "h:", "a b:1", "1:h:2"])
def test_not_dynamic(text: str) -> None:
    with pytest.raises(UsageError):
        parse_forward(text, dynamic=True)


@given(st.none() | hosts | st.sampled_from(["", "*"]), ports, hosts, ports)
def test_forward_survives_being_written(
    bind: str | None, port: int, host: str, hostport: int
) -> None:
    forward = Forward(bind, port, host, hostport)
    assert parse_forward(str(forward)) == forward
    assert split_fields(forward.target) == [host, str(hostport)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:2222", ("0.0.0.0", 2222)),
        ("[::]:0", ("::", 0)),
        ("*:2222", ("", 2222)),
        (":2222", ("", 2222)),
        ("relay.example.com:22", ("relay.example.com", 22)),
    ],
)
def test_listen(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "2222", "h", "h:", "::1:22", "h:1:2", "h:65536", "h:-1"])
def test_no_listen(text: str) -> None:
    with pytest.raises(UsageError):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b", (None, "b", None)),
        ("me@b", ("me", "b", None)),
        ("me@corp.example@b", ("me@corp.example", "b", None)),
        ("CORP\\me@b", ("CORP\\me", "b", None)),
        ("fe80::1", (None, "fe80::1", None)),
        ("::ffff:10.0.0.1", (None, "::ffff:10.0.0.1", None)),
        ("me@[fe80::1]", ("me", "fe80::1", None)),
        ("ssh://b", (None, "b", None)),
        ("SSH://me@b:2222/", ("me", "b", 2222)),
        ("ssh://me%40x;fingerprint=1@[::1]:22", ("me@x", "::1", 22)),
        ("DOMAIN\\me@b", ("DOMAIN\\me", "b", None)),
        ("machine$@b", ("machine$", "b", None)),
        ("first last@b", ("first last", "b", None)),
    ],
)
def test_destination(text: str, expected: tuple[str | None, str, int | None]) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@b",
        "me@",
        "b c",
        "b:2222",
        "-oProxyCommand=x",
        "-x@b",
        "a$(id)",
        "a,b",
        "a\\b",
        "a;id@b",
        "a\nb@b",
        "a -oProxyCommand=x@b",
        "a\\@b",
        "[]",
        "ssh://",
        "ssh://b:0",
        "ssh://b:",
        "ssh://::1",
        "ssh://b/path",
        "ssh://a%3bid@b",
        "ssh://@b",
    ],
)
def test_no_destination(text: str) -> None:
    with pytest.raises(UsageError):
        parse_destination(text)


def test_a_port_behind_the_host_gets_a_hint() -> None:
    with pytest.raises(UsageError, match="-p"):
        parse_destination("me@b:2222")


def test_format_address() -> None:
    assert format_address("localhost", 80) == "localhost:80"
    assert format_address("::1", 80) == "[::1]:80"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("65535", 65535), ("65536", None), ("", None), ("²", None)]
)
def test_port(text: str, expected: int | None) -> None:
    assert parse_port(text) == expected


@given(texts)
def test_any_text_is_parsed_or_refused_in_our_own_words(text: str) -> None:
    try:
        forward = parse_forward(text, allow_zero=True)
        assert parse_forward(str(forward), allow_zero=True) == forward
    except UsageError:
        pass
    for parse in (parse_listen, parse_destination):
        try:
            parse(text)
        except UsageError:
            pass


@given(st.integers(0, 99999), hosts)
def test_a_port_number_is_in_range(port: int, host: str) -> None:
    if port <= 65535:
        assert parse_listen(format_address(host, port)) == (host, port)
    else:
        with pytest.raises(UsageError):
            parse_listen(format_address(host, port))
