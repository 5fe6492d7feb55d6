"""relay/core/channel.py: the state table, every cell of it, and the windows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import channel as module
from relay.core.channel import TRANSITIONS, Channel, Half, Message
from relay.errors import ProtocolViolation
from relay.wire.numbers import MAX_UINT32

TABLE = """
    message         WAITING  ANSWERING  OPEN     EOF      CLOSED
    CONFIRMATION    -        OPEN       -        -        -
    FAILURE         -        CLOSED     -        -        -
    DATA            -        -          OPEN     -        -
    WINDOW_ADJUST   -        -          OPEN     EOF      -
    EOF             -        -          EOF      EOF      -
    REQUEST         -        -          OPEN     EOF      -
    CLOSE           -        -          CLOSED   CLOSED   -
"""


def parse(table: str) -> dict[tuple[Half, Message], Half | None]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (Half[before], Message[row[0]]): None if after == "-" else Half[after]
        for row in rows
        for before, after in zip(head[1:], row[1:], strict=False)
    }


def open_channel(window: int = 100, packet: int = 50) -> Channel:
    channel = Channel()
    channel.local_id = 3
    channel.receive_window = channel.send_window = window
    channel.receive_packet = channel.send_packet = packet
    channel.confirm(7)
    return channel


# -- the table


def test_the_table_has_every_cell_and_is_the_one_of_the_opening_essay() -> None:
    assert set(parse(TABLE)) == set(product(Half, Message))
    assert module.__doc__ is not None
    lines = module.__doc__.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["message", "WAITING"])
    assert parse("\n".join(lines[start : start + 1 + len(Message)])) == parse(TABLE)
    assert parse(TABLE).items() >= TRANSITIONS.items()


def test_received() -> None:
    for (before, message), after in parse(TABLE).items():
        channel = open_channel()
        channel.receiving = before
        if after is None:
            expected = f"^{message.value} on channel 3, which is {before.value}$"
            with pytest.raises(ProtocolViolation, match=expected):
                channel.received(message)
        else:
            channel.received(message)
        assert (channel.receiving, channel.sending) == (after or before, Half.OPEN)


def test_sent() -> None:
    """The same course, but what would be a violation, or a second EOF, does not go out."""
    for (before, message), after in parse(TABLE).items():
        channel = open_channel()
        channel.sending = before
        second_eof = before is Half.EOF and message is Message.EOF
        assert channel.sent(message) is (after is not None and not second_eof)
        assert (channel.receiving, channel.sending) == (Half.OPEN, after or before)


@pytest.mark.parametrize("half", Half)
def test_the_hot_path_keeps_to_the_table(half: Half) -> None:
    channel = open_channel()
    channel.receiving = half
    if half is Half.OPEN:
        channel.received_data(1)
    else:
        with pytest.raises(ProtocolViolation, match=r"^DATA on channel 3"):
            channel.received_data(1)
    assert channel.receive_window == (99 if half is Half.OPEN else 100)


@pytest.mark.parametrize("half", Half)
def test_a_window_may_grow_exactly_where_the_table_says(half: Half) -> None:
    channel = open_channel()
    channel.receiving = half
    if half in (Half.OPEN, Half.EOF):
        channel.received_window_adjust(1)
    else:
        with pytest.raises(ProtocolViolation, match=r"^WINDOW_ADJUST on channel 3"):
            channel.received_window_adjust(1)
    assert channel.send_window == (101 if half in (Half.OPEN, Half.EOF) else 100)


def test_finished_when_both_have_sent_close() -> None:
    for receiving, sending in product(Half, Half):
        channel = open_channel()
        channel.receiving, channel.sending = receiving, sending
        assert channel.finished is (receiving is sending is Half.CLOSED)


def test_a_new_channel_takes_nothing() -> None:
    channel = Channel()
    assert (channel.receiving, channel.sending) == (Half.WAITING, Half.WAITING)
    assert (channel.receive_window, channel.send_window) == (0, 0)


def test_we_confirm_the_peers_open() -> None:
    channel = open_channel()
    assert channel.remote_id == 7
    assert (channel.receiving, channel.sending) == (Half.OPEN, Half.OPEN)


def test_the_peer_confirms_ours() -> None:
    channel = Channel()
    channel.ask()
    assert (channel.receiving, channel.sending) == (Half.ANSWERING, Half.WAITING)
    channel.confirmed(7)
    assert channel.remote_id == 7
    assert (channel.receiving, channel.sending) == (Half.OPEN, Half.OPEN)


def test_the_peer_refuses_ours() -> None:
    channel = Channel()
    channel.ask()
    channel.refused()
    assert channel.finished


@pytest.mark.parametrize("answer", [lambda channel: channel.confirmed(9), Channel.refused])
@pytest.mark.parametrize("half", [half for half in Half if half is not Half.ANSWERING])
def test_nobody_answers_who_was_not_asked(half: Half, answer: Callable[[Channel], None]) -> None:
    channel = open_channel()
    channel.receiving = channel.sending = half
    with pytest.raises(ProtocolViolation, match=r"^OPEN_(CONFIRMATION|FAILURE) on channel 3"):
        answer(channel)
    assert (channel.remote_id, channel.receiving, channel.sending) == (7, half, half)


# -- the windows


def test_data_up_to_the_window() -> None:
    channel = open_channel(window=100, packet=50)
    channel.received_data(50)
    channel.received_data(49)
    with pytest.raises(ProtocolViolation, match="2 bytes on channel 3, whose window has 1"):
        channel.received_data(2)
    channel.received_data(1)
    channel.received_data(0)
    assert channel.receive_window == 0


def test_data_up_to_the_packet_size() -> None:
    channel = open_channel(window=100, packet=50)
    with pytest.raises(ProtocolViolation, match="51 bytes in one packet on channel 3"):
        channel.received_data(51)
    channel.received_data(50)
    assert channel.receive_window == 50


@pytest.mark.parametrize("grow", [Channel.received_window_adjust, Channel.granted])
def test_a_window_never_passes_its_limit(grow: Callable[[Channel, int], None]) -> None:
    channel = open_channel(window=100)
    grow(channel, MAX_UINT32 - 100)
    with pytest.raises(ProtocolViolation, match=r"the window of channel 3 grew over 2\^32-1"):
        grow(channel, 1)
    assert sorted((channel.send_window, channel.receive_window)) == [100, MAX_UINT32]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [Channel.received_data, Channel.received_window_adjust, Channel.granted]
            ),
            st.integers(0, 60) | st.integers(0, MAX_UINT32),
        )
    )
)
def test_windows_stay_in_range_whatever_comes(
    events: list[tuple[Callable[[Channel, int], None], int]],
) -> None:
    channel = open_channel()
    for event, size in events:
        before = (channel.receive_window, channel.send_window)
        try:
            event(channel, size)
        except ProtocolViolation:
            assert (channel.receive_window, channel.send_window) == before
        assert 0 <= channel.receive_window <= MAX_UINT32
        assert 0 <= channel.send_window <= MAX_UINT32
