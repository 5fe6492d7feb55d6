"""relay/core/splice.py, by playbook: event in, commands out.

A opened, C was asked. A calls its channel 10, on a leg where it is B's number 1; C calls its
channel 20, on a leg where it is B's number 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from relay.core.channel import MIN_PACKET, TRANSITIONS, Message
from relay.core.limits import CHANNELS_PER_LEG, WAITING_PER_LEG
from relay.core.splice import (
    CREDIT_PER_PROCESS,
    FIRST_CREDIT,
    MANY,
    MAX_CREDIT,
    MAX_PACKET,
    NO_ANSWER,
    TOO_SMALL,
    Credit,
    Cut,
    Retire,
    Send,
    Side,
    Splice,
    first_credit,
)
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.numbers import MAX_UINT32
from relay.wire.packet import MAX_LENGTH

A, C = Side.OPENER, Side.ACCEPTOR
A_NUMBER, C_NUMBER = 10, 20
A_LABEL, C_LABEL = 1, 2
A_WINDOW, A_PACKET = 11_000, 1100
C_WINDOW, C_PACKET = 24_000, 1200

Event = tuple[Any, ...]
"""A method of the splice and what it is called with."""


class Forward(NamedTuple):
    """Data goes on to `side`."""

    side: Side
    size: int


class Violation(NamedTuple):
    """The leg that the event came from ends."""

    text: str


Outcome = Send | Cut | Retire | Forward | Violation


class Playbook:
    """What happens to a splice and what must come of it, no less and no more:

        assert Playbook() >> event << outcome << outcome >> event

    A playbook can be continued: each `assert` plays it from the start.
    """

    def __init__(self, *lines: Event | Outcome) -> None:
        self._lines = lines

    def __rshift__(self, event: Event) -> Playbook:
        return Playbook(*self._lines, event)

    def __lshift__(self, outcome: Outcome) -> Playbook:
        return Playbook(*self._lines, outcome)

    def __bool__(self) -> bool:
        splice = new_splice()
        played: list[str] = []
        for line in self._lines:
            if type(line) is tuple:
                played += map(repr, [line, *play(splice, *line)])
        # By their text: `Send` and `Cut` of the same fields are equal, as tuples are.
        assert played == [repr(line) for line in self._lines]
        return True


def new_splice(window: int = A_WINDOW, packet: int = A_PACKET) -> Splice:
    splice = Splice(A_NUMBER, window, packet)
    splice.channels[A].local_id = A_LABEL
    splice.channels[C].local_id = C_LABEL
    return splice


def play(splice: Splice, event: str, *args: Any) -> list[Any]:
    try:
        outcome = getattr(splice, event)(*args)
        if event == "window_adjust":  # As it goes while the leg has room.
            size = splice.releasable(args[0])
            outcome = splice.release(args[0], size) if size else []
    except ProtocolViolation as violation:
        return [Violation(str(violation))]
    if event != "data":
        return list(outcome)
    return [Forward(Side(splice.channels.index(outcome)), args[1])] if outcome else []


def send(side: Side, build: Callable[..., bytes], *args: Any) -> Send:
    """A message on the channel of `side`, under that side's number."""
    return Send(side, build((A_NUMBER, C_NUMBER)[side], *args))


def cut(side: Side, build: Callable[..., bytes] | None = None) -> Cut:
    return Cut(side, build((A_NUMBER, C_NUMBER)[side]) if build else b"")


OPENING = (
    Playbook()
    >> ("open", b"forwarded-tcpip", b"fields")
    << Send(C, messages.channel_open(b"forwarded-tcpip", C_LABEL, A_WINDOW, A_PACKET, b"fields"))
)  # fmt: skip

OPEN = (
    OPENING
    >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
    << send(A, messages.open_confirmation, A_LABEL, C_WINDOW, C_PACKET)
)  # fmt: skip

from_either_side = pytest.mark.parametrize(("near", "far"), [(A, C), (C, A)], ids=["A", "C"])

ANY_MESSAGE: list[Callable[[Side], Event]] = [
    lambda side: ("data", side, 1),
    lambda side: ("window_adjust", side, 1),
    lambda side: ("eof", side),
    lambda side: ("request", side, True),
    lambda side: ("close", side),
]
any_message = pytest.mark.parametrize(
    "message", ANY_MESSAGE, ids=["DATA", "WINDOW_ADJUST", "EOF", "REQUEST", "CLOSE"]
)


