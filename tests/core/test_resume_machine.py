"""A resumable session against a model that delivers a string of bytes exactly once.

Carriers are cut at any byte, either way, in any state: during the agreement, during an attach or
another, while keys are changed, with both sides full. A relay repeats what it has recorded of
attaches, and answers A's by what it likes. In the end the ways are clear, and what is missing
comes.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relay.core.resume import State
from relay.wire.resume import NO_LINE, YES_LINE
from tests.core.resumed import VERSION, Pair, Side, Wire

SIZES = st.one_of(st.integers(1, 12), st.just(1000))
SIDES = st.sampled_from([0, 1])


class Sessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(each=60, most=100, least=40)
        self.sent = {"a": bytearray(), "c": bytearray()}
        self.asked = False
        # What passed on the carriers that A made, as long as it is an attach's.
        self.recorded: list[bytes] = []
        self.counter = 0

    def side(self, number: int) -> Side:
        return self.pair.sides[number]

    # -- what the two do

    @initialize(asks=st.integers(0, 3))
    def begins(self, asks: int) -> None:
        if asks:  # As nearly all do: what comes before the agreement is soon seen.
            self.asked = True
            self.pair.agree()

    @rule()
    def agree(self) -> None:
        if not self.asked and self.pair.a.state is State.PLAIN:
            self.asked = True
            self.pair.a.ask_to_resume(buffer=60)

    @rule(which=SIDES, size=st.integers(1, 60))
    def is_to_send(self, which: int, size: int) -> None:
        side = self.side(which)
        data = bytes((self.counter + at) % 251 for at in range(size))
        self.counter += size
        side.backlog += data
        self.sent[side.name] += data
        side.make()

    @rule(which=SIDES)
    def makes(self, which: int) -> None:
        self.side(which).make()

    @rule(which=SIDES)
    def changes_keys(self, which: int) -> None:
        if self.side(which).state is not State.OVER:
            self.side(which).change_keys()

    @rule(which=SIDES)
    def time_passes(self, which: int) -> None:
        self.side(which).tell()

    # -- what the carriers do

    @rule(which=SIDES, size=SIZES)
    def leaves(self, which: int, size: int) -> None:
        self.side(which).push(size)

    @rule(which=SIDES, size=SIZES)
    def comes(self, which: int, size: int) -> None:
        self.side(which).come(size)

    @rule(which=SIDES, size=st.integers(1, 20))
    def flows(self, which: int, size: int) -> None:
        """What one side has to send comes, as far as there is room."""
        self.is_to_send(which, size)
        self.side(which).push(1000)
        self.side(1 - which).come(1000)

    @rule()
    def all_comes(self) -> None:
        self.pair.run()

    @precondition(lambda self: self.pair.a.resumable)
    @rule(both=st.booleans())
    def changes_carriers(self, both: bool) -> None:
        """What is under way is lost, and A knows it, or both do."""
        self.cut()
        for side in self.pair.sides if both else self.pair.sides[:1]:
            side.hears()
        self.attach()
        self.pair.a.push(1000)
        if self.pair.a.wire is not None and self.pair.a.wire.opening is not None:
            self.pair.c.opened(self.pair.a.wire)

    @rule()
    def cut(self) -> None:
        for side in self.pair.sides:
            if side.wire is not None:
                side.wire.cut()

    @rule(which=SIDES)
    def hears(self, which: int) -> None:
        self.side(which).hears()

    @rule(which=SIDES)
    def gives_its_carrier_up(self, which: int) -> None:
        """As after a question that nobody answers; the other side knows nothing of it."""
        if self.side(which).resumable:
            self.side(which).lost("silence")

    @precondition(lambda self: self.pair.a.held)
    @rule()
    def attach(self) -> None:
        if self.pair.attach() is not None:
            self.recorded.append(self.pair.a.first)

    @rule(data=st.data())
    def opened(self, data: st.DataObject) -> None:
        """C reads what came on one of the carriers: any order, however late."""
        late = [wire for wire in self.pair.wires if wire.opening is not None]
        if late:
            self.pair.c.opened(data.draw(st.sampled_from(late)))

    # -- what a relay does

    @precondition(lambda self: self.recorded)
    @rule(data=st.data())
    def repeats(self, data: st.DataObject) -> None:
        wire = Wire(data.draw(st.sampled_from(self.recorded)))
        wire.opening = bytearray()
        self.pair.c.opened(wire)

    @precondition(lambda self: self.pair.a.state is State.ATTACHING)
    @rule(answer=st.sampled_from([NO_LINE, YES_LINE + bytes(40), VERSION, b"\n", b"SSH-"]))
    def answers(self, answer: bytes) -> None:
        assert self.pair.a.wire is not None
        self.pair.a.wire.under_way["a"] += answer

    # -- what holds

    @invariant()
    def nothing_is_repeated_lost_or_changed(self) -> None:
        for side in self.pair.sides:
            assert self.sent[side.other].startswith(side.got)

    @invariant()
    def what_is_kept_is_counted(self) -> None:
        for side, budget in zip(self.pair.sides, self.pair.budgets, strict=True):
            assert budget.used == (side.out.size if side.out.keeping else 0)
            assert budget.sessions == side.out.keeping

    def teardown(self) -> None:
        pair = self.pair
        resumable = all(side.resumable for side in pair.sides)
        lasts = all(side.wire is not None and not side.wire.is_cut for side in pair.sides)
        pair.settle()
        if resumable or (lasts and State.OVER not in {side.state for side in pair.sides}):
            assert pair.c.got == self.sent["a"]
            assert pair.a.got == self.sent["c"]


class TestSessions(Sessions.TestCase):
    settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
