"""relay/core/forwards.py: what follows from what is wanted and what has been answered."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.core.backoff import HELD, HURRIED, Backoff
from relay.core.forwards import TRANSITIONS, Ask, Cancel, Desired, Event, Far, Forwards


def backoff() -> Backoff:
    return Backoff(lambda: 1.0)  # 0.5, 1, 2 … seconds


@pytest.fixture
def forwards() -> Forwards[str]:
    return Forwards(backoff)


def asked(forwards: Forwards[str], now: float = 0.0) -> list[str]:
    """What is to be asked for at that time."""
    commands = forwards.due(now)
    assert all(isinstance(command, Ask) for command in commands)
    return [command.desired.key for command in commands]


def granted(forwards: Forwards[str], key: str = "x", now: float = 0.0) -> Desired[str]:
    desired = forwards.want(key)
    assert asked(forwards, now) == [key]
    forwards.granted(desired, 8000, now)
    return desired


def test_it_is_asked_for_once(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    assert forwards.want("x") is desired
    assert forwards.next_due() == -math.inf
    assert forwards.due(0.0) == [Ask(desired)]
    assert forwards.due(0.0) == []
    assert not desired.is_settled
    forwards.granted(desired, 8000, 0.0)
    assert desired.is_settled
    assert desired.port == 8000
    assert forwards.next_due() == math.inf
    assert list(forwards) == [desired]
    assert forwards.get("x") is desired


def test_what_is_down_is_withdrawn_and_comes_back(forwards: Forwards[str]) -> None:
    desired = granted(forwards)
    forwards.down(desired, "connection refused", 3.0)
    assert not desired.is_settled
    assert forwards.next_due() == -math.inf
    assert forwards.due(5.0) == [Cancel(desired)]
    forwards.cancelled(desired)
    assert desired.is_settled
    assert (list(forwards), forwards.due(6.0), forwards.next_due()) == ([desired], [], math.inf)
    # Nor on the next leg.
    forwards.leg_lost()
    forwards.hurry(7.0)
    assert forwards.due(7.0) == []
    forwards.down(desired, "", 8.0)
    assert not desired.is_settled
    assert asked(forwards, 8.0) == ["x"]
    forwards.down(desired, "again", 9.0)
    assert forwards.due(9.0) == []
    forwards.granted(desired, 8000, 9.0)
    assert forwards.due(9.0) == [Cancel(desired)]
    forwards.down(desired, "", 9.0)
    forwards.cancelled(desired)
    assert asked(forwards, 9.0) == ["x"]


def test_what_is_down_and_not_wanted_is_forgotten(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    forwards.down(desired, "no", 0.0)
    assert forwards.due(0.0) == []
    assert forwards.drop("x") is desired
    assert list(forwards) == []


def test_what_is_refused_is_asked_for_again_ever_more_rarely(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    now = 0.0
    for wait in (0.5, 1.0, 2.0):
        assert asked(forwards, now) == ["x"]
        forwards.refused(desired, "no", now)
        assert desired.is_settled
        assert desired.reason == "no"
        assert forwards.next_due() == now + wait
        assert asked(forwards, now + wait - 0.1) == []
        now += wait
    assert forwards.due(now) == [Ask(desired)]


def test_or_only_when_somebody_says_so() -> None:
    forwards: Forwards[str] = Forwards()
    desired = forwards.want("x")
    assert asked(forwards) == ["x"]
    forwards.refused(desired, "in use", 0.0)
    assert forwards.next_due() == math.inf
    forwards.hurry(5.0)
    assert asked(forwards, 5.0) == ["x"]
    forwards.granted(desired, 1, 5.0)
    assert not forwards.taken(forwards.want("y"), "", 5.0)
    assert forwards.taken(desired, "taken", 5.0 + HELD)
    assert forwards.drop("x") is desired
    assert forwards.get("x") is None


def test_a_new_leg_is_asked_at_once_for_what_the_last_refused() -> None:
    """Where nothing is asked for again by itself."""
    forwards: Forwards[str] = Forwards()
    refused = forwards.want("x")
    assert asked(forwards) == ["x"]
    forwards.refused(refused, "in use", 0.0)
    forwards.leg_lost()
    assert asked(forwards, 1.0) == ["x"]


def test_a_hurry_is_obeyed_once_a_second(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    assert asked(forwards, 0.0) == ["x"]
    # Behind B's no, in the same receive.
    forwards.hurry(0.0)
    forwards.refused(desired, "no", 0.0)
    assert asked(forwards, 0.0) == ["x"]
    forwards.hurry(0.0)
    forwards.refused(desired, "no", 0.0)
    assert asked(forwards, HURRIED - 0.1) == []
    assert asked(forwards, HURRIED) == ["x"]
    # It was granted: there is nothing to hurry any more.
    forwards.hurry(HURRIED)
    forwards.granted(desired, 1, HURRIED)
    forwards.hurry(HURRIED)
    assert forwards.due(100.0) == []


def test_what_is_taken_is_asked_for_again(forwards: Forwards[str]) -> None:
    desired = granted(forwards)
    assert forwards.taken(desired, "taken back", 1.0)
    assert not forwards.taken(desired, "taken back", 1.0)
    assert desired.reason == "taken back"
    assert asked(forwards, 1.4) == []
    assert asked(forwards, 1.5) == ["x"]
    # A word of the earlier grant: the answer will tell.
    assert not forwards.taken(desired, "taken back", 1.5)
    forwards.granted(desired, 8000, 2.0)
    # It had not been held for long; now it was.
    assert forwards.taken(desired, "taken back", 3.0)
    assert asked(forwards, 3.9) == []
    assert asked(forwards, 4.0) == ["x"]
    forwards.granted(desired, 8000, 4.0)
    assert forwards.taken(desired, "taken back", 4.0 + HELD)
    assert asked(forwards, 4.5 + HELD) == ["x"]


def test_what_is_not_wanted_any_more_is_cancelled(forwards: Forwards[str]) -> None:
    desired = granted(forwards)
    assert forwards.drop("x") is desired
    assert forwards.drop("x") is None
    assert forwards.next_due() == -math.inf
    assert forwards.due(0.0) == [Cancel(desired)]
    assert forwards.due(0.0) == []
    assert not desired.is_settled
    assert not forwards.taken(desired, "", 0.0)
    forwards.cancelled(desired)
    assert desired.is_settled
    assert list(forwards) == []


def test_it_is_cancelled_when_its_answer_is_there(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    assert asked(forwards) == ["x"]
    forwards.drop("x")
    assert forwards.due(0.0) == []
    forwards.granted(desired, 1, 0.0)
    assert forwards.due(0.0) == [Cancel(desired)]
    # And wanted again meanwhile: what is asked for first, is answered first.
    assert forwards.want("x") is desired
    assert forwards.due(0.0) == []
    assert not desired.is_settled
    forwards.cancelled(desired)
    assert forwards.due(0.0) == [Ask(desired)]


def test_a_refusal_of_what_nobody_wants_is_the_end_of_it(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    assert asked(forwards) == ["x"]
    forwards.drop("x")
    forwards.refused(desired, "no", 0.0)
    assert list(forwards) == []
    assert forwards.next_due() == math.inf


def test_a_new_leg_begins_anew(forwards: Forwards[str]) -> None:
    kept = granted(forwards, "kept")
    refused = forwards.want("refused")
    assert asked(forwards) == ["refused"]
    forwards.refused(refused, "no", 0.0)
    granted(forwards, "dropped")
    forwards.drop("dropped")
    forwards.due(0.0)
    forwards.want("asked")
    forwards.due(0.0)
    forwards.leg_lost()
    assert [one.key for one in forwards] == ["kept", "refused", "asked"]
    assert asked(forwards, 0.0) == ["kept", "refused", "asked"]
    # That is known to clients, and is to be the same again.
    assert kept.port == 8000
    forwards.refused(refused, "no", 0.0)
    assert refused.again == 0.5


def test_a_dash_is_a_mistake_of_ours(forwards: Forwards[str]) -> None:
    desired = forwards.want("x")
    for event in (Event.GRANTED, Event.REFUSED, Event.CANCEL, Event.CANCELLED):
        assert (Far.ABSENT, event) not in TRANSITIONS
    with pytest.raises(KeyError):
        forwards.granted(desired, 1, 0.0)


KEYS = "abc"


class Leg:
    """B's books of one leg: what it was asked and has not answered, and what it has granted."""

    def __init__(self) -> None:
        self.requests: list[Ask[str] | Cancel[str]] = []
        self.granted: set[str] = set()


