"""relay/core/hold.py: who waits for what, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.core import hold as hold_module
from relay.core.hold import Hold

GPU, DB = ("gpu1", 8000), ("", 5432)
KEY, OTHER = b"key", b"other"


@pytest.fixture
def hold() -> Hold[bytes, str]:
    return Hold(15.0)


def test_a_lost_service_is_waited_for_until_it_is_back(hold: Hold[bytes, str]) -> None:
    assert not hold.takes(GPU, 0.0)
    hold.lost(GPU, KEY, 0.0)
    assert hold.takes(GPU, 14.9)
    assert not hold.takes(DB, 14.9)
    assert list(hold.missed()) == [(GPU, KEY, 0.0)]
    for visitor in "abc":
        hold.wait(GPU, visitor)
    hold.leave("b")
    hold.leave("b")
    hold.leave("nobody")
    assert hold.end(GPU) == ["a", "c"]
    assert hold.end(GPU) == []
    assert not hold.takes(GPU, 1.0)
    assert hold.due() is None


def test_or_for_no_longer_than_it_is_missed(hold: Hold[bytes, str]) -> None:
    hold.lost(GPU, KEY, 0.0)
    hold.lost(DB, KEY, 5.0)
    hold.wait(GPU, "a")
    hold.wait(DB, "b")
    assert hold.due() == 15.0
    assert hold.expire(14.9) == []
    assert hold.expire(15.0) == ["a"]
    assert hold.due() == 20.0
    assert not hold.takes(GPU, 15.0)
    # It was lost again while it was not back: that is no new loss.
    hold.lost(DB, KEY, 19.0)
    assert hold.expire(20.0) == ["b"]
    assert len(hold) == 0


def test_one_key_does_not_use_up_what_may_be_missed(hold: Hold[bytes, str]) -> None:
    for number in range(2 * hold_module.MISSED_SERVICES):
        hold.lost((f"name{number}", 1), KEY, 0.0, KEY)
    hold.lost(GPU, OTHER, 0.0, OTHER)
    assert hold.takes(GPU, 0.0)
    assert hold.expire(15.0) == []
    hold.lost(DB, KEY, 15.0, KEY)
    assert hold.takes(DB, 15.0)


def test_one_key_does_not_keep_others_from_waiting(hold: Hold[bytes, str]) -> None:
    hold.lost(GPU, KEY, 0.0)
    visitors = [str(number) for number in range(hold_module.HELD_PER_KEY)]
    for visitor in visitors:
        assert hold.takes(GPU, 0.0, KEY)
        hold.wait(GPU, visitor, KEY)
    assert not hold.takes(GPU, 0.0, KEY)
    assert hold.takes(GPU, 0.0, OTHER)
    hold.leave(visitors[0])
    assert hold.takes(GPU, 0.0, KEY)
    assert hold.end(GPU) == visitors[1:]
    assert not hold._visitors_of


def test_what_a_removed_key_had_published_is_not_waited_for(hold: Hold[bytes, str]) -> None:
    hold.lost(GPU, KEY, 0.0)
    hold.lost(DB, OTHER, 0.0)
    hold.wait(GPU, "a")
    hold.wait(DB, "b")
    assert hold.forget(lambda owner: owner != KEY) == ["a"]
    assert not hold.takes(GPU, 0.0)
    assert hold.end(DB) == ["b"]


def test_nobody_is_missed_by_who_has_switched_it_off() -> None:
    hold: Hold[bytes, str] = Hold(0.0)
    hold.lost(GPU, KEY, 0.0)
    assert not hold.takes(GPU, 0.0)


def test_the_operator_may_change_his_mind(hold: Hold[bytes, str]) -> None:
    hold.lost(GPU, KEY, 0.0)
    hold.wait(GPU, "a")
    hold.seconds = 30.0
    assert hold.expire(29.0) == []
    hold.seconds = 0.0
    assert hold.expire(1.0) == ["a"]
    hold.seconds = 15.0
    hold.lost(GPU, KEY, 1.0)
    hold.wait(GPU, "b")
    assert hold.stop() == ["b"]
    hold.lost(GPU, KEY, 1.0)
    assert not hold.takes(GPU, 1.0)


def test_how_many_wait_is_bounded(hold: Hold[bytes, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_module, "HELD_PER_SERVICE", 2)
    monkeypatch.setattr(hold_module, "HELD_OPENS", 3)
    monkeypatch.setattr(hold_module, "MISSED_SERVICES", 2)
    hold.lost(GPU, KEY, 0.0)
    hold.lost(DB, KEY, 0.0)
    hold.lost(("third", 1), KEY, 0.0)
    assert not hold.takes(("third", 1), 0.0)
    hold.wait(GPU, "a")
    hold.wait(GPU, "b")
    assert not hold.takes(GPU, 0.0)
    hold.wait(DB, "c")
    assert not hold.takes(DB, 0.0)
    hold.leave("a")
    assert hold.takes(GPU, 0.0)
    assert hold.takes(DB, 0.0)


class HoldMachine(RuleBasedStateMachine):
    """Everybody who waits is let in or turned away once, in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.hold: Hold[bytes, int] = Hold(15.0)
        self.now = 0.0
        self.count = 0
        self.waiting: dict[int, int] = {}

    def over(self, visitors: list[int]) -> None:
        for service in range(3):
            ours = [one for one in visitors if self.waiting[one] == service]
            assert ours == sorted(ours)
        for one in visitors:
            del self.waiting[one]

    @rule(service=st.integers(0, 2), identity=st.sampled_from([KEY, OTHER]))
    def lost(self, service: int, identity: bytes) -> None:
        self.hold.lost(("s", service), identity, self.now)

    @rule(service=st.integers(0, 2))
    def open(self, service: int) -> None:
        if self.hold.takes(("s", service), self.now):
            self.count += 1
            self.hold.wait(("s", service), self.count)
            self.waiting[self.count] = service

    @rule(service=st.integers(0, 2))
    def back(self, service: int) -> None:
        self.over(self.hold.end(("s", service)))
        assert service not in self.waiting.values()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leg_lost(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.waiting)))
        self.hold.leave(one)
        del self.waiting[one]

    @rule(identity=st.sampled_from([KEY, OTHER]))
    def forget(self, identity: bytes) -> None:
        self.over(self.hold.forget(lambda owner: owner != identity))

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.over(self.hold.expire(self.now))

    @invariant()
    def counted(self) -> None:
        assert len(self.hold) == len(self.waiting)
        due = self.hold.due()
        assert not self.waiting or (due is not None and due > self.now)


TestHold = HoldMachine.TestCase
