"""What is kept until it has come: by its place in the stream, and counted."""

from __future__ import annotations

import pytest

from relay.core.retained import GATHERED, Budget, Retained
from relay.errors import ProtocolViolation


def unsent(out: Retained) -> bytes:
    return b"".join(out.pieces())


def test_what_passes_before_anything_is_agreed_is_not_kept() -> None:
    budget = Budget()
    out = Retained(budget)
    out.passed(10)
    out.carried(b"abc")
    assert (out.start, out.end, out.size, budget.used) == (10, 13, 0, 0)
    out.add(b"waits")
    assert (out.size, out.unsent, unsent(out)) == (5, 5, b"waits")
    assert not out.full
    out.forget()  # As it does already; what waits still goes.
    assert unsent(out) == b"waits"


def test_what_waits_when_it_begins_is_kept() -> None:
    budget = Budget()
    out = Retained(budget)
    out.passed(10)
    out.add(b"waits")
    out.took(2)
    out.keep()
    assert (out.start, out.end, out.size, budget.used) == (12, 15, 3, 3)
    out.add(b"more")
    out.took(5)
    out.rewind(14)
    assert unsent(out) == b"smore"
    assert budget.used == 7
    out.acknowledged(15)
    assert (out.size, budget.used) == (4, 4)
    out.forget()
    assert (budget.used, budget.sessions) == (0, 0)


def test_a_piece_that_is_known_in_part_is_kept_whole() -> None:
    out = Retained(Budget())
    out.keep()
    out.carried(b"abcdef")
    out.acknowledged(3)
    assert (out.start, out.size) == (3, 6)
    out.rewind(4)
    assert unsent(out) == b"ef"
    out.took(1)
    assert unsent(out) == b"f"
    out.took(1)
    assert unsent(out) == b""
    out.acknowledged(6)
    assert out.size == 0


def test_only_so_much_is_sent_at_once() -> None:
    out = Retained(Budget())
    for _ in range(GATHERED + 1):
        out.add(b"x")
    assert len(out.pieces()) == GATHERED
    out.took(GATHERED)
    assert unsent(out) == b"x"


def test_what_no_carrier_took_has_not_come() -> None:
    out = Retained(Budget())
    out.keep()
    out.add(b"abcdef")
    out.took(3)
    for do in (out.acknowledged, out.rewind):
        with pytest.raises(ProtocolViolation):
            do(4)
    assert unsent(out) == b"def"
    out.rewind(3)
    with pytest.raises(ProtocolViolation):
        out.rewind(2)


def test_what_an_old_carrier_took_may_have_come() -> None:
    out = Retained(Budget())
    out.keep()
    out.add(b"abcdef")
    out.took(6)
    out.rewind(0)
    out.took(2)
    out.rewind(5)
    assert unsent(out) == b"f"


def test_full() -> None:
    out = Retained(Budget(each=4))
    out.keep()
    out.carried(b"abc")
    assert not out.full
    out.carried(b"d")
    assert out.full
    assert out.beyond == 0
    out.acknowledged(1)  # It is the peer's word that counts, not the memory.
    assert not out.full
