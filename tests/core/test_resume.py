"""One side of a resumable session: each state with each event, and what the other side may try."""

from __future__ import annotations

from typing import Any

import pytest

from relay.core.limits import RETAINED_RESERVE
from relay.core.resume import DENIED, RULES, Do, Event, State
from relay.errors import ProtocolViolation
from relay.wire.resume import (
    ATTACH_SIZE,
    LONGEST_VERSION,
    NO_LINE,
    YES_LINE,
    YES_SIZE,
    Attach,
    parse_attach,
)
from tests.core.resumed import AGREEMENT, SECRET, VERSION, Pair, Side, Wire, record


def agreed(**sizes: Any) -> Pair:
    pair = Pair(**sizes)
    pair.agree()
    return pair


def say(pair: Pair, a: bytes = b"", c: bytes = b"") -> None:
    pair.a.backlog += a
    pair.c.backlog += c
    pair.run()


def cut(pair: Pair, *, both: bool = True) -> None:
    """The carrier of A is cut, and A hears of it; C too, if `both`."""
    assert pair.a.wire is not None
    pair.a.wire.cut()
    for side in pair.sides if both else (pair.a,):
        side.hears()


# -- the table


def test_every_state_has_a_rule_for_its_end() -> None:
    for state in State:
        assert ((state, Event.ENDED) in RULES) is (state is not State.OVER)


def test_what_is_over_keeps_nothing_and_stays_so() -> None:
    for (state, event), (after, steps) in RULES.items():
        assert state is not State.OVER
        if after is State.OVER and state is not State.PLAIN:
            assert Do.FORGET in steps, (state, event)


def test_only_what_is_not_resumable_breaks_with_its_carrier() -> None:
    broken = {state for state in State if RULES.get((state, Event.LOST), (None,))[0] is State.OVER}
    assert broken == {State.PLAIN, State.OFFERED}


# -- agreeing


def test_both_agree() -> None:
    pair = agreed()
    assert pair.a.state is pair.c.state is State.CARRIED
    assert pair.a.agreement == pair.c.agreement == AGREEMENT
    say(pair, b"there", b"back")
    assert (pair.a.got, pair.c.got) == (b"back", b"there")


def test_c_has_not_agreed_before_it_hears_that_a_knows() -> None:
    pair = Pair()
    pair.a.ask_to_resume()
    pair.a.push(1000)
    pair.c.come(1000)
    assert pair.c.state is State.OFFERED
    pair.wire.cut()
    for side in pair.sides:
        side.hears()
    assert pair.a.log == pair.c.log == ["reset: cut"]
    assert pair.budgets[1].used == pair.budgets[1].sessions == 0


def test_an_a_that_is_told_no_goes_on_as_before() -> None:
    pair = Pair()
    pair.a.ask_to_resume()
    pair.c.control(record(b"N"))
    pair.c.push(1000)
    pair.a.come(1000)
    assert pair.a.state is State.PLAIN
    pair.a.backlog += b"x"
    pair.a.make()
    assert pair.a.out.size == pair.a.out.unsent > 0  # Nothing is kept, and nothing is dropped.
    pair.c.agreement = None
    cut(pair)
    assert pair.a.log == ["reset: cut"]


def test_a_second_question_changes_nothing() -> None:
    pair = agreed()
    kept = pair.a.out.start
    pair.a.ask()
    assert (pair.a.state, pair.a.out.start) == (State.CARRIED, kept)


def test_nothing_is_acknowledged_where_nothing_was_agreed() -> None:
    pair = Pair()
    pair.c.acknowledged(5, wanted=True)
    say(pair, b"there", b"back")
    for side in pair.sides:
        side.tell()
        assert not side.used(0)
        assert side.state is State.PLAIN
        assert side.out.size == 0
        assert side.log == []


# -- acknowledging


def test_what_has_come_is_forgotten() -> None:
    pair = agreed()
    say(pair, b"x" * 100)
    assert pair.a.out.size > 100
    pair.c.tell()
    assert pair.c.used(0) is False
    pair.run()
    assert pair.a.out.size == 0
    assert pair.budgets[0].used == 0


def test_much_is_acknowledged_at_once() -> None:
    pair = agreed()
    say(pair, b"x" * 40_000)
    assert pair.a.out.size < 20_000


def test_a_full_buffer_pauses_the_sender_and_ends_nothing() -> None:
    pair = agreed(each=100)
    say(pair, b"x" * 1000, b"y" * 1000)
    assert (pair.a.got, pair.c.got) == (b"y" * 1000, b"x" * 1000)
    assert max(side.out.size for side in pair.sides) < 200


def test_both_full_while_keys_are_changed() -> None:
    pair = agreed(each=100)
    pair.a.backlog += b"x" * 500
    pair.c.backlog += b"y" * 500
    for side in pair.sides:
        for _ in range(30):
            side.make()
        assert side.out.full
    pair.a.change_keys()
    pair.a.make()
    pair.run()
    assert pair.a.ready
    assert (pair.a.got, pair.c.got) == (b"y" * 500, b"x" * 500)