class ForwardsMachine(RuleBasedStateMachine):
    """Whatever is said and answered in whatever order: once all is answered and B grants, there is
    what is wanted and nothing else; and no leg is told twice of one thing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.forwards: Forwards[str] = Forwards(backoff)
        self.wanted: set[str] = set()
        self.leg = Leg()

    @rule(key=st.sampled_from(KEYS))
    def want(self, key: str) -> None:
        self.forwards.want(key)
        self.wanted.add(key)

    @rule(key=st.sampled_from(KEYS))
    def drop(self, key: str) -> None:
        assert (self.forwards.drop(key) is not None) == (key in self.wanted)
        self.wanted.discard(key)

    @rule(key=st.sampled_from(KEYS), reason=st.sampled_from(["", "no"]))
    def goes_down_or_up(self, key: str, reason: str) -> None:
        desired = self.forwards.get(key)
        if desired is not None:
            self.forwards.down(desired, reason, self.now)

    @rule()
    def hurry(self) -> None:
        self.forwards.hurry(self.now)

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def do(self) -> None:
        due = self.forwards.next_due()
        commands = self.forwards.due(self.now)
        assert (due <= self.now) == bool(commands)
        for command in commands:
            key = command.desired.key
            assert key not in [other.desired.key for other in self.leg.requests]
            assert (key in self.leg.granted) == isinstance(command, Cancel)
            self.leg.requests.append(command)

    @precondition(lambda self: self.leg.requests)
    @rule(grants=st.booleans(), asks_again=st.booleans())
    def answer(self, grants: bool, asks_again: bool) -> None:
        command = self.leg.requests.pop(0)
        desired = command.desired
        if isinstance(command, Cancel):
            self.leg.granted.discard(desired.key)
            self.forwards.cancelled(desired)
        elif grants:
            self.leg.granted.add(desired.key)
            self.forwards.granted(desired, 1, self.now)
        else:
            if asks_again:
                self.forwards.hurry(self.now)
            self.forwards.refused(desired, "no", self.now)

    @rule(key=st.sampled_from(KEYS))
    def taken(self, key: str) -> None:
        """B may say so of anything."""
        desired = self.forwards.get(key)
        cancelling = any(one.desired.key == key for one in self.leg.requests)
        if desired is not None:
            news = self.forwards.taken(desired, "taken", self.now)
            assert news == (key in self.leg.granted and not cancelling)
        if not cancelling:
            self.leg.granted.discard(key)

    @rule()
    def leg_lost(self) -> None:
        self.forwards.leg_lost()
        self.leg = Leg()

    @invariant()
    def books_agree(self) -> None:
        assert {one.key for one in self.forwards if one.wanted} == self.wanted
        pending = {one.desired.key for one in self.leg.requests}
        for one in self.forwards:
            assert (one.far in (Far.ASKED, Far.CANCELLING)) == (one.key in pending)
            assert one.far is not Far.GRANTED or one.key in self.leg.granted
            assert one.wanted or one.far is not Far.ABSENT

    def teardown(self) -> None:
        for _ in range(100):
            self.now = max(self.now, min(self.forwards.next_due(), self.now + 100))
            self.do()
            while self.leg.requests:
                self.answer(grants=True, asks_again=False)
        assert self.wanted == {one.key for one in self.forwards}
        assert self.leg.granted == {one.key for one in self.forwards if not one.down}


TestForwards = ForwardsMachine.TestCase