def label(side: Side) -> int:
    return (A_LABEL, C_LABEL)[side]


# -- how it begins


def test_windows_and_packet_sizes_pass_through() -> None:
    assert OPEN


@pytest.mark.parametrize("announced", [MAX_PACKET + 1, MAX_LENGTH, MAX_UINT32])
def test_a_packet_size_that_would_not_fit_is_lowered(announced: int) -> None:
    splice = new_splice(MAX_UINT32, announced)
    assert play(splice, "open", b"kind", b"") == [
        Send(C, messages.channel_open(b"kind", C_LABEL, FIRST_CREDIT, MAX_PACKET, b""))
    ]
    assert play(splice, "confirmed", C, C_NUMBER, MAX_UINT32, announced) == [
        send(A, messages.open_confirmation, A_LABEL, FIRST_CREDIT, MAX_PACKET)
    ]
    for side in (A, C):
        assert play(splice, "data", side, MAX_PACKET) == [Forward(Side(1 - side), MAX_PACKET)]
        (violation,) = play(splice, "data", side, MAX_PACKET + 1)
        assert isinstance(violation, Violation)


def test_the_largest_packet_fits_with_the_most_padding() -> None:
    assert 1 + 9 + MAX_PACKET + 255 <= MAX_LENGTH


def test_a_failure_of_the_open_passes_with_its_reason() -> None:
    assert (
        OPENING
        >> ("failed", C, 4, "no more sockets")
        << send(A, messages.open_failure, 4, "no more sockets")
        << Retire(A)
        << Retire(C)
    )


def test_an_open_is_answered_once() -> None:
    assert (
        OPEN
        >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
        << Violation(f"OPEN_CONFIRMATION on channel {C_LABEL}, which is open")
        >> ("failed", C, 4, "")
        << Violation(f"OPEN_FAILURE on channel {C_LABEL}, which is open")
    )


@pytest.mark.parametrize("packet", [0, 1, MIN_PACKET - 1])
def test_a_confirmation_with_a_packet_size_that_is_too_small(packet: int) -> None:
    """The acceptor has opened its end: it is closed again, and the opener's never opens."""
    assert (
        OPENING
        >> ("confirmed", C, C_NUMBER, C_WINDOW, packet)
        << send(A, messages.open_failure, 2, TOO_SMALL)
        << Retire(A)
        << send(C, messages.close)
        >> ("data", C, 1)
        >> ("eof", C)
        >> ("close", C)
        << cut(C, messages.close)
        << Retire(C)
    )


ANSWERS: list[Callable[[Side], Event]] = [
    lambda side: ("confirmed", side, C_NUMBER + 1, C_WINDOW, C_PACKET),
    lambda side: ("failed", side, 2, "no"),
]

MESSAGES = {
    "OPEN_CONFIRMATION": ANSWERS[0],
    "OPEN_FAILURE": ANSWERS[1],
    **dict(zip(("DATA", "WINDOW_ADJUST", "EOF", "REQUEST", "CLOSE"), ANY_MESSAGE, strict=True)),
}


@pytest.mark.parametrize("answer", ANSWERS, ids=["CONFIRMATION", "FAILURE"])
def test_the_opener_may_not_answer_its_own_open(answer: Callable[[Side], Event]) -> None:
    """It would name the number by which C calls the channel, which may be somebody else's."""
    splice = new_splice()
    play(splice, "open", b"kind", b"")
    (violation,) = play(splice, *answer(A))
    assert isinstance(violation, Violation)
    assert splice.channels[C].remote_id == -1


def test_every_message_from_both_sides_in_every_state() -> None:
    """From each state that can be reached, whatever either side can say and each loss of a leg:
    what the table of `channel.py` forbids is a violation that changes nothing, all else goes on
    to a state that is tried in its turn."""
    begin: tuple[Event, ...] = (("open", b"kind", b""),)
    states = {state_after(begin): begin}
    untried = [begin]
    while untried:
        script = untried.pop()
        for side in Side:
            if play_all(script).retired(side):
                continue  # Its number is free: nothing of it reaches the splice.
            events = {name: message(side) for name, message in MESSAGES.items()}
            for name, event in [*events.items(), ("lost", ("lost", side))]:
                after = judged(script, side, name, event)
                if after not in states:
                    states[after] = (*script, event)
                    untried.append(states[after])
    assert len(states) == 35, "the way to some state is gone, or there are new ones"


