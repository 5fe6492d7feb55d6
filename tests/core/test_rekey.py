"""relay/core/rekey.py: the table of a key exchange, every cell of it, and when the next is due."""

from __future__ import annotations

from itertools import product

import pytest

from relay.core import rekey as module
from relay.core.limits import KEX_BYTES, KEXES_AT_ONCE
from relay.core.rekey import LATE_BYTES, SLOW_REKEY_BYTES, TRANSITIONS, Event, Rekey, State
from relay.errors import ProtocolViolation
from relay.wire.cipher import Plain
from relay.wire.gcm import MAX_BLOCKS, MAX_PACKETS
from relay.wire.packet import BLOCK_SIZE
from tests.core.playbook import cipher

TABLE = """
    event          NONE       ASKED       WAS_ASKED   EXCHANGING  CHANGED
    OUR_KEXINIT    ASKED      .           EXCHANGING  .           .
    THEIR_KEXINIT  WAS_ASKED  EXCHANGING  -           -           -
    OUR_NEWKEYS    .          .           .           CHANGED     .
    THEIR_NEWKEYS  .          .           .           .           NONE
"""

VIOLATION = "-"

HONEST = [Event.OUR_KEXINIT, Event.THEIR_KEXINIT, Event.OUR_NEWKEYS, Event.THEIR_NEWKEYS]


def parse(table: str) -> dict[tuple[State, Event], State | str]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (State[before], Event[row[0]]): (
            VIOLATION if after == "-" else State[before if after == "." else after]
        )
        for row in rows
        for before, after in zip(head[1:], row[1:], strict=True)
    }


def passes(rekey: Rekey, *events: Event, now: float = 0.0) -> Rekey:
    for event in events:
        if event is Event.THEIR_KEXINIT:
            rekey.asked_by_peer(0, now)
        else:
            rekey.happens(event)
            if event is Event.OUR_NEWKEYS:
                rekey.new_keys()
    return rekey


def keyed() -> Rekey:
    return passes(Rekey(), *HONEST)


# -- the table


def test_the_table_has_every_cell_and_is_the_one_of_the_opening_essay() -> None:
    assert set(parse(TABLE)) == set(product(State, Event))
    assert module.__doc__ is not None
    assert TABLE.strip() in module.__doc__
    changes = {cell: after for cell, after in parse(TABLE).items() if after not in (cell[0], "-")}
    assert changes == TRANSITIONS


@pytest.mark.parametrize("first", [True, False])
def test_every_cell(first: bool) -> None:
    for (before, event), after in parse(TABLE).items():
        rekey = Rekey() if first else keyed()
        rekey.state = before
        if after == VIOLATION:
            with pytest.raises(ProtocolViolation, match="before the last one has ended"):
                passes(rekey, event)
            assert (rekey.state, rekey.count) == (before, 0)
        else:
            passes(rekey, event)
            assert rekey.state is after


def test_nothing_else_is_sent_between_our_kexinit_and_our_newkeys() -> None:
    silent = set()
    for state in State:
        rekey = Rekey()
        rekey.state = state
        if not rekey.may_send:
            silent.add(state)
    assert silent == {State.ASKED, State.EXCHANGING}


# -- who asks, and how often


def test_the_first_is_no_change_of_keys() -> None:
    rekey = keyed()
    assert (rekey.keyed, rekey.count) == (True, 0)


@pytest.mark.parametrize("peer_first", [True, False])
def test_each_that_follows_is_counted_whoever_began(peer_first: bool) -> None:
    ours, theirs, *newkeys = HONEST
    rekey = keyed()
    for _ in range(3):
        passes(rekey, *((theirs, ours) if peer_first else (ours, theirs)), *newkeys)
    assert (rekey.state, rekey.count) == (State.NONE, 3)


def test_what_the_peer_begins_is_explained_by_what_passed_in_both_directions() -> None:
    ours, theirs, *newkeys = HONEST
    rekey = keyed()
    for _ in range(2 * KEXES_AT_ONCE):
        rekey.bytes = KEX_BYTES // 2
        rekey.asked_by_peer(KEX_BYTES // 2, 0.0)
        passes(rekey, ours, *newkeys)
    passes(rekey, *[theirs, ours, *newkeys] * (KEXES_AT_ONCE - 1))
    with pytest.raises(ProtocolViolation, match="more key exchanges than its traffic explains"):
        passes(rekey, theirs)


def test_what_it_answers_needs_no_reason() -> None:
    passes(keyed(), *HONEST * 2 * KEXES_AT_ONCE)


# -- when it is due


@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("receives", [True, False])
def test_after_so_many_bytes_in_both_directions(sends: bool, receives: bool) -> None:
    """As many as the slower of the two ciphers allows."""
    rekey = keyed()
    rekey.uses(cipher(1) if sends else Plain(), cipher(2) if receives else Plain())
    most = MAX_BLOCKS * BLOCK_SIZE if sends and receives else SLOW_REKEY_BYTES
    rekey.bytes = 1000
    assert not rekey.due(most - 1001, 1)
    assert rekey.due(most - 1000, 1)


def test_or_as_few_as_were_asked_for() -> None:
    rekey = keyed()
    rekey.limit = 1000
    rekey.bytes = 500
    assert (rekey.due(499, 1), rekey.due(500, 1)) == (False, True)


def test_after_so_many_packets_in_both_directions() -> None:
    rekey = keyed()
    rekey.packets = 5
    assert (rekey.due(0, MAX_PACKETS - 6), rekey.due(0, MAX_PACKETS - 5)) == (False, True)


def test_new_keys_have_borne_nothing() -> None:
    rekey = keyed()
    rekey.bytes = rekey.packets = 2**40
    assert rekey.due(0, 0)
    passes(rekey, *HONEST)
    assert not rekey.due(0, 0)


# -- who is asked and does not answer


def test_what_comes_late_is_bounded_until_the_peers_newkeys() -> None:
    for asked in (HONEST[:1], HONEST[:2], HONEST[:3]):
        rekey = passes(keyed(), *asked)
        rekey.late_bytes = LATE_BYTES
        rekey.check()
        rekey.late_bytes += 1
        with pytest.raises(ProtocolViolation, match="bytes since the peer was asked"):
            rekey.check()


def test_what_comes_at_other_times_is_not_late() -> None:
    rekey = keyed()
    rekey.late_bytes = 2**40
    rekey.check()
    passes(rekey, Event.THEIR_KEXINIT)
    rekey.check()
    passes(rekey, Event.OUR_KEXINIT)
    assert rekey.late_bytes == 0


def test_what_is_late_is_no_short_limit() -> None:
    """10 Gbit/s and 100 ms."""
    assert LATE_BYTES >= 2 * 10e9 / 8 * 0.1
