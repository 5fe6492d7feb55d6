"""relay/wire/messages.py: every byte as RFC 4254 has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.encoding import uint32
from relay.wire.numbers import OpenFailure


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            messages.channel_open(b"direct-tcpip", 1, 2, 3, b"fields"),
            b"\x5a\0\0\0\x0cdirect-tcpip\0\0\0\1\0\0\0\2\0\0\0\3fields",
        ),
        (
            messages.tcpip_fields("gpu1", 8000, "::1", 65535),
            b"\0\0\0\4gpu1\0\0\x1f\x40\0\0\0\3::1\0\0\xff\xff",
        ),
        (
            messages.open_confirmation(1, 2, 2**32 - 1, 4),
            b"\x5b\0\0\0\1\0\0\0\2\xff\xff\xff\xff\0\0\0\4",
        ),
        (
            messages.open_failure(1, OpenFailure.CONNECT_FAILED, "büro"),
            b"\x5c\0\0\0\1\0\0\0\2\0\0\0\5b\xc3\xbcro\0\0\0\0",
        ),
        (
            messages.open_failure(1, 0xFE000000, ""),
            b"\x5c\0\0\0\1\xfe\0\0\0\0\0\0\0\0\0\0\0",
        ),
        (
            messages.streamlocal_fields("/run/\udcff"),
            b"\0\0\0\6/run/\xff\0\0\0\0\0\0\0\0",
        ),
        (messages.window_adjust(1, 2**32 - 1), b"\x5d\0\0\0\1\xff\xff\xff\xff"),
        (messages.eof(1), b"\x60\0\0\0\1"),
        (messages.close(1), b"\x61\0\0\0\1"),
        (messages.channel_failure(1), b"\x64\0\0\0\1"),
    ],
)
def test_message(message: bytes, expected: bytes) -> None:
    assert message == expected


HOSTS = st.text(max_size=40)
PORTS = st.integers(0, 2**32 - 1)


@given(HOSTS, PORTS, HOSTS, PORTS)
def test_what_a_stream_is_for_is_read_as_it_was_written(
    host: str, port: int, origin_host: str, origin_port: int
) -> None:
    fields = messages.tcpip_fields(host, port, origin_host, origin_port)
    assert messages.parse_tcpip(fields) == (host, port, origin_host, origin_port)
    assert messages.parse_forward(messages.forward_fields(host, port)) == (host, port)
    assert messages.parse_port(uint32(port)) == port


@given(st.integers(0, 2**64 - 1), st.binary(max_size=40))
def test_what_an_agent_says_of_itself_is_read_as_it_was_written(age: int, name: bytes) -> None:
    assert messages.parse_agent_started(messages.agent_started(age, name)) == (age, name)


@given(HOSTS, PORTS, st.integers(0, 2**64 - 1), HOSTS)
def test_why_a_service_is_down_is_read_as_it_was_written(
    host: str, port: int, age: int, reason: str
) -> None:
    fields = messages.service_down(host, port, age, reason)
    assert messages.parse_service_down(fields) == (host, port, age, reason)


PARSERS: list[Callable[[bytes], object]] = [
    messages.parse_tcpip,
    messages.parse_forward,
    messages.parse_port,
    messages.parse_agent_started,
    messages.parse_service_down,
    messages.parse_service_refused,
    messages.parse_service_state,
]


@given(st.binary(max_size=60), st.sampled_from(PARSERS))
def test_a_parser_raises_only_its_own_error(data: bytes, parse: Callable[[bytes], object]) -> None:
    try:
        parse(data)
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\1h", b"\0\0\0\1h\0\0\0\1x", b"\0\0\0\1\xff\0\0\0\1"]
)
def test_a_forward_that_is_cut_short_or_too_long_or_no_text(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        messages.parse_forward(data)


@pytest.mark.parametrize(
    ("parse", "whole"),
    [
        (messages.parse_tcpip, messages.tcpip_fields("gpu1", 1, "::1", 2)),
        (messages.parse_forward, messages.forward_fields("gpu1", 1)),
        (messages.parse_port, uint32(1)),
        (messages.parse_agent_started, messages.agent_started(1, b"name")),
        (messages.parse_service_down, messages.service_down("gpu1", 1, 2, "no")),
        (messages.parse_service_refused, messages.service_refused("HELD", "no")),
        (messages.parse_service_state, messages.service_state(2, "no", "gpu1:1")),
    ],
)
def test_no_byte_may_be_missing_and_none_too_many(
    parse: Callable[[bytes], object], whole: bytes
) -> None:
    parse(whole)
    for wrong in (whole[:-1], whole + b"\0", b""):
        with pytest.raises(ProtocolViolation):
            parse(wrong)
