"""relay/core/mux.py, by playbook: bytes and events in, bytes and commands out."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import rekey
from relay.core.handshake import BeforeLogin
from relay.core.limits import (
    ANSWERS_DEFERRED,
    FED_PACKET,
    KEXES_AT_ONCE,
    KIB,
    PACKETS_PER_TURN,
)
from relay.core.mux import LONGEST_LINE
from relay.core.rekey import SLOW_REKEY_BYTES
from relay.core.requests import GlobalRequest
from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.cipher import Plain, TagMismatch
from relay.wire.encoding import string, uint32
from relay.wire.gcm import MAX_BLOCKS, MAX_PACKETS, GcmCipher
from relay.wire.messages import LONGEST_REASON
from relay.wire.numbers import MAX_UINT32, PRIVATE, OpenFailure
from relay.wire.packet import MAX_LENGTH, TAIL_ROOM, check_data, check_length, read_length
from tests.core.playbook import (
    KEXINIT,
    NEWKEYS,
    Handler,
    Leg,
    cipher,
    message,
    open_message,
    refusing,
)

IGNORE = message(2, string(b""))
USERAUTH_REQUEST = message(50, b"...")
GLOBAL = message(80, string(b"name"), b"\1", b"fields")


@pytest.fixture
def leg() -> Leg:
    return Leg().logged_in()


# -- lines (RFC 4253 §4.2)


def test_lines_and_then_packets_in_one_receive() -> None:
    leg = Leg()
    leg.on_line = lambda line: leg.mux.lines_are_over() if line.startswith(b"SSH-") else None
    data = b"Welcome\r\nto this\nSSH-2.0-x\r\n" + leg.sealed(KEXINIT) + b"\0\0"
    assert leg.feed(data) == (len(data) - 2, False)
    lines = [("line", b"Welcome\r\n"), ("line", b"to this\n"), ("line", b"SSH-2.0-x\r\n")]
    assert leg.events() == [*lines, ("handshake", KEXINIT)]


def test_a_line_in_pieces_is_handed_on_in_pieces() -> None:
    leg = Leg()
    leg.on_line = lambda line: leg.mux.lines_are_over() if line.endswith(b"\n") else None
    for piece in (b"SSH-2.0", b"-x\r", b"\n"):
        assert leg.feed(piece) == (len(piece), False)
    assert leg.events() == [("line", b"SSH-2.0"), ("line", b"-x\r"), ("line", b"\n")]


def test_a_line_without_end_is_handed_on_in_pieces() -> None:
    leg = Leg()
    leg.on_line = lambda line: None
    leg.feed(b"a" * (LONGEST_LINE + 3))
    assert leg.events() == [("line", b"a" * LONGEST_LINE), ("line", b"aaa")]


def test_lines_are_counted_before_the_login() -> None:
    leg = Leg(BeforeLogin(3, 1000))
    leg.on_line = lambda line: None
    leg.feed(b"\n\n\n")
    with pytest.raises(ProtocolViolation, match="more than 3 packets before the login"):
        leg.feed(b"\n")
    leg = Leg(BeforeLogin(1000, 2 * KIB))
    leg.on_line = lambda line: None
    leg.feed(b"a" * 2 * KIB)
    with pytest.raises(ProtocolViolation, match="more than 2 KiB before the login"):
        leg.feed(b"a")


def test_lines_cost_their_share_of_a_turn() -> None:
    leg = Leg()
    leg.on_line = lambda line: None
    used, much = leg.feed(b"\n" * 300)
    assert much
    assert used == -(-PACKETS_PER_TURN // FED_PACKET)


def test_no_line_is_read_once_the_leg_is_closed() -> None:
    leg = Leg()
    leg.on_line = lambda line: leg.out.close()
    assert leg.feed(b"\n\n\n") == (1, False)
    assert leg.mux.stopped


# -- each message number


def test_each_number_before_the_login() -> None:
    for number in range(256):
        leg = Leg().start()
        payload = message(number, b"whatever")
        if number < 80:
            leg.send(payload)
            assert leg.events() == [("handshake", payload)]
        else:
            with pytest.raises(ProtocolViolation, match=f"^message {number} before the login$"):
                leg.send(payload)
            assert leg.events() == []
        assert leg.heard() == []


def test_each_number_with_keys_and_before_the_login() -> None:
    for number in range(256):
        leg = Leg().start().keyed()
        payload = message(number, b"whatever")
        if number < 80 and number != 20:
            leg.send(payload)
            assert leg.events() == [("handshake", payload)]
        else:
            with pytest.raises(ProtocolViolation, match=r"before the login$"):
                leg.send(payload)
        assert leg.heard() == []


BODIES = {
    80: (string(b"name"), b"\1fields"),
    81: (b"fields",),
    90: (string(b"kind"), 5, 6, 7000, b"fields"),
    91: (0, 1, 2, 3),
    92: (0, 1, string(b""), string(b"")),
    93: (0, 5),
    94: (0, string(b"data")),
    95: (0, 1, string(b"data")),
    96: (0,),
    97: (0,),
    98: (0, string(b"exec"), b"\1"),
    99: (0,),
    100: (0,),
}
"""What stands behind a message's number, if it is well formed."""

