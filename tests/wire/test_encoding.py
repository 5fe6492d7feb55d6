"""relay/wire/encoding.py: the data types of RFC 4251 §5."""

from __future__ import annotations

from collections.abc import Callable

import asyncssh.packet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.wire.encoding import Reader, byte, string, uint32

BYTES = st.integers(0, 255)
UINT32S = st.integers(0, 2**32 - 1)


def test_the_examples_of_the_rfc() -> None:
    assert uint32(699921578) == bytes.fromhex("29 b7 f4 aa")
    assert string("testing") == bytes.fromhex("00 00 00 07") + b"testing"


def test_text_goes_as_utf8() -> None:
    assert string("büro") == string(b"b\xc3\xbcro") == b"\0\0\0\5b\xc3\xbcro"


@given(BYTES, UINT32S, st.binary(max_size=100), st.text(max_size=50))
def test_what_is_written_is_what_asyncssh_writes(
    number: int, word: int, data: bytes, text: str
) -> None:
    assert byte(number) == asyncssh.packet.Byte(number)
    assert uint32(word) == asyncssh.packet.UInt32(word)
    assert string(data) == asyncssh.packet.String(data)
    assert string(text) == asyncssh.packet.String(text)


@given(BYTES, UINT32S, st.binary(max_size=100), st.text(max_size=50))
def test_what_is_written_is_read(number: int, word: int, data: bytes, text: str) -> None:
    message = byte(number) + uint32(word) + string(data) + string(text)
    for memory in (message, bytearray(message), memoryview(message)):
        reader = Reader(memory)
        assert reader.byte() == number
        assert reader.uint32() == word
        assert reader.string() == data
        assert reader.text() == text
        reader.end()


@pytest.mark.parametrize(
    ("field", "whole"),
    [
        (Reader.byte, byte(7)),
        (Reader.uint32, uint32(7)),
        (Reader.uint64, bytes(7) + byte(7)),
        (Reader.string, string(b"seven")),
        (Reader.text, string("seven")),
    ],
)
def test_a_field_that_is_cut_short_is_a_violation(
    field: Callable[[Reader], object], whole: bytes
) -> None:
    field(Reader(whole))
    for size in range(len(whole)):
        with pytest.raises(ProtocolViolation, match="ends before its last field"):
            field(Reader(whole[:size]))


def test_a_text_that_is_not_utf8_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="not UTF-8"):
        Reader(string(b"\xff")).text()


def test_a_text_has_a_limit_in_bytes() -> None:
    assert Reader(string("büro")).text(limit=5) == "büro"
    with pytest.raises(ProtocolViolation, match="5 bytes where 4 are allowed"):
        Reader(string("büro")).text(limit=4)


def test_nothing_may_follow_the_end() -> None:
    reader = Reader(byte(1) + byte(2))
    reader.byte()
    with pytest.raises(ProtocolViolation, match="after a message's last field"):
        reader.end()
    reader.byte()
    reader.end()


@given(
    st.binary(max_size=64),
    st.lists(st.sampled_from([Reader.byte, Reader.uint32, Reader.string, Reader.text, Reader.end])),
)
def test_arbitrary_bytes_raise_nothing_but_violations(
    data: bytes, fields: list[Callable[[Reader], object]]
) -> None:
    reader = Reader(data)
    for field in fields:
        try:
            field(reader)
        except ProtocolViolation:
            pass