class Played(NamedTuple):
    """A splice after a script, and what was retired on the way."""

    splice: Splice
    gone: frozenset[Side]

    def retired(self, side: Side) -> bool:
        return side in self.gone

    @property
    def state(self) -> tuple[object, ...]:
        halves = [(c.receiving, c.sending) for c in self.splice.channels]
        return (*halves, self.gone)


def play_all(script: tuple[Event, ...]) -> Played:
    splice, gone = new_splice(), set()
    for event in script:
        gone |= {command.side for command in play(splice, *event) if isinstance(command, Retire)}
    return Played(splice, frozenset(gone))


def state_after(script: tuple[Event, ...]) -> tuple[object, ...]:
    return play_all(script).state


def judged(script: tuple[Event, ...], side: Side, name: str, event: Event) -> tuple[object, ...]:
    """The state after the event, which was refused or not as the table has it."""
    before = play_all(script)
    receiving = before.splice.channels[side].receiving
    outcome = play(before.splice, *event)
    refused = any(isinstance(one, Violation) for one in outcome)
    if name != "lost":
        allowed = (receiving, Message(name)) in TRANSITIONS
        assert refused is not allowed, (script, event)
    after = state_after((*script, event))
    if refused:
        assert after == state_after(script)
    return after


@any_message
@from_either_side
def test_nothing_may_come_before_the_confirmation(
    near: Side, far: Side, message: Callable[[Side], Event]
) -> None:
    splice = new_splice()
    splice.open(b"kind", b"")
    (violation,) = play(splice, *message(near))
    assert isinstance(violation, Violation)
    state = ("waiting for our answer", "not confirmed yet")[near]
    assert f"on channel {label(near)}, which is {state}" in violation.text


# -- data and windows


def test_data_goes_on_within_the_window_and_the_packet_size() -> None:
    assert (
        OPEN
        >> ("data", A, C_PACKET) << Forward(C, C_PACKET)
        >> ("data", C, A_PACKET) << Forward(A, A_PACKET)
        >> ("data", A, 0)
    )  # fmt: skip


def test_data_over_the_packet_size() -> None:
    assert (
        OPEN
        >> ("data", A, C_PACKET + 1)
        << Violation(f"1201 bytes in one packet on channel {A_LABEL}, which takes 1200")
        >> ("data", C, A_PACKET + 1)
        << Violation(f"1101 bytes in one packet on channel {C_LABEL}, which takes 1100")
    )