ON_CHANNEL = {
    91: ("confirmed", 1, 2, 3),
    92: ("failed", 1, ""),
    93: ("window", 5),
    94: ("data", b"data"),
    96: ("eof",),
    97: ("close",),
    98: ("request", True),
    99: None,
    100: None,
}
"""What a handler is told of it."""


def outcome(leg: Leg, number: int, *, there: bool) -> None:
    """Send a well-formed message of `number` to channel 0, which is `there` or not; and see that
    what follows is what must, be a key exchange under way or not."""
    payload = message(number, *BODIES.get(number, (b"whatever",)))
    handler = Handler()
    if there:
        leg.mux.add(handler)
    sequence = leg.mux.received_packets
    if number in (81, 82) or number == 95 or (90 < number <= 100 and not there):
        with pytest.raises(ProtocolViolation):
            leg.send(payload)
        assert (leg.events(), leg.out.deferred, handler.said) == ([], [], [])
        return
    leg.send(payload)
    answers = leg.heard() + leg.out.deferred
    if number < 80:
        assert leg.events() == [("handshake", payload)]
        assert answers == []
    elif number == 80:
        assert leg.events() == [("requested", GlobalRequest(b"name", b"fields", True))]
        assert answers == []
    elif number == 90:
        assert leg.events() == [("opened", b"kind", b"fields")]
        assert answers == []
    elif 90 < number <= 100:
        told = ON_CHANNEL[number]
        assert handler.said == ([told] if told else [])
        assert (leg.events(), answers) == ([], [])
    else:
        assert answers == [messages.unimplemented(sequence)]
        assert leg.events() == []


@pytest.mark.parametrize("there", [True, False])
def test_each_number_after_the_login(there: bool) -> None:
    for number in range(256):
        outcome(Leg().logged_in(), number, there=there)


NOT_KEXINIT = sorted({*range(256)} - {20})


@pytest.mark.parametrize("there", [True, False])
def test_each_number_behind_our_kexinit(there: bool) -> None:
    """The peer has not heard of it yet: all goes on, but what is to be answered waits."""
    for number in NOT_KEXINIT:
        leg = Leg().logged_in()
        leg.our_kexinit()
        assert leg.heard() == [KEXINIT]
        outcome(leg, number, there=there)
        assert leg.heard() == []


def test_each_number_behind_the_peers_kexinit() -> None:
    """RFC 4253 §7.1 forbids it most of them; stock peers send what they had under way, and it does
    no harm: it is what they might have sent before."""
    for number in NOT_KEXINIT:
        leg = Leg().logged_in()
        leg.send(KEXINIT)
        leg.our_kexinit()
        leg.heard()
        leg.events()
        outcome(leg, number, there=True)


# -- messages on a channel: cut short, too long