def test_what_cannot_have_come_is_not_acknowledged() -> None:
    pair = agreed()
    say(pair, b"there")
    with pytest.raises(ProtocolViolation):
        pair.a.acknowledged(pair.a.out.end + 1, wanted=False)


def test_an_acknowledgement_that_is_sent_again_is_old() -> None:
    """It was lost with its carrier, and C has said more since, when A attached."""
    pair = agreed()
    say(pair, b"there")
    pair.c.tell()
    pair.a.backlog += b"more"
    pair.a.make()
    pair.a.push(1000)
    pair.c.come(1000)
    cut(pair)
    pair.settle()
    assert pair.a.state is State.CARRIED
    assert pair.c.got == b"theremore"


def test_who_makes_us_answer_and_acknowledges_nothing_loses_its_session() -> None:
    pair = agreed(each=100)
    pair.c.control(bytes(RETAINED_RESERVE))
    assert pair.c.state is State.CARRIED
    pair.c.control(bytes(200))
    assert pair.c.log[-1] == "reset: the other side asks for much and acknowledges nothing"
    assert pair.budgets[1].used == 0
    pair.c.acknowledged(0, wanted=True)  # What still comes changes nothing.


def test_too_much_in_all_leaves_each_its_share() -> None:
    pair = agreed(each=1000, most=600, least=100)
    budget = pair.budgets[0]
    assert budget.share == 1000
    budget.used += 700
    budget.sessions = 3
    assert budget.share == 200
    budget.sessions = 60
    assert budget.share == 100


# -- it is held, and goes on


def test_it_goes_on_where_it_was() -> None:
    pair = agreed()
    say(pair, b"before", b"BEFORE")
    cut(pair)
    assert [side.state for side in pair.sides] == [State.HELD] * 2
    pair.attach()
    assert pair.a.state is State.ATTACHING
    say(pair, b" after", b" AFTER")
    assert (pair.c.got, pair.a.got) == (b"before after", b"BEFORE AFTER")
    for side in pair.sides:
        assert "goes on" in side.log


@pytest.mark.parametrize("lost", range(0, 60, 3))
def test_what_was_under_way_is_sent_again(lost: int) -> None:
    pair = agreed()
    pair.a.backlog += b"to be lost, or not"
    pair.c.backlog += b"TO BE LOST, OR NOT"
    for side in pair.sides:
        for _ in range(3):
            side.make()
        side.push(1000)
    for side in pair.sides:
        side.come(lost)
    cut(pair)
    pair.settle()
    assert pair.c.got == b"to be lost, or not"
    assert pair.a.got == b"TO BE LOST, OR NOT"


def test_c_may_not_have_heard_that_the_old_carrier_is_lost() -> None:
    pair = agreed()
    old = pair.wire
    cut(pair, both=False)
    old.is_cut = False  # It stands still, and may bring something yet.
    pair.attach()
    pair.run()
    assert pair.c.log == ["room", "dropped", "goes on"]
    assert old.is_cut
    assert pair.c.wire is pair.wires[0]


def test_an_attach_during_an_attach() -> None:
    pair = agreed()
    cut(pair)
    first = pair.attach()
    assert first is not None
    pair.a.push(30)
    second = pair.attach()
    say(pair, b"there", b"back")
    assert pair.c.wire is pair.a.wire is second
    assert first.is_cut
    assert (pair.c.got, pair.a.got) == (b"there", b"back")


def test_an_attach_whose_answer_is_lost_is_made_again() -> None:
    pair = agreed()
    cut(pair)
    wire = pair.attach()
    assert wire is not None
    pair.a.push(ATTACH_SIZE)
    pair.c.opened(wire)
    pair.c.backlog += b"on a carrier that does not last"
    pair.c.make()
    pair.c.push(40)
    cut(pair)
    assert [side.state for side in pair.sides] == [State.HELD] * 2
    pair.settle()
    assert pair.a.got == b"on a carrier that does not last"


def test_the_end_of_the_session_is_the_end() -> None:
    pair = agreed()
    say(pair, b"x")
    cut(pair)
    pair.a.ended()
    assert pair.a.state is State.OVER
    assert pair.budgets[0].used == 0
    assert pair.attach() is None
    pair.a.ended()
    pair.a.lost("late")
    pair.c.expired("it was held for too long")
    assert pair.c.log[-1] == "reset: it was held for too long"


@pytest.mark.parametrize("state", list(State))
def test_it_can_expire_in_any_state(state: State) -> None:
    pair = Pair() if state in (State.PLAIN, State.OFFERED) else agreed()
    if state is State.OFFERED:
        pair.a.ask()
    if state in (State.HELD, State.ATTACHING):
        cut(pair)
    if state is State.ATTACHING:
        pair.attach()
    if state is State.OVER:
        pair.a.ended()
    assert pair.a.state is state
    pair.a.expired("why")
    assert pair.a.state is State.OVER
    assert pair.a.log[-1:] == ([] if state is State.OVER else ["reset: why"])
    assert pair.budgets[0].used == 0


def test_nothing_is_answered_where_nothing_was_asked() -> None:
    pair = agreed()
    assert pair.a.begin_attach() == b""
    assert pair.a.answer(b"relay-resumed1\r\n") == 0


