"""What the two ends of a resumable session say: as it is written, and as it is read."""

from __future__ import annotations

import hmac

import pytest

from relay.errors import ProtocolViolation
from relay.wire.encoding import string, uint32
from relay.wire.resume import (
    ATTACH_LINE,
    ATTACH_SIZE,
    NO_LINE,
    YES_LINE,
    YES_SIZE,
    Agreement,
    Attach,
    Offer,
    may_be_attach,
    parse_agreement,
    parse_attach,
    parse_offer,
    parse_received,
    received_fields,
)

SECRET = b"s" * 32
ID = b"i" * 16
AGREEMENT = Agreement(ID, SECRET, 600_000, 1 << 25, True)


def test_an_offer_is_read_as_it_was_written() -> None:
    offer = Offer(600_000, 1 << 25, ID)
    assert offer.fields() == uint32(1) + uint32(600_000) + uint32(1 << 25) + string(ID)
    assert parse_offer(offer.fields()) == offer
    assert parse_offer(offer.fields() + b"of a later version") == offer
    with pytest.raises(ProtocolViolation):
        parse_offer(offer.fields()[:-1])


def test_an_agreement_is_read_as_it_was_written() -> None:
    assert parse_agreement(AGREEMENT.fields()) == AGREEMENT
    for wrong in (AGREEMENT.fields()[:-1], AGREEMENT.fields() + b"x"):
        with pytest.raises(ProtocolViolation):
            parse_agreement(wrong)


@pytest.mark.parametrize(("id", "secret"), [(b"", SECRET), (ID, SECRET[:-1]), (ID + b"i", SECRET)])
def test_an_agreement_with_a_short_secret_is_none(id: bytes, secret: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_agreement(Agreement(id, secret, 1, 1, False).fields())


def test_no_log_has_the_secret() -> None:
    assert "s" * 8 not in repr(AGREEMENT)
    assert SECRET.hex() not in repr(AGREEMENT)


def test_a_count_is_read_as_it_was_written() -> None:
    assert parse_received(received_fields(2**40, wanted=True)) == (2**40, True)
    assert parse_received(received_fields(0, wanted=False)) == (0, False)
    with pytest.raises(ProtocolViolation):
        parse_received(bytes(10))


def test_an_attach() -> None:
    data = Attach(ID, 3, 70_000).sealed(SECRET)
    told = ATTACH_LINE + ID + (3).to_bytes(8, "big") + (70_000).to_bytes(8, "big")
    assert data == told + hmac.digest(SECRET, told, "sha256")
    assert len(data) == ATTACH_SIZE
    attach = parse_attach(data)
    assert (attach.id, attach.attempt, attach.received) == (ID, 3, 70_000)
    assert attach.is_by(SECRET)
    assert not attach.is_by(bytes(32))
    for at in range(len(ATTACH_LINE), len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x80
        assert not parse_attach(bytes(changed)).is_by(SECRET)


def test_what_can_be_an_attach() -> None:
    data = Attach(ID, 3, 70_000).sealed(SECRET)
    assert all(may_be_attach(data[:size]) for size in range(ATTACH_SIZE + 1))
    for version in (b"S", b"SSH-2.0-OpenSSH_9.2p1\r\n", b"relay-resume-2\r\n"):
        assert not may_be_attach(version)


def test_an_answer_is_good_for_its_question_alone() -> None:
    attach = Attach(ID, 3, 70_000)
    answer = attach.answer(SECRET, 2**33)
    assert len(answer) == YES_SIZE
    assert answer.startswith(YES_LINE)
    assert attach.answered(SECRET, answer) == 2**33
    assert Attach(ID, 4, 70_000).answered(SECRET, answer) is None
    assert Attach(ID, 3, 70_001).answered(SECRET, answer) is None
    assert Attach(b"j" * 16, 3, 70_000).answered(SECRET, answer) is None
    assert attach.answered(bytes(32), answer) is None
    assert attach.answered(SECRET, NO_LINE + answer[len(NO_LINE) :]) is None
    # The question is no answer to itself.
    assert attach.answered(SECRET, attach.sealed(SECRET)[-YES_SIZE:]) is None
