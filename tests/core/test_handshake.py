"""What a peer may send before its login, and how often it may change keys after it."""

from __future__ import annotations

import pytest

from relay.core.handshake import BeforeLogin, KeyExchanges
from relay.core.limits import (
    BYTES_BEFORE_LOGIN,
    KEX_BYTES,
    KEX_SECONDS,
    KEXES_AT_ONCE,
    MAX_AUTH_TRIES,
    PACKETS_BEFORE_LOGIN,
)
from relay.errors import ProtocolViolation

MIB = 1 << 20
DAY = 24 * 3600.0


def test_packets_are_counted() -> None:
    before = BeforeLogin(max_packets=3, max_bytes=MIB)
    for _ in range(3):
        before.packet()
    with pytest.raises(ProtocolViolation, match="more than 3 packets before the login"):
        before.packet()


def test_bytes_are_counted() -> None:
    before = BeforeLogin(max_packets=3, max_bytes=2048)
    before.came(2000)
    before.came(48)
    with pytest.raises(ProtocolViolation, match="more than 2 KiB before the login"):
        before.came(1)


def test_a_packet_that_would_be_too_much_is_not_waited_for() -> None:
    before = BeforeLogin(max_packets=3, max_bytes=2048)
    before.came(1000)
    before.announced(1048)
    with pytest.raises(ProtocolViolation, match="more than 2 KiB before the login"):
        before.announced(1049)


def packets(before: BeforeLogin, count: int) -> None:
    for _ in range(count):
        before.packet()


def test_an_operator_who_allows_twice_the_tries_allows_what_they_take() -> None:
    before = BeforeLogin(PACKETS_BEFORE_LOGIN, BYTES_BEFORE_LOGIN)
    for _ in range(MAX_AUTH_TRIES):
        before.another_try()
    packets(before, 2 * PACKETS_BEFORE_LOGIN - MAX_AUTH_TRIES)
    before.came(2 * BYTES_BEFORE_LOGIN - MAX_AUTH_TRIES)
    with pytest.raises(ProtocolViolation):
        packets(before, MAX_AUTH_TRIES + 1)
    with pytest.raises(ProtocolViolation):
        before.came(MAX_AUTH_TRIES + 1)


def honest(exchanges: KeyExchanges, size: int, seconds: float, times: int = 1000) -> None:
    now = 0.0
    for _ in range(times):
        exchanges.begun(size, now)
        now += seconds


@pytest.mark.parametrize(
    ("size", "seconds"),
    [
        pytest.param(MIB, 0.0, id="RekeyLimit 1M, as fast as can be"),
        pytest.param(KEX_BYTES, 0.0, id="the fewest bytes"),
        pytest.param(0, KEX_SECONDS, id="RekeyLimit default 1s"),
        pytest.param(KEX_BYTES // 2, KEX_SECONDS / 2, id="of both a half"),
    ],
)
def test_what_traffic_or_time_explains(size: int, seconds: float) -> None:
    honest(KeyExchanges(), size, seconds)


@pytest.mark.parametrize(("size", "seconds"), [(0, 0.0), (KEX_BYTES // 2, 0.0), (0, 0.4)])
def test_what_nothing_explains(size: int, seconds: float) -> None:
    with pytest.raises(ProtocolViolation, match="more key exchanges than"):
        honest(KeyExchanges(), size, seconds)


def test_a_few_at_once_need_no_reason() -> None:
    honest(KeyExchanges(), 0, 0.0, KEXES_AT_ONCE)
    with pytest.raises(ProtocolViolation):
        honest(KeyExchanges(), 0, 0.0, KEXES_AT_ONCE + 1)


def test_nothing_is_saved_up() -> None:
    """After a quiet day, or a busy one, no more are allowed at once than ever."""
    exchanges = KeyExchanges()
    exchanges.begun(0, 0.0)
    exchanges.begun(1 << 50, DAY)
    for _ in range(KEXES_AT_ONCE - 1):
        exchanges.begun(0, DAY)
    with pytest.raises(ProtocolViolation):
        exchanges.begun(0, DAY)