@pytest.mark.parametrize("number", [80, 90, 91, 92, 93, 95, 96, 97, 98])
def test_a_message_cut_anywhere(leg: Leg, number: int) -> None:
    whole = message(number, *BODIES[number])
    optional = len(b"fields") if number in (80, 90) else 0
    for size in range(1, len(whole) - optional):
        leg = Leg().logged_in()
        leg.channel()
        with pytest.raises(ProtocolViolation):
            leg.send(whole[:size])
        assert leg.heard() == []


@pytest.mark.parametrize("number", [92, 93, 96, 97])
def test_a_message_that_is_too_long(leg: Leg, number: int) -> None:
    _, handler = leg.channel()
    with pytest.raises(ProtocolViolation):
        leg.send(message(number, *BODIES[number], b"x"))
    assert handler.said == []


@pytest.mark.parametrize("number", [91, 98])
def test_fields_of_the_kind_may_follow(leg: Leg, number: int) -> None:
    _, handler = leg.channel()
    leg.send(message(number, *BODIES[number], b"more"))
    assert handler.said == [ON_CHANNEL[number]]


def test_data_that_claims_another_size_is_a_violation(leg: Leg) -> None:
    _, handler = leg.channel()
    for body in ((0,), (0, 5), (0, 5, b"1234"), (0, 5, b"123456"), (0, MAX_UINT32, b"1")):
        with pytest.raises(ProtocolViolation, match="a data packet of"):
            leg.send(message(94, *body))
    assert handler.said == []


def test_data_on_a_channel_that_is_not_there(leg: Leg) -> None:
    leg.channel()
    with pytest.raises(ProtocolViolation, match="message 94 on channel 1, which is not there"):
        leg.send(message(94, 1, string(b"data")))


def test_the_label_counts_and_not_the_order(leg: Leg) -> None:
    (first, one), (second, two) = leg.channel(), leg.channel()
    data = partial(message, 94)
    leg.send(data(second, string(b"b")), data(first, string(b"a")), data(second, string(b"")))
    assert one.said == [("data", b"a")]
    assert two.said == [("data", b"b"), ("data", b"")]


@given(st.integers(80, 255), st.binary(max_size=40), st.booleans())
def test_whatever_comes_is_used_or_a_violation(number: int, body: bytes, there: bool) -> None:
    leg = Leg().logged_in()
    if there:
        leg.channel()
    try:
        leg.send(message(number, b"\0\0\0" * there, body))
    except ProtocolViolation:
        pass


# -- channels


def test_numbers_are_given_in_turn_and_again_only_when_all_had_theirs(leg: Leg) -> None:
    mux = leg.mux
    assert [leg.channel()[0] for _ in range(3)] == [0, 1, 2]
    mux.remove(1)
    assert leg.channel()[0] == 3
    mux._next_number = MAX_UINT32
    assert [leg.channel()[0] for _ in range(2)] == [MAX_UINT32, 1]


def test_idle_is_said_once_when_the_last_channel_is_over(leg: Leg) -> None:
    leg.channel()
    leg.channel()
    leg.mux.remove(0)
    assert leg.events() == []
    leg.mux.remove(1)
    leg.mux.remove(1)
    assert leg.events() == [("idle",)]


def test_an_open_is_served(leg: Leg) -> None:
    handler = Handler()
    leg.opens = lambda: handler
    leg.send(open_message(sender=9))
    assert leg.events() == [("opened", b"kind", b"fields")]
    assert handler.said == [("opened", 9, 1000, 2000)]
    assert leg.heard() == []


def test_an_open_is_refused_with_its_reason(leg: Leg) -> None:
    leg.opens = refusing(OpenFailure.UNKNOWN_CHANNEL_TYPE, "no such thing")
    leg.send(open_message(sender=9))
    assert leg.heard() == [messages.open_failure(9, 3, "no such thing")]


def test_an_open_for_tiny_packets_is_refused_unasked(leg: Leg) -> None:
    leg.send(open_message(sender=9, packet=1023))
    assert leg.events() == [("refused", "packets of 1023 bytes")]
    (answer,) = leg.heard()
    assert answer.startswith(message(92, 9, 1))


