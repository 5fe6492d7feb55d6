"""relay/core/requests.py: both lines of global requests, and their order."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.requests import MAX_GLOBAL_REQUESTS, MAX_WAITING_BYTES, GlobalRequest, Requests
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.numbers import PRIVATE


class Owner:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.asked: list[GlobalRequest] = []
        self.heard: list[tuple[bytes, bytes]] = []
        self.at_once: Callable[[GlobalRequest], None] = lambda request: None
        self.requests = Requests(self.sent.append, self)

    def requested(self, request: GlobalRequest) -> None:
        self.asked.append(request)
        self.at_once(request)

    def told(self, name: bytes, fields: bytes) -> None:
        self.heard.append((name, fields))


@pytest.fixture
def owner() -> Owner:
    return Owner()


def request(number: int = 0, *, want_reply: bool = True) -> GlobalRequest:
    return GlobalRequest(b"name", b"%d" % number, want_reply)


# -- ours


def test_a_question_and_what_wants_no_answer(owner: Owner) -> None:
    owner.requests.ask(b"one", b"fields", lambda fields: None)
    owner.requests.tell(b"two", b"")
    assert owner.sent == [
        messages.global_request(b"one", want_reply=True, fields=b"fields"),
        messages.global_request(b"two", want_reply=False, fields=b""),
    ]


def test_answers_go_to_who_asked_first(owner: Owner) -> None:
    answers: list[tuple[str, bytes | None]] = []
    for name in "abc":
        owner.requests.ask(b"", b"", lambda fields, name=name: answers.append((name, fields)))
    for fields in (b"1", None, b""):
        owner.requests.answered(fields)
    assert answers == [("a", b"1"), ("b", None), ("c", b"")]


def test_an_answer_to_what_was_not_asked(owner: Owner) -> None:
    owner.requests.ask(b"", b"", lambda fields: None)
    owner.requests.tell(b"", b"")
    owner.requests.answered(None)
    with pytest.raises(ProtocolViolation, match="that was not made"):
        owner.requests.answered(None)


def test_who_finds_no_sense_in_an_answer_hears_that_the_leg_is_gone(owner: Owner) -> None:
    answers: list[bytes | None] = []

    def answered(fields: bytes | None) -> None:
        if fields is not None:
            raise ProtocolViolation("no sense")
        answers.append(fields)

    owner.requests.ask(b"", b"", answered)
    with pytest.raises(ProtocolViolation, match="no sense"):
        owner.requests.answered(b"")
    for told in owner.requests.lost():
        told(None)
    assert answers == [None]


def test_who_is_answered_may_ask_again(owner: Owner) -> None:
    answers: list[bytes | None] = []

    def again(fields: bytes | None) -> None:
        owner.requests.ask(b"", b"", answers.append)

    owner.requests.ask(b"", b"", again)
    owner.requests.answered(b"1")
    owner.requests.answered(b"2")
    assert answers == [b"2"]


# -- the peer's


def test_one_at_a_time_in_their_order(owner: Owner) -> None:
    for number in range(3):
        owner.requests.received(request(number))
    assert owner.asked == [request(0)]
    owner.requests.answer(b"yes")
    assert owner.asked == [request(0), request(1)]
    owner.requests.answer(None)
    owner.requests.answer(b"")
    assert owner.asked == [request(0), request(1), request(2)]
    assert owner.sent == [b"\x51yes", b"\x52", b"\x51"]


def test_what_wants_no_reply_has_its_turn_and_gets_none(owner: Owner) -> None:
    owner.requests.received(request(0, want_reply=False))
    owner.requests.received(request(1))
    owner.requests.answer(b"yes")
    assert owner.sent == []
    assert owner.asked == [request(0, want_reply=False), request(1)]
    owner.requests.answer(b"yes")
    assert owner.sent == [b"\x51yes"]


def test_what_is_told_takes_no_turn(owner: Owner) -> None:
    owner.requests.received(request(0))
    owner.requests.received(GlobalRequest(b"news" + PRIVATE, b"fields", False))
    assert owner.heard == [(b"news" + PRIVATE, b"fields")]
    assert owner.asked == [request(0)]


def test_a_private_name_that_wants_an_answer_is_a_request(owner: Owner) -> None:
    asks = GlobalRequest(b"news" + PRIVATE, b"", True)
    owner.requests.received(asks)
    assert (owner.asked, owner.heard) == ([asks], [])


def test_so_many_wait_and_no_more(owner: Owner) -> None:
    for number in range(1 + MAX_GLOBAL_REQUESTS):  # One is not waiting.
        owner.requests.received(request(number))
    with pytest.raises(ProtocolViolation, match="too many global requests at once"):
        owner.requests.received(request())
    owner.requests.answer(None)
    owner.requests.received(request())


def test_so_many_bytes_wait_and_no_more(owner: Owner) -> None:
    """A message may have 256 KiB, and sixty-four of them would be 16 MiB for each leg."""
    half = GlobalRequest(b"name", b"x" * (MAX_WAITING_BYTES // 2), True)
    owner.requests.received(half)  # It is being dealt with, and does not wait.
    owner.requests.received(half)
    owner.requests.received(request(1))
    with pytest.raises(ProtocolViolation, match="too many global requests at once"):
        owner.requests.received(half)
    owner.requests.answer(None)
    owner.requests.received(half)


def test_an_honest_peers_requests_fit() -> None:
    """Sixty-four `tcpip-forward` with the longest names that DNS has."""
    assert MAX_GLOBAL_REQUESTS * (len(b"tcpip-forward") + 4 + 255 + 4) <= MAX_WAITING_BYTES


def test_answers_given_at_once_need_no_deep_stack(owner: Owner) -> None:
    """They may come in the middle of whatever has called."""
    for number in range(MAX_GLOBAL_REQUESTS):
        owner.requests.received(request(number))
    depths: list[int] = []

    def at_once(_: GlobalRequest) -> None:
        depths.append(len(inspect.stack(0)))
        owner.requests.answer(b"yes")

    owner.at_once = at_once
    owner.requests.answer(b"yes")
    assert len(owner.sent) == MAX_GLOBAL_REQUESTS
    assert max(depths) <= min(depths) + 1


# -- its end


def test_the_end(owner: Owner) -> None:
    answers: list[bytes | None] = []
    owner.requests.ask(b"", b"", answers.append)
    owner.requests.received(request(0))
    owner.requests.received(request(1))
    assert [answered(None) for answered in owner.requests.lost()] == [None]
    assert answers == [None]
    assert owner.requests.lost() == []
    owner.sent.clear()
    owner.requests.answer(b"too late")
    assert (owner.sent, owner.asked) == ([], [request(0)])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.data())
def test_each_gets_its_own_answer_whoever_answers_when(
    requests: list[tuple[bool, bool]], data: st.DataObject
) -> None:
    """Some are answered at once, some later."""
    owner = Owner()
    later: list[GlobalRequest] = []

    def deal(asked: GlobalRequest) -> None:
        if asked.name == b"now":
            owner.requests.answer(asked.fields)
        else:
            later.append(asked)

    owner.at_once = deal
    made = [
        GlobalRequest(b"now" if now else b"later", b"%d" % number, want_reply)
        for number, (now, want_reply) in enumerate(requests)
    ]
    for one in made:
        owner.requests.received(one)
        if later and data.draw(st.booleans()):
            owner.requests.answer(later.pop().fields)
        assert len(later) <= 1
    while later:
        owner.requests.answer(later.pop().fields)
    assert owner.asked == made
    assert owner.sent == [b"\x51" + one.fields for one in made if one.want_reply]