@from_either_side
def test_data_over_the_window(near: Side, far: Side) -> None:
    window, packet = ((C_WINDOW, C_PACKET), (A_WINDOW, A_PACKET))[near]
    playbook = OPEN
    for _ in range(window // packet):
        playbook = playbook >> ("data", near, packet) << Forward(far, packet)
    assert (
        playbook
        >> ("data", near, 1)
        << Violation(f"1 bytes on channel {label(near)}, whose window has 0")
        >> ("window_adjust", far, 5)
        << send(near, messages.window_adjust, 5)
        >> ("data", near, 6)
        << Violation(f"6 bytes on channel {label(near)}, whose window has 5")
        >> ("data", near, 5)
        << Forward(far, 5)
    )


@from_either_side
def test_a_window_grows_to_its_limit_and_not_over_it(near: Side, far: Side) -> None:
    room = MAX_UINT32 - (A_WINDOW, C_WINDOW)[near]
    too_much = Violation(f"the window of channel {label(near)} grew over 2^32-1")
    assert (
        OPEN
        >> ("window_adjust", near, room + 1)
        << too_much
        >> ("window_adjust", near, room)
        << send(far, messages.window_adjust, FIRST_CREDIT - (A_WINDOW, C_WINDOW)[near])
        >> ("window_adjust", near, 1)
        << too_much
        >> ("data", far, 1)
        << Forward(near, 1)
        >> ("window_adjust", near, 1)
    )


@from_either_side
def test_a_wide_window_is_passed_on_little_by_little(near: Side, far: Side) -> None:
    """What may be under way doubles, each time half of it has left, up to a limit."""
    wide = MAX_UINT32
    splice = new_splice(wide, MAX_PACKET)
    splice.confirmed(C, C_NUMBER, wide, MAX_PACKET)
    assert [channel.receive_window for channel in splice.channels] == [FIRST_CREDIT] * 2
    most, came = FIRST_CREDIT, 0
    while most <= MAX_CREDIT:
        assert splice.releasable(near) == 0
        while came < most // 2:
            splice.data(far, MAX_PACKET)
            came += MAX_PACKET
        assert splice.releasable(near) == most // 2
        splice.release(near, most // 2)
        assert splice.channels[far].receive_window == most
        # Twice as much from now on, which is released at once.
        most, came = 2 * most, 0
        if most <= MAX_CREDIT:
            assert splice.releasable(near) == most // 2
            splice.release(near, most // 2)


@from_either_side
def test_no_credit_grows_without_data(near: Side, far: Side) -> None:
    splice = new_splice()
    splice.confirmed(C, C_NUMBER, C_WINDOW, C_PACKET)
    for _ in range(20):
        splice.window_adjust(near, 1)
        splice.release(near, splice.releasable(near))
    splice.window_adjust(near, 2**31)
    splice.release(near, splice.releasable(near))
    assert splice.channels[far].receive_window == FIRST_CREDIT
    assert splice.releasable(near) == 0


@from_either_side
def test_a_narrow_window_is_kept(near: Side, far: Side) -> None:
    """However much may be under way, a side never gets more than the other has announced."""
    splice = new_splice()
    splice.confirmed(C, C_NUMBER, C_WINDOW, C_PACKET)
    assert splice.held == [0, 0]
    splice.window_adjust(near, 7)
    assert splice.releasable(near) == 7
    splice.release(near, 3)
    assert splice.releasable(near) == splice.held[near] == 4


def test_bytes_are_counted_from_each_side() -> None:
    splice = new_splice()
    splice.confirmed(C, C_NUMBER, C_WINDOW, C_PACKET)
    for side, size in [(A, 1), (C, 20), (A, 2)]:
        splice.data(side, size)
    assert splice.bytes_from == [3, 20]


# -- half-close


@from_either_side
def test_half_close(near: Side, far: Side) -> None:
    """`printf x | nc -N`: the answer comes after the question's end."""
    assert (
        OPEN
        >> ("data", near, 1) << Forward(far, 1)
        >> ("eof", near) << send(far, messages.eof)
        >> ("data", far, 50) << Forward(near, 50)
        >> ("window_adjust", near, 50) << send(far, messages.window_adjust, 50)
        >> ("data", far, 50) << Forward(near, 50)
        >> ("eof", far) << send(near, messages.eof)
        >> ("close", far) << cut(far)
            << send(far, messages.close) << Retire(far) << send(near, messages.close)
        >> ("close", near) << cut(near, messages.close) << Retire(near)
    )  # fmt: skip


@from_either_side
def test_no_data_after_eof(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("eof", near)
        << send(far, messages.eof)
        >> ("data", near, 1)
        << Violation(f"DATA on channel {label(near)}, which is at its EOF")
    )


@from_either_side
def test_a_second_eof_says_nothing_new(near: Side, far: Side) -> None:
    assert OPEN >> ("eof", near) << send(far, messages.eof) >> ("eof", near)


@from_either_side
def test_a_window_is_of_no_use_to_a_side_at_its_eof(near: Side, far: Side) -> None:
    assert OPEN >> ("eof", near) << send(far, messages.eof) >> ("window_adjust", far, 5)


# -- requests


@from_either_side
def test_a_request_is_answered_with_failure_and_not_passed(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("request", near, True)
        << send(near, messages.channel_failure)
        >> ("request", near, False)
        >> ("eof", near)
        << send(far, messages.eof)
        >> ("request", near, True)
        << send(near, messages.channel_failure)
    )


@from_either_side
def test_a_request_gets_no_answer_after_our_close(near: Side, far: Side) -> None:
    assert closed_by(far) >> ("request", near, True)


# -- close


def closed_by(side: Side) -> Playbook:
    """Answered at once, and passed on behind what waits for the other side."""
    return (
        OPEN
        >> ("close", side)
        << cut(side)
        << send(side, messages.close)
        << Retire(side)
        << send(Side(1 - side), messages.close)
    )


@from_either_side
def test_close_with_data_waiting(near: Side, far: Side) -> None:
    """What waits for the closer is thrown away, what it has sent goes out first. When the far
    side then closes as well, that is cut too, and our CLOSE, which stood behind it, is sent."""
    assert (
        OPEN
        >> ("data", near, 10) << Forward(far, 10)
        >> ("data", far, 10) << Forward(near, 10)
        >> ("close", near) << cut(near)
            << send(near, messages.close) << Retire(near) << send(far, messages.close)
        >> ("close", far) << cut(far, messages.close) << Retire(far)
    )  # fmt: skip


@from_either_side
def test_what_comes_for_a_closed_side_is_counted_and_dropped(near: Side, far: Side) -> None:
    window, packet = ((C_WINDOW, C_PACKET), (A_WINDOW, A_PACKET))[far]
    playbook = closed_by(near)
    for _ in range(window // packet):
        playbook = playbook >> ("data", far, packet)
    assert (
        playbook
        >> ("data", far, 1)
        << Violation(f"1 bytes on channel {label(far)}, whose window has 0")
        >> ("window_adjust", far, 5)
        >> ("eof", far)
        >> ("data", far, 1)
        << Violation(f"DATA on channel {label(far)}, which is at its EOF")
        >> ("close", far)
        << cut(far, messages.close)
        << Retire(far)
    )


@any_message
@from_either_side
def test_nothing_may_come_after_close(
    near: Side, far: Side, message: Callable[[Side], Event]
) -> None:
    splice = new_splice()
    splice.open(b"kind", b"")
    splice.confirmed(C, C_NUMBER, C_WINDOW, C_PACKET)
    splice.close(near)
    (violation,) = play(splice, *message(near))
    assert isinstance(violation, Violation)
    assert violation.text.endswith(f"on channel {label(near)}, which is closed")


def test_over_when_both_numbers_are_free() -> None:
    splice = new_splice()
    splice.open(b"kind", b"")
    splice.confirmed(C, C_NUMBER, C_WINDOW, C_PACKET)
    assert not splice.over
    splice.close(A)
    assert not splice.over
    splice.close(C)
    assert splice.over


# -- a leg is lost


def test_the_opener_is_lost_before_the_answer() -> None:
    """C is told as soon as it can be: its number is not known before."""
    opener_lost = OPENING >> ("lost", A) << Retire(A)
    assert (
        opener_lost
        >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
        << send(C, messages.close)
        >> ("data", C, A_PACKET)
        >> ("window_adjust", C, 5)
        >> ("eof", C)
        >> ("request", C, True)
        >> ("close", C)
        << cut(C, messages.close)
        << Retire(C)
    )
    assert opener_lost >> ("failed", C, 2, "refused") << Retire(C)
    assert opener_lost >> ("lost", C) << Retire(C)
    assert (
        opener_lost
        >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
        << send(C, messages.close)
        >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
        << Violation(f"OPEN_CONFIRMATION on channel {C_LABEL}, which is open")
        >> ("lost", C)
        << Retire(C)
    )


def test_the_acceptor_is_lost_before_its_answer() -> None:
    reason = "the connection to the service's agent was lost"
    assert (
        OPENING
        >> ("lost", C)
        << Retire(C)
        << send(A, messages.open_failure, 2, reason)
        << Retire(A)
        >> ("lost", A)
    )


def test_an_acceptor_that_takes_too_long_holds_up_nobody() -> None:
    refused = OPENING >> ("overdue",) << send(A, messages.open_failure, 2, NO_ANSWER) << Retire(A)
    assert refused >> ("overdue",)
    # Its number is its own until it answers, whatever that is.
    assert refused >> ("failed", C, 2, "no") << Retire(C)
    assert refused >> ("lost", C) << Retire(C)
    assert (
        refused
        >> ("confirmed", C, C_NUMBER, C_WINDOW, C_PACKET)
        << send(C, messages.close)
        >> ("close", C)
        << cut(C, messages.close)
        << Retire(C)
    )


def test_who_has_answered_is_not_late() -> None:
    assert OPEN >> ("overdue",)
    assert OPENING >> ("lost", A) << Retire(A) >> ("overdue",)


@from_either_side
def test_the_other_side_of_a_lost_leg_gets_close_without_eof(near: Side, far: Side) -> None:
    """What it still sends goes nowhere: not into the queue of a leg that is gone."""
    assert (
        OPEN
        >> ("lost", near)
        << Retire(near)
        << send(far, messages.close)
        >> ("data", far, 50)
        >> ("window_adjust", far, 5)
        >> ("eof", far)
        >> ("request", far, True)
        >> ("close", far)
        << cut(far, messages.close)
        << Retire(far)
    )


@from_either_side
def test_a_leg_is_lost_after_its_eof(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("eof", near) << send(far, messages.eof)
        >> ("lost", near) << Retire(near) << send(far, messages.close)
        >> ("close", far) << cut(far, messages.close) << Retire(far)
    )  # fmt: skip


@from_either_side
def test_a_leg_is_lost_after_the_other_sides_eof(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("eof", far) << send(near, messages.eof)
        >> ("lost", near) << Retire(near) << send(far, messages.close)
        >> ("close", far) << cut(far, messages.close) << Retire(far)
    )  # fmt: skip


@from_either_side
def test_a_leg_is_lost_after_its_close(near: Side, far: Side) -> None:
    closed = closed_by(near) >> ("lost", near)
    assert closed >> ("close", far) << cut(far, messages.close) << Retire(far)


@from_either_side
def test_a_leg_is_lost_after_the_other_sides_close(near: Side, far: Side) -> None:
    assert closed_by(far) >> ("lost", near) << Retire(near) >> ("lost", far)


@from_either_side
def test_both_legs_are_lost(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("lost", near)
        << Retire(near)
        << send(far, messages.close)
        >> ("lost", near)
        >> ("lost", far)
        << Retire(far)
    )


# -- an acceptor that is passed over


def test_who_refuses_is_passed_over_without_a_word_to_the_opener() -> None:
    splice = Splice(7, 1000, 32768)
    assert splice.is_awaited
    assert splice.passed_over() == [Retire(Side.OPENER), Retire(Side.ACCEPTOR)]
    assert splice.over
    assert not splice.is_awaited
    with pytest.raises(ProtocolViolation):
        splice.passed_over()


def test_nobody_is_passed_over_whom_the_opener_waits_for_no_more() -> None:
    for happens in (
        lambda splice: splice.lost(Side.OPENER),
        lambda splice: splice.overdue(),
        lambda splice: splice.confirmed(Side.ACCEPTOR, 9, 1000, 32768),
        lambda splice: splice.failed(Side.ACCEPTOR, 2, "no"),
        lambda splice: splice.lost(Side.ACCEPTOR),
    ):
        splice = Splice(7, 1000, 32768)
        splice.channels[A].local_id, splice.channels[C].local_id = 1, 2
        happens(splice)
        assert not splice.is_awaited


# -- a leg that can hold no more


@from_either_side
def test_what_a_leg_cannot_hold_breaks_the_splice(near: Side, far: Side) -> None:
    broken = (
        OPEN
        >> ("data", far, 10)
        << Forward(near, 10)
        >> ("overflow", near)
        << cut(near)
        << send(near, messages.close)
        << send(far, messages.close)
        >> ("data", far, 10)
    )
    assert broken >> ("close", far) << cut(far, messages.close) << Retire(far)
    assert broken >> ("close", near) << cut(near, messages.close) << Retire(near)


@from_either_side
def test_a_close_behind_what_a_leg_cannot_hold_goes_out_in_its_place(near: Side, far: Side) -> None:
    assert (
        OPEN
        >> ("data", far, 10) << Forward(near, 10)
        >> ("close", far)
        << cut(far) << send(far, messages.close) << Retire(far) << send(near, messages.close)
        >> ("overflow", near) << cut(near, messages.close)
        >> ("close", near) << cut(near, messages.close) << Retire(near)
    )  # fmt: skip


def test_the_more_channels_the_less_is_under_way_at_first() -> None:
    credit = Credit()
    splice = Splice(A_NUMBER, 2**31, MAX_PACKET, credit, (first_credit(MANY), FIRST_CREDIT))
    splice.channels[A].local_id = A_LABEL
    splice.confirmed(C, C_NUMBER, 2**31, MAX_PACKET)
    assert splice.channels[C].receive_window == first_credit(MANY) < FIRST_CREDIT
    assert splice.channels[A].receive_window == FIRST_CREDIT
    for side in Side:
        splice.lost(side)
    assert credit.free == CREDIT_PER_PROCESS


def test_what_is_under_way_to_all_channels_may_wait_for_one_leg() -> None:
    under_way = sum(map(first_credit, range(CHANNELS_PER_LEG)))
    assert under_way <= WAITING_PER_LEG