def test_a_reason_of_any_length_is_told_in_few_bytes(leg: Leg) -> None:
    """What a peer wrote may be kept for another peer, times the opens that wait."""
    leg.opens = refusing(OpenFailure.CONNECT_FAILED, "é" * 100_000)
    leg.send(open_message(sender=9))
    (answer,) = leg.heard()
    assert answer == messages.open_failure(9, 2, "é" * LONGEST_REASON)
    _, handler = leg.channel()
    leg.send(message(92, 0, 1, string(b"\xff" * 100_000), string(b"en")))
    assert handler.said == [("failed", 1, "\ufffd" * LONGEST_REASON)]


# -- requests of the whole connection


def test_a_global_request_and_our_answers_in_their_order(leg: Leg) -> None:
    leg.send(GLOBAL, GLOBAL)
    assert leg.events() == [("requested", GlobalRequest(b"name", b"fields", True))]
    leg.mux.requests.answer(b"yes")
    leg.mux.requests.answer(None)
    assert leg.heard() == [b"\x51yes", b"\x52"]


def test_answers_to_ours(leg: Leg) -> None:
    answers: list[bytes | None] = []
    for _ in range(2):
        leg.mux.requests.ask(b"name", b"fields", answers.append)
    leg.send(b"\x51yes", b"\x52")
    assert answers == [b"yes", None]


def test_a_request_of_our_own_is_told(leg: Leg) -> None:
    leg.send(message(80, string(b"news" + PRIVATE), b"\0", b"fields"))
    assert leg.events() == [("told", b"news" + PRIVATE, b"fields")]


def test_no_login_behind_a_message_of_the_connection(leg: Leg) -> None:
    """RFC 4252 §5.1: such requests may come late, but not any more then."""
    leg.send(USERAUTH_REQUEST)
    assert leg.events() == [("handshake", USERAUTH_REQUEST)]
    leg.send(message(127))
    with pytest.raises(ProtocolViolation, match="a request to log in behind"):
        leg.send(USERAUTH_REQUEST)
    assert leg.events() == []


# -- sequence numbers (RFC 4253 §6.4)


def test_unimplemented_names_the_packet(leg: Leg) -> None:
    leg.channel()
    before = leg.mux.received_packets
    data = message(94, 0, string(b"data"))
    leg.send(data, data, message(200), data, message(201))
    assert leg.heard() == [messages.unimplemented(before + number) for number in (2, 4)]


def test_unimplemented_when_the_number_has_wrapped(leg: Leg) -> None:
    leg.mux.received_packets = 2**32 + 5
    leg.send(message(200))
    assert leg.heard() == [messages.unimplemented(5)]


@pytest.mark.parametrize("strict", [True, False])
def test_the_next_packets_number_with_each_new_key(strict: bool) -> None:
    numbers: list[int] = []

    def made(number: int) -> GcmCipher:
        numbers.append(number)
        return cipher(1)

    leg = Leg().start()
    leg.send(IGNORE)
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.mux.send_handshake(NEWKEYS)
    leg.mux.seal_with(made, strict=strict)
    assert numbers == ([0] if strict else [2])
    leg.on_handshake = lambda payload: leg.mux.open_with(made, strict=strict)
    leg.send(NEWKEYS)
    leg.on_handshake = lambda payload: None
    assert numbers[1:] == ([0] if strict else [3])
    leg.peer_seals = leg.peer_opens = cipher(1)
    leg.mux.logged_in()
    leg.out.send_payload(message(80))
    leg.send(message(200))
    # The next time.
    leg.mux.seal_with(made, strict=strict)
    assert numbers[2:] == ([0] if strict else [4])
    leg.mux.open_with(made, strict=strict)
    assert numbers[3:] == ([0] if strict else [4])


def test_numbers_wrap_for_a_new_key(leg: Leg) -> None:
    numbers: list[int] = []

    def made(number: int) -> GcmCipher:
        numbers.append(number)
        return cipher(1)

    leg.mux._sent_before = 2**32 - 1
    leg.out.sent_packets = 3
    leg.mux.seal_with(made, strict=False)
    leg.mux.received_packets = 2**32
    leg.mux.open_with(made, strict=False)
    assert numbers == [2, 0]