# -- what a relay may try


def header(pair: Pair) -> bytes:
    """A's next attach, which no carrier brings."""
    cut(pair)
    wire = pair.attach()
    assert wire is not None
    first = pair.a.first
    pair.a.first = b""
    return first


def offered(side: Side, data: bytes) -> tuple[Wire, bool]:
    """A carrier of the relay's own begins so; does it carry the session now?"""
    wire = Wire(data)
    wire.opening = bytearray()
    side.opened(wire)
    return wire, side.wire is wire


def test_an_attach_is_good_once() -> None:
    pair = agreed()
    recorded = header(pair)
    assert offered(pair.c, recorded)[1]
    wire, taken = offered(pair.c, recorded)
    assert not taken
    assert bytes(wire.under_way["a"]) == NO_LINE


def test_a_recorded_attach_is_worth_nothing_later() -> None:
    pair = agreed()
    recorded = header(pair)
    pair.attach()
    say(pair, b"there")
    assert not offered(pair.c, recorded)[1]
    say(pair, b" and on", b"back")
    assert (pair.c.got, pair.a.got) == (b"there and on", b"back")


@pytest.mark.parametrize("at", range(0, ATTACH_SIZE, 5))
def test_an_attach_that_was_changed_is_nobodys(at: int) -> None:
    pair = agreed()
    changed = bytearray(header(pair))
    changed[at] ^= 1
    question = parse_attach(bytes(changed))
    # (The line before it is looked at by who takes it for an attach, and is in the HMAC.)
    assert pair.c.is_asked(question) is (at < 16)


def test_an_attach_of_another_session() -> None:
    pair, other = agreed(), agreed()
    assert other.c.agreement is not None
    other.c.agreement = type(AGREEMENT)(b"j" * 16, b"t" * 32, 1000, 1000, False)
    assert not offered(other.c, header(pair))[1]


def test_what_was_not_agreed_is_not_attached_to() -> None:
    side = Pair().c
    assert not side.is_asked(Attach(AGREEMENT.id, 1, 0, b""))
    pair = agreed()
    recorded = header(pair)
    pair.c.ended()
    assert not offered(pair.c, recorded)[1]


def answered(pair: Pair, answer: bytes) -> None:
    """So A's attach is answered."""
    wire = pair.a.wire
    assert wire is not None
    wire.under_way["a"] += answer
    for _ in range(len(answer) + len(VERSION)):
        pair.a.come(1)


def test_no_and_what_makes_no_sense_deny_it() -> None:
    for answer in (NO_LINE, b"SSH-2.0-x\r\n", YES_LINE + bytes(YES_SIZE)):
        pair = agreed()
        header(pair)
        answered(pair, answer)
        assert (pair.a.state, pair.a.denied, pair.a.reason) == (State.HELD, True, DENIED)
        # It may be tried again, and nothing is lost by it.
        pair.attach()
        assert not pair.a.denied
        say(pair, b"there", b"back")
        assert (pair.c.got, pair.a.got) == (b"there", b"back")


@pytest.mark.parametrize("line", [b"HTTP/1.1 400\r\n", b"SSH-2.0-" + b"x" * LONGEST_VERSION])
def test_what_is_no_endpoint_denies_it(line: bytes) -> None:
    pair = agreed()
    header(pair)
    assert pair.a.wire is not None
    pair.a.wire.under_way["a"][:] = b""
    answered(pair, line)
    assert (pair.a.state, pair.a.denied) == (State.HELD, True)


def test_an_answer_to_another_attempt_is_none() -> None:
    pair = agreed()
    question = parse_attach(header(pair))
    old = pair.c.accept(question)
    pair.attach()
    answered(pair, old)
    assert (pair.a.state, pair.a.denied) == (State.HELD, True)


def test_an_answer_that_comes_byte_by_byte() -> None:
    pair = agreed()
    cut(pair)
    pair.c.backlog += b"right behind it"
    pair.attach()
    pair.a.push(1000)
    pair.c.opened(pair.wires[-1])
    for _ in range(3):
        pair.c.make()
    pair.c.push(1000)
    for _ in range(400):
        pair.a.come(1)
    assert pair.a.state is State.CARRIED
    assert pair.a.got == b"right behind it"


@pytest.mark.parametrize("received", [0, 10**6])
def test_who_has_the_secret_and_counts_wrong_loses_the_session(received: int) -> None:
    pair = agreed()
    say(pair, c=b"x" * 50_000)
    attempt = Attach(AGREEMENT.id, 7, received)
    _, taken = offered(pair.c, attempt.sealed(SECRET))
    assert not taken
    assert pair.c.state is State.OVER
    assert "bytes received, of a session" in pair.c.log[-1]


def test_an_a_that_is_told_a_wrong_count_by_c_resets() -> None:
    pair = agreed()
    question = parse_attach(header(pair))
    answered(pair, question.answer(SECRET, 10**6))
    assert pair.a.state is State.OVER
    assert pair.a.log[-1].startswith("reset: 1000000 bytes received")
