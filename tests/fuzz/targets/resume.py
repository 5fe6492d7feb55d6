"""What a stranger sends in place of a session's first bytes, and what a relay answers to A's
attach. The first byte says how the rest is cut into pieces."""

from __future__ import annotations

from relay.core.resume import State
from relay.errors import ProtocolViolation
from relay.wire.resume import (
    ATTACH_SIZE,
    SECRET_SIZE,
    may_be_attach,
    parse_agreement,
    parse_attach,
    parse_offer,
    parse_received,
)
from tests.core.resumed import VERSION, Pair


def one_input(data: bytes) -> None:
    size, rest = (data[0] % 40 + 1 if data else 1), data[1:]
    for parse in (parse_offer, parse_agreement, parse_received):
        try:
            parse(rest)
        except ProtocolViolation:
            pass
    assert may_be_attach(rest) or not may_be_attach(rest + b"x")
    asked(rest)
    answered(rest, size)


def asked(data: bytes) -> None:
    """Nobody without the secret is taken for A."""
    pair = Pair()
    pair.agree()
    if len(data) >= ATTACH_SIZE:
        question = parse_attach(data[:ATTACH_SIZE])
        assert not question.is_by(bytes(SECRET_SIZE))
        assert not pair.c.is_asked(question)
    assert pair.c.state is State.CARRIED


def answered(data: bytes, size: int) -> None:
    """Whatever comes, in whatever pieces: A goes on with C alone."""
    pair = Pair()
    pair.agree()
    pair.wire.cut()
    pair.a.hears()
    assert pair.attach() is not None
    for start in (b"", VERSION):
        pair.attach()
        come = start + data
        for at in range(0, len(come), size):
            piece = come[at : at + size]
            assert 0 <= pair.a.answer(piece) <= len(piece)
            assert pair.a.held
    pair.c.lost("cut")
    pair.a.backlog += b"there"
    pair.settle()
    assert pair.c.got == b"there"