# -- key exchanges


def test_nothing_but_the_handshakes_own_leaves_between_our_kexinit_and_our_newkeys(
    leg: Leg,
) -> None:
    leg.our_kexinit()
    leg.out.send_payload(message(80))
    leg.mux.send_handshake(message(30))
    assert leg.heard() == [KEXINIT, message(30)]
    leg.send(KEXINIT)
    leg.our_newkeys()
    assert leg.heard() == [NEWKEYS, message(80)]


def test_what_comes_right_behind_newkeys_is_opened_with_the_new_keys(leg: Leg) -> None:
    leg.channel()
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    leg.their_newkeys(message(96, 0))
    assert leg.mux.channels[0].said == [("eof",)]


def test_a_handshake_that_is_busy_stops_everything_behind_it(leg: Leg) -> None:
    def busy(payload: bytes) -> None:
        leg.mux.busy = True

    leg.on_handshake = busy
    first, second = leg.sealed(message(30)), leg.sealed(message(31))
    assert leg.feed(first + second) == (len(first), False)
    assert leg.mux.stopped
    assert leg.feed(second) == (0, False)
    assert leg.events() == [("handshake", message(30))]
    leg.mux.busy = False
    leg.feed(second)
    assert leg.events() == [("handshake", message(31))]


def test_a_second_kexinit_of_the_peer_is_a_violation(leg: Leg) -> None:
    leg.send(KEXINIT)
    leg.our_kexinit()
    with pytest.raises(ProtocolViolation, match="before the last one has ended"):
        leg.send(KEXINIT)


def test_so_is_one_before_its_newkeys(leg: Leg) -> None:
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    with pytest.raises(ProtocolViolation, match="before the last one has ended"):
        leg.send(KEXINIT)


def test_one_after_another(leg: Leg) -> None:
    for _ in range(3):
        leg.send(KEXINIT)
        leg.our_kexinit()
        leg.our_newkeys()
        leg.their_newkeys()
        assert leg.heard() == [KEXINIT, NEWKEYS]


def test_key_exchanges_that_the_traffic_does_not_explain(leg: Leg) -> None:
    def again() -> None:
        leg.send(KEXINIT)
        leg.our_kexinit()
        leg.our_newkeys()
        leg.their_newkeys()

    for _ in range(KEXES_AT_ONCE):
        again()
    with pytest.raises(ProtocolViolation, match="more key exchanges than its traffic explains"):
        again()


def test_an_answer_to_our_kexinit_is_not_one_that_the_peer_began(leg: Leg) -> None:
    for _ in range(2 * KEXES_AT_ONCE):
        leg.our_kexinit()
        leg.send(KEXINIT)
        leg.our_newkeys()
        leg.their_newkeys()


def test_the_first_key_exchange_opens_nothing() -> None:
    leg = Leg().start()
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    leg.out.send_payload(message(80))
    assert leg.heard() == [KEXINIT, NEWKEYS]
    leg.their_newkeys()
    leg.mux.logged_in()
    assert leg.heard() == [message(80)]


def test_a_login_that_ends_while_keys_are_changed() -> None:
    leg = Leg().start().keyed()
    leg.our_kexinit()
    leg.mux.logged_in()
    leg.out.send_payload(message(80))
    assert leg.heard() == [KEXINIT]
    leg.our_newkeys()
    assert leg.heard() == [NEWKEYS, message(80)]


def test_whoever_has_stopped_the_reading_of_a_leg_that_changes_keys_lets_it_go_on(
    leg: Leg,
) -> None:
    other = Leg().logged_in()
    leg.stream.pauses.add(other.out)
    leg.out.paused_by.add(other.out)
    leg.our_kexinit()
    assert (leg.stream.pauses, leg.out.paused_by) == (set(), set())


# -- when keys are due


def deafen(leg: Leg) -> None:
    """It has sent something, or else it need not change them."""
    leg.out.send_payload(message(127))
    leg.heard()


def test_keys_are_due_after_so_many_bytes_in_both_directions(leg: Leg) -> None:
    leg.mux.rekey.limit = 1000
    deafen(leg)
    assert not leg.mux.rekey_due
    leg.send(IGNORE + b"x" * 400)
    assert not leg.mux.rekey_due
    leg.out.send_payload(b"\x7f" + b"x" * 600)
    assert leg.mux.rekey.bytes < 1000 < leg.mux.rekey.bytes + leg.out.sent_bytes
    assert leg.mux.rekey_due


def test_keys_are_due_after_so_many_packets(leg: Leg) -> None:
    deafen(leg)
    leg.mux.rekey.packets = MAX_PACKETS - 2
    assert not leg.mux.rekey_due
    leg.send(IGNORE)
    assert leg.mux.rekey_due


def test_keys_are_not_due_of_themselves_on_a_fast_cipher_before_64_gib(leg: Leg) -> None:
    deafen(leg)
    leg.out.sent_bytes = 16 * MAX_BLOCKS - 1 - leg.mux.rekey.bytes
    assert not leg.mux.rekey_due
    leg.out.sent_bytes += 1
    assert leg.mux.rekey_due


@pytest.mark.parametrize("direction", ["sends", "receives"])
def test_a_slow_cipher_in_either_direction_is_due_after_1_gib(leg: Leg, direction: str) -> None:
    plain = Leg().out.sealer
    if direction == "sends":
        leg.mux.seal_with(lambda number: plain, strict=True)
    else:
        leg.mux.open_with(lambda number: plain, strict=True)
    leg.out.sent_bytes = SLOW_REKEY_BYTES
    leg.out.sent_packets = 1
    assert leg.mux.rekey_due


def test_keys_are_not_changed_twice_at_once_nor_before_anything_was_sent(leg: Leg) -> None:
    leg.mux.rekey.limit = 1
    leg.send(IGNORE)
    assert not leg.mux.rekey_due  # Nothing was sent under them.
    deafen(leg)
    assert leg.mux.rekey_due
    leg.our_kexinit()
    assert not leg.mux.rekey_due
    leg.send(KEXINIT)
    leg.our_newkeys()
    deafen(leg)
    assert not leg.mux.rekey_due  # The peer's NEWKEYS has not come.
    leg.their_newkeys(IGNORE)
    assert leg.mux.rekey_due
    leg.send(KEXINIT)
    assert not leg.mux.rekey_due  # The peer has begun.


def test_new_keys_are_counted_from_naught(leg: Leg) -> None:
    deafen(leg)
    leg.send(IGNORE)
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    counts = (leg.mux.rekey.bytes, leg.mux.rekey.packets, leg.out.sent_bytes, leg.out.sent_packets)
    assert counts == (0, 0, 0, 0)


# -- who is asked to change keys and does not


def late(leg: Leg, most: int) -> None:
    """The peer sends what it likes under its old keys, until that is too much."""
    sent = 0

    def goes_on() -> None:
        nonlocal sent
        while sent < 2 * most:
            leg.send(message(2, string(b"x" * 1000)))
            sent += 1000

    with pytest.raises(ProtocolViolation, match="bytes since the peer was asked to change keys"):
        goes_on()
    assert 0.9 * most < sent < most


def test_a_peer_that_does_not_hear_of_our_kexinit(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekey, "LATE_BYTES", 100_000)
    leg.send(message(2, string(b"x" * 200_000)))
    leg.our_kexinit()
    late(leg, 100_000)


def test_a_peer_that_has_our_newkeys_and_keeps_its_own(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would never change its keys again, and nor would we: the exchange is under way."""
    monkeypatch.setattr(rekey, "LATE_BYTES", 100_000)
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    for _ in range(200):  # What we send meanwhile is no doing of the peer's.
        leg.out.send_payload(message(127, b"x" * 1000))
    late(leg, 100_000)


def test_a_peer_that_is_done_sends_what_it_likes(leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "LATE_BYTES", 10_000)
    leg.our_kexinit()
    leg.send(KEXINIT)
    leg.our_newkeys()
    leg.their_newkeys()
    for _ in range(30):
        leg.send(message(2, string(b"x" * 1000)))


def test_answers_that_wait_for_a_key_exchange_are_bounded(leg: Leg) -> None:
    leg.our_kexinit()
    for _ in range(ANSWERS_DEFERRED // 16):
        leg.send(*[message(127)] * 16)
    assert len(leg.out.deferred) == ANSWERS_DEFERRED
    with pytest.raises(ProtocolViolation, match="too many requests during a key exchange"):
        leg.send(message(127))


def test_what_others_have_waiting_is_not_held_against_the_peer(leg: Leg) -> None:
    leg.our_kexinit()
    for _ in range(ANSWERS_DEFERRED + 1):
        leg.out.send_payload(message(93))
    leg.send(message(127), message(127))
    leg.send(KEXINIT)
    leg.our_newkeys()
    leg.their_newkeys()
    leg.our_kexinit()
    assert leg.mux._answers_deferred == 0


# -- before the login


def test_packets_before_the_login_are_counted() -> None:
    leg = Leg(BeforeLogin(3, 1000)).start()  # The version is one.
    leg.send(IGNORE, IGNORE)
    with pytest.raises(ProtocolViolation, match="more than 3 packets"):
        leg.send(IGNORE)


def test_bytes_before_the_login_are_counted() -> None:
    leg = Leg(BeforeLogin(100, KIB)).start()
    leg.send(message(2, string(b"x" * 500)))
    with pytest.raises(ProtocolViolation, match="more than 1 KiB"):
        leg.send(message(2, string(b"x" * 500)))


def test_a_packet_that_is_only_announced_is_counted() -> None:
    """Or its sender would have us hold 256 KiB for it."""
    leg = Leg(BeforeLogin(100, KIB)).start()
    with pytest.raises(ProtocolViolation, match="more than 1 KiB"):
        leg.feed(uint32(MAX_LENGTH - 4))
    assert leg.feed(b"") == (0, False)


def test_nothing_is_counted_behind_the_login() -> None:
    leg = Leg(BeforeLogin(8, KIB)).logged_in()
    for _ in range(20):
        leg.send(message(2, string(b"x" * 500)))


# -- turns


@pytest.mark.parametrize(
    ("payload", "cost"),
    [
        (message(94, 0, string(b"")), 1),
        (message(93, 0, 1), 1),
        (message(96, 0), 1),
        (message(97, 0), 1),
        (message(98, 0, string(b"x"), b"\0"), FED_PACKET),
        (IGNORE, FED_PACKET),
        (message(127), FED_PACKET),
    ],
)
def test_what_packets_count_of_a_turn(leg: Leg, payload: bytes, cost: int) -> None:
    leg.channel()
    before = leg.mux.received_packets
    data = leg.sealed(*[payload] * 2 * PACKETS_PER_TURN)
    used, much = leg.feed(data)
    packets = leg.mux.received_packets - before
    assert packets == -(-PACKETS_PER_TURN // cost)
    assert (used, much) == (len(data) * packets // (2 * PACKETS_PER_TURN), True)
    assert leg.feed(data[used:])[0] > 0


@pytest.mark.parametrize("payload", [message(94, 0, string(b"")), message(96, 0)])
def test_the_same_under_a_slow_cipher(leg: Leg, payload: bytes) -> None:
    """To open a packet is what costs there, whatever is in it."""

    class Slow(GcmCipher):
        cost = FED_PACKET

    leg.channel()
    leg.peer_seals = cipher(5)
    leg.mux.open_with(lambda number: Slow(bytes([5]) * 16, bytes(12)), strict=True)
    leg.send(*[payload] * PACKETS_PER_TURN)
    assert leg.mux.received_packets == -(-PACKETS_PER_TURN // FED_PACKET)


def test_a_packet_that_was_padded_otherwise_is_passed_on_in_the_one_shape(leg: Leg) -> None:
    """As a slow cipher returns it: in memory of its own."""

    class Copies(Plain):
        def open(self, view: memoryview, start: int, length: int) -> memoryview:
            return memoryview(bytearray(view[start : start + 4 + length]) + bytes(TAIL_ROOM))

    class Shape(Handler):
        def data(self, view: memoryview, start: int, length: int, size: int) -> None:
            super().data(view, start, length, size)
            check_data(length, view[start + 4], size)
            check_length(length)
            assert read_length(view, start) == (length,)

    handler = Shape()
    leg.mux.add(handler)
    leg.mux.open_with(lambda number: Copies(), strict=True)
    leg.peer_seals = Plain()
    leg.send(message(94, 0, string(b"data")), message(94, 0, string(b"x" * 11)))
    assert handler.said == [("data", b"data"), ("data", b"x" * 11)]


# -- pieces, forgeries


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(1, 200), max_size=20))
def test_any_pieces_of_the_stream_come_to_the_same(kinds: list[int], pieces: list[int]) -> None:
    leg = Leg().logged_in()
    _, handler = leg.channel()
    payloads = [
        message(94, 0, string(b"data")), message(93, 0, 5), message(98, 0, string(b"x"), b"\1"),
        message(94, 0, string(b"x" * 100)),
    ]  # fmt: skip
    said = [("data", b"data"), ("window", 5), ("request", True), ("data", b"x" * 100)]
    stream = leg.sealed(*[payloads[kind] for kind in kinds])
    ends = sorted({0, *(min(sum(pieces[:n]), len(stream)) for n in range(len(pieces)))})
    pending = b""
    for start, end in pairwise([*ends, len(stream)]):
        pending += stream[start:end]
        pending = pending[leg.feed(pending)[0] :]
    assert pending == b""
    assert handler.said == [said[kind] for kind in kinds]
    assert leg.mux.received_packets == len(kinds)


def test_a_forged_packet_is_not_used(leg: Leg) -> None:
    _, handler = leg.channel()
    for at in range(4, len(good := leg.sealed(message(94, 0, string(b"data"))))):
        fresh = Leg().logged_in()
        _, handler = fresh.channel()
        forged = bytearray(good)
        forged[at] ^= 1
        with pytest.raises(TagMismatch):
            fresh.feed(bytes(forged))
        assert handler.said == []


def test_a_length_that_cannot_be(leg: Leg) -> None:
    for length in (0, 15, 17, MAX_LENGTH + 16, MAX_UINT32):
        with pytest.raises(ProtocolViolation, match="a packet of"):
            leg.feed(uint32(length))


def test_packets_before_a_bad_one_are_used(leg: Leg) -> None:
    _, handler = leg.channel()
    with pytest.raises(ProtocolViolation):
        leg.feed(leg.sealed(message(96, 0)) + uint32(5))
    assert handler.said == [("eof",)]


# -- its end


def test_nothing_is_used_behind_a_message_that_ended_the_leg(leg: Leg) -> None:
    leg.channel()
    leg.on_handshake = lambda payload: leg.out.close()
    first, rest = leg.sealed(message(1)), leg.sealed(message(96, 0))
    assert leg.feed(first + rest) == (len(first), False)
    assert leg.mux.channels[0].said == []


def test_whoever_has_a_part_in_a_leg_is_told_of_its_end_whatever_others_do(leg: Leg) -> None:
    class Failing(Handler):
        def leg_lost(self) -> None:
            raise RuntimeError

    answers: list[object] = []

    def failing(fields: bytes | None) -> None:
        raise RuntimeError

    leg.mux.add(Failing())
    _, handler = leg.channel()
    for answered in (failing, answers.append):
        leg.mux.requests.ask(b"name", b"", answered)
    failures = 0

    def ending(end: object) -> None:
        nonlocal failures
        try:
            end()
        except RuntimeError:
            failures += 1

    leg.mux.lost(ending)
    assert handler.said == [("lost",)]
    assert answers == [None]
    assert failures == 2
    assert leg.mux.channels == {}
    leg.heard()
    leg.out.send_payload(message(80))
    leg.mux.keys_changed()
    leg.out.send_payload(message(80))
    assert leg.heard() == []
