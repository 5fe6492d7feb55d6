"""relay/core/outgoing.py, by playbook: what is sealed and sent, what waits, and who is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.channel import Channel
from relay.core.limits import (
    ANSWERS_PER_LEG,
    DEFERRED_PER_LEG,
    FLUSH_PACKETS,
    FLUSH_SIZE,
    KIB,
    OUTPUT_PER_LEG,
    STALL_BYTES,
)
from relay.core.output import Buffer
from relay.wire import messages
from relay.wire.cipher import Plain
from relay.wire.encoding import string
from relay.wire.packet import DATA_OFFSET, MAX_DATA, OVERHEAD, TAIL_ROOM, frame_data
from tests.core.playbook import KEXINIT, Handler, Leg, Stream, message

ROOM = DATA_OFFSET + TAIL_ROOM


@pytest.fixture
def leg() -> Leg:
    return Leg().logged_in()


def channel(number: int = 7, local: int = 0) -> Channel:
    made = Channel()
    made.local_id, made.remote_id = local, number
    return made


def opened(data: bytes, headroom: int = 0) -> tuple[memoryview, int, int]:
    """A data packet as it lies when it was opened: its memory, start and length."""
    view = memoryview(bytearray(headroom + len(data) + ROOM + headroom))
    view[headroom + DATA_OFFSET : headroom + DATA_OFFSET + len(data)] = data
    return view, headroom, frame_data(view, headroom, len(data))


def forward(leg: Leg, data: bytes, to: Channel) -> memoryview:
    view, start, length = opened(data)
    leg.out.forward(view, start, length, to)
    return view


def data_message(number: int, data: bytes) -> bytes:
    return message(94, number, string(data))


# -- what can go at once


def test_a_packet_is_labelled_sealed_and_sent_from_where_it_lies(leg: Leg) -> None:
    view = forward(leg, b"data", channel(9))
    assert leg.stream.taken == b""
    leg.shared.flush()
    assert leg.stream.taken == view[: len(leg.stream.taken)]
    assert leg.heard() == [data_message(9, b"data")]


def test_it_leaves_at_the_end_of_the_batch_and_is_marked_once(leg: Leg) -> None:
    for _ in range(3):
        forward(leg, b"data", channel())
    leg.out.send_payload(message(80))
    assert leg.shared.marked == [leg.out]
    sends = leg.stream.sends
    assert len(leg.heard()) == 4
    assert leg.stream.sends == sends + 1


def test_so_many_packets_or_bytes_leave_at_once(leg: Leg) -> None:
    for _ in range(FLUSH_PACKETS):
        forward(leg, b"", channel())
    assert leg.stream.sends == 2  # What came before, in the handshake, left in others.
    forward(leg, b"x" * FLUSH_SIZE, channel())
    assert leg.stream.sends == 3
    assert len(leg.heard()) == FLUSH_PACKETS + 1


def test_another_ciphers_packet_leaves_in_memory_of_its_own(leg: Leg) -> None:
    leg.out.sealer = leg.peer_opens = Plain()
    view = forward(leg, b"data", channel(9))
    view[:] = bytes(len(view))
    assert leg.heard() == [data_message(9, b"data")]


def test_what_is_sealed_is_sent_in_that_order(leg: Leg) -> None:
    one, two = channel(1), channel(2)
    forward(leg, b"a", one)
    leg.out.send_payload(message(80, b"b"))
    forward(leg, b"c", two)
    leg.out.send_on_channel(two, messages.eof(2))
    leg.out.send_now(message(2))
    assert leg.heard() == [
        data_message(1, b"a"), message(80, b"b"), data_message(2, b"c"), messages.eof(2),
        message(2),
    ]  # fmt: skip


def test_what_went_out_is_counted(leg: Leg) -> None:
    bytes_before, packets_before = leg.out.sent_bytes, leg.out.sent_packets
    forward(leg, b"data", channel())
    leg.out.send_payload(message(80))
    taken = leg.out.taken
    leg.shared.flush()
    assert leg.out.sent_bytes - bytes_before == len(leg.stream.taken) == leg.out.taken - taken
    assert leg.out.sent_packets - packets_before == 2


def test_nothing_is_lost_before_there_is_a_stream() -> None:
    leg = Leg()
    stream, leg.out.stream = leg.stream, None
    leg.out.send_line(b"SSH-2.0-x\r\n")
    leg.out.send_now(KEXINIT)
    leg.shared.flush()
    leg.out.stream = stream
    leg.out.flush()
    assert stream.taken.startswith(b"SSH-2.0-x\r\n\0\0\0")


# -- a full stream


def fill(leg: Leg) -> None:
    """Its stream takes nothing more; one packet is sealed, and has not been taken."""
    leg.heard()
    leg.stream.room = 0
    leg.out.send_payload(message(80, b"stuck"))
    leg.shared.flush()


def test_a_full_stream_is_waited_for_and_what_comes_meanwhile_waits_unsealed(leg: Leg) -> None:
    fill(leg)
    assert leg.stream.awaited == 1
    assert not leg.out.has_room
    sent = leg.out.sent_packets
    one = channel(9)
    assert leg.out.waiting_for(one) == 0
    view = forward(leg, b"data", one)
    view[:] = bytes(len(view))  # Its memory is used again.
    assert leg.out.sent_packets == sent
    assert leg.shared.waiting == OVERHEAD + 32
    assert leg.out.waiting_for(one) == leg.shared.waiting
    assert leg.out.waiting_for(channel(10)) == 0
    assert leg.out.waiting > leg.shared.waiting
    assert leg.heard() == []
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard() == [message(80, b"stuck"), data_message(9, b"data")]
    assert leg.out.has_room
    assert (leg.shared.waiting, leg.shared.legs_waiting, leg.out.waiting) == (0, 0, 0)


def test_what_is_not_taken_is_copied_out_of_the_memory_of_others(leg: Leg) -> None:
    view = forward(leg, b"data", channel(9))
    leg.stream.room = 11
    leg.shared.flush()
    view[:] = bytes(len(view))
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard() == [data_message(9, b"data")]


def test_control_messages_are_sealed_at_once_but_behind_their_channels_data(leg: Leg) -> None:
    one, two = channel(1), channel(2)
    fill(leg)
    forward(leg, b"data", one)
    leg.out.send_on_channel(one, messages.eof(1))
    leg.out.send_on_channel(two, messages.eof(2))
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard() == [
        message(80, b"stuck"), messages.eof(2), data_message(1, b"data"), messages.eof(1),
    ]  # fmt: skip


def test_windows_and_answers_go_ahead_of_data(leg: Leg) -> None:
    """They would wait without bound, since no window counts them: as many as a peer asks for that
    does not read. Sealed, they stop the reading of who causes them."""
    one = channel(1)
    fill(leg)
    forward(leg, b"data", one)
    waiting = leg.shared.waiting
    while not leg.stream.pauses:
        leg.out.send_on_channel(one, messages.channel_failure(1))
        leg.out.send_on_channel(one, messages.window_adjust(1, 1))
        assert leg.out.waiting < 2 * ANSWERS_PER_LEG
    assert leg.shared.waiting == waiting
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard()[-1] == data_message(1, b"data")


def test_a_leg_that_listens_less_than_it_asks_is_read_no_further(leg: Leg) -> None:
    fill(leg)
    answer = message(80, b"x" * (64 * KIB))
    for _ in range(ANSWERS_PER_LEG // (64 * KIB)):
        assert leg.stream.pauses == set()
        leg.out.send_payload(answer)
    assert leg.stream.pauses == {leg.out}
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.stream.pauses == set()


def test_what_waits_leaves_for_as_long_as_it_is_taken(leg: Leg) -> None:
    fill(leg)
    for _ in range(10):
        forward(leg, b"x" * MAX_DATA, channel(9))
    leg.stream.room = 500 * KIB
    leg.out.flush()
    assert leg.stream.room == 0
    # No more is sealed than was about to be taken: a CLOSE may still overtake the rest.
    assert leg.out.waiting - leg.out._queue.waiting <= FLUSH_SIZE + MAX_DATA
    leg.stream.room = 2**30
    leg.out.flush()
    assert len(leg.heard()) == 11


def test_what_waits_is_labelled_when_it_leaves(leg: Leg) -> None:
    """By then its channel may be known by a number that it was not known by when it came."""
    late = channel(5)
    fill(leg)
    forward(leg, b"data", late)
    late.remote_id = 9
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard()[1:] == [data_message(9, b"data")]


def test_what_waits_under_another_cipher(leg: Leg) -> None:
    leg.out.sealer = leg.peer_opens = Plain()
    fill(leg)
    forward(leg, b"data", channel(9))
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard()[1:] == [data_message(9, b"data")]


# -- key exchanges


def test_data_and_messages_wait_for_new_keys_in_their_order(leg: Leg) -> None:
    one = channel(1)
    leg.our_kexinit()
    assert not leg.out.has_room
    leg.out.send_on_channel(one, messages.window_adjust(1, 5))
    forward(leg, b"data", one)
    leg.out.send_on_channel(one, messages.eof(1))
    leg.send(KEXINIT)
    leg.our_newkeys()
    heard = leg.heard()
    assert heard[2:] == [messages.window_adjust(1, 5), data_message(1, b"data"), messages.eof(1)]


def test_nothing_that_waits_leaves_under_the_old_keys(leg: Leg) -> None:
    fill(leg)
    forward(leg, b"data", channel(1))
    leg.our_kexinit()
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard() == [message(80, b"stuck"), KEXINIT]
    assert leg.shared.legs_waiting == 1


# -- what may wait


def test_a_channel_is_told_when_its_leg_may_hold_no_more(leg: Leg) -> None:
    over: list[int] = []

    class Breaks(Handler):
        def overflow(self) -> None:
            over.append(leg.out.waiting)

    number = leg.mux.add(Breaks())
    leg.out.waiting_limit = 1000
    fill(leg)
    leg.events()
    forward(leg, b"x" * 900, channel(9, number))
    assert (over, leg.events()) == ([], [])
    forward(leg, b"x" * 900, channel(9, number))
    assert len(over) == 1
    assert leg.events() == [("limit", "waiting-per-leg")]


def test_a_channel_is_told_when_the_process_may_hold_no_more(leg: Leg) -> None:
    leg.mux.add(handler := Handler())
    leg.shared.too_much_for_one = 1000
    fill(leg)
    leg.events()
    forward(leg, b"x" * 1000, channel())
    assert leg.events() == [("limit", "waiting-per-process")]
    assert handler.said == []


def test_a_channel_that_is_there_no_more_is_not_told(leg: Leg) -> None:
    leg.out.waiting_limit = 0
    fill(leg)
    leg.events()
    forward(leg, b"x", channel(9, 5))
    assert leg.events() == [("limit", "waiting-per-leg")]


def test_cut(leg: Leg) -> None:
    one, two = channel(1), channel(2)
    fill(leg)
    forward(leg, b"one", one)
    leg.out.send_on_channel(one, messages.eof(1))
    forward(leg, b"two", two)
    assert leg.shared.legs_waiting == 1
    assert leg.out.cut(one)
    assert not leg.out.cut(one)
    assert leg.shared.legs_waiting == 1
    leg.stream.room = 2**30
    leg.out.flush()
    assert leg.heard()[1:] == [data_message(2, b"two")]
    fill(leg)
    forward(leg, b"one", one)
    assert leg.out.cut(one)
    assert (leg.shared.waiting, leg.shared.legs_waiting) == (0, 0)


# -- who waits


class Waiter:
    def __init__(self, does: Callable[[], None] = lambda: None) -> None:
        self.told = 0
        self.does = does

    def leg_has_room(self) -> None:
        self.told += 1
        self.does()


def test_who_waits_is_told_once_and_not_from_within_the_flush(leg: Leg) -> None:
    fill(leg)
    waiter = Waiter()
    leg.out.await_room(waiter)
    leg.out.await_room(waiter)
    assert leg.out.others_waiting
    leg.out.flush()
    assert (waiter.told, leg.shared.woken) == (0, [])
    leg.stream.room = 2**30
    leg.out.flush()
    assert (waiter.told, leg.shared.woken) == (0, [leg.out])
    leg.shared.flush()
    assert waiter.told == 1
    assert not leg.out.others_waiting
    leg.out.flush()
    assert leg.shared.woken == []


def test_who_fills_it_again_leaves_the_others_waiting_no_longer_than_room_is_there(
    leg: Leg,
) -> None:
    fill(leg)
    last = Waiter()
    leg.out.await_room(last)
    leg.stream.room = 2**30
    leg.out.flush()
    leg.stream.room = 0
    leg.out.send_payload(message(80))
    leg.out.flush()
    leg.out.wake()
    assert last.told == 0  # What room there was is taken already.
    leg.stream.room = 2**30
    leg.out.flush()
    leg.out.wake()
    assert last.told == 1


def test_one_who_fails_does_not_keep_it_from_the_others(leg: Leg) -> None:
    def fails() -> None:
        raise RuntimeError("a fault of ours")

    fill(leg)
    waiters = [Waiter(fails), Waiter()]
    for waiter in waiters:
        leg.out.await_room(waiter)
    leg.stream.room = 2**30
    leg.out.flush()
    leg.events()
    leg.shared.flush()
    assert [waiter.told for waiter in waiters] == [1, 1]
    assert [event[0] for event in leg.events()] == ["failed"]


def test_who_waits_again_is_told_again(leg: Leg) -> None:
    fill(leg)
    waiter = Waiter(lambda: leg.out.await_room(waiter) if waiter.told < 3 else None)
    leg.out.await_room(waiter)
    leg.stream.room = 2**30
    for _ in range(4):
        leg.out.flush()
        leg.out.wake()
    assert waiter.told == 3


# -- throttle


def crowd(leg: Leg) -> None:
    """More is sealed for it than may be before others wait."""
    fill(leg)
    leg.out.send_payload(message(80, b"x" * OUTPUT_PER_LEG))
    leg.events()


def test_who_feeds_a_crowded_leg_is_read_no_further_until_there_is_room(leg: Leg) -> None:
    source = Leg().logged_in()
    crowd(leg)
    leg.out.throttle(source.out)
    leg.out.throttle(source.out)
    assert source.stream.pauses == {leg.out}
    assert source.out.paused_by == {leg.out}
    assert leg.events() == [("others wait",)] * 2
    leg.stream.room = 2**30
    leg.shared.flush()
    leg.out.flush()
    leg.shared.flush()
    assert (source.stream.pauses, source.out.paused_by) == (set(), set())


def test_a_leg_with_little_waiting_stops_nobody(leg: Leg) -> None:
    source = Leg().logged_in()
    leg.out.throttle(source.out)
    fill(leg)
    leg.out.throttle(source.out)
    assert source.stream.pauses == set()


def test_what_was_sealed_but_not_offered_yet_stops_nobody(leg: Leg) -> None:
    source = Leg().logged_in()
    leg.out.send_payload(message(80, b"x" * OUTPUT_PER_LEG))
    leg.out.throttle(source.out)
    assert source.stream.pauses == set()


def test_so_does_one_that_changes_its_keys_without_end(leg: Leg) -> None:
    source = Leg().logged_in()
    leg.our_kexinit()
    for _ in range(DEFERRED_PER_LEG):
        leg.out.send_payload(b"\x5d")
    leg.out.throttle(source.out)
    assert source.stream.pauses == set()
    leg.out.send_payload(b"\x5d")
    leg.out.throttle(source.out)
    assert source.stream.pauses == {leg.out}


def test_a_leg_that_changes_its_keys_is_read_whatever_waits_elsewhere(leg: Leg) -> None:
    source = Leg().logged_in()
    crowd(leg)
    leg.out.throttle(source.out)
    source.our_kexinit()
    assert (source.stream.pauses, source.out.paused_by) == (set(), set())
    leg.out.throttle(source.out)
    assert source.stream.pauses == set()


def test_a_leg_that_is_over_stops_nobody(leg: Leg) -> None:
    source, gone = Leg().logged_in(), Leg().logged_in()
    gone.out.stream = None
    crowd(leg)
    leg.out.throttle(gone.out)
    assert not leg.out.others_waiting
    leg.out.throttle(source.out)
    leg.out.drop()
    assert (source.stream.pauses, source.out.paused_by) == (set(), set())
    leg.out.throttle(source.out)
    assert source.stream.pauses == set()


def test_a_source_that_is_gone_when_there_is_room_again(leg: Leg) -> None:
    source, other = Leg().logged_in(), Leg().logged_in()
    crowd(leg)
    for one in (source, other):
        leg.out.throttle(one.out)
    source.out.stream = None
    source.out.read_on()
    leg.out.throttle(other.out)
    leg.out.drop()
    assert other.stream.pauses == set()


def test_to_wait_for_two_legs_is_to_be_read_when_both_have_room(leg: Leg) -> None:
    source, other = Leg().logged_in(), Leg().logged_in()
    for one in (leg, other):
        crowd(one)
        one.out.throttle(source.out)
    assert source.stream.pauses == {leg.out, other.out}
    leg.out.drop()
    assert source.stream.pauses == {other.out}


def test_standing_still(leg: Leg) -> None:
    source = Leg().logged_in()
    taken = leg.out.taken
    assert not leg.out.stands_still(taken)  # Nobody waits.
    crowd(leg)
    leg.out.throttle(source.out)
    taken = leg.out.taken
    assert leg.out.stands_still(taken)
    leg.stream.room = STALL_BYTES
    leg.out.flush()
    assert not leg.out.stands_still(taken)


# -- failures


def broken(leg: Leg) -> None:
    def send(buffers: list[Buffer]) -> int:
        raise ConnectionResetError

    leg.stream.send = send


def test_a_failure_ends_this_leg_and_is_not_raised(leg: Leg) -> None:
    broken(leg)
    forward(leg, b"data", channel())
    leg.events()
    leg.shared.flush()
    (failed,) = leg.events()
    assert isinstance(failed[1], ConnectionResetError)
    assert leg.out.closed
    sent: list[Buffer] = []
    leg.stream.send = lambda buffers: sent.extend(buffers) or 1000
    view, start, length = opened(b"more")
    leg.out.send_data(view, start, length, channel())
    leg.out.flush()
    assert sent == []  # The peer could not read it: it misses what was before.


def test_a_failure_in_sealing_what_waits(leg: Leg) -> None:
    class Fails(Plain):
        def seal(self, view: memoryview, start: int, length: int) -> bytes:
            raise ValueError

    fill(leg)
    forward(leg, b"data", channel())
    leg.events()
    leg.stream.room = 2**30
    leg.out.sealer = Fails()
    leg.out.flush()
    assert [event[0] for event in leg.events()] == ["failed"]
    leg.out.drop()
    assert (leg.shared.waiting, leg.shared.legs_waiting) == (0, 0)


def test_a_failure_that_says_goodbye_does_not_flush_again(leg: Leg) -> None:
    """Who is told of a failure closes the leg, and a DISCONNECT may be too much for one send."""
    calls = 0
    before = leg.failed

    def failed(error: Exception) -> None:
        nonlocal calls
        calls += 1
        for _ in range(2 * FLUSH_PACKETS):
            leg.out.send_now(message(1))
            forward(leg, b"x" * FLUSH_SIZE, channel())
        leg.out.flush()
        before(error)

    leg.failed = failed
    broken(leg)
    leg.out.send_payload(message(80))
    leg.shared.flush()
    assert calls == 1


# -- its end


def test_nothing_follows_the_end_but_what_is_sealed(leg: Leg) -> None:
    leg.out.send_now(message(1))
    leg.out.close()
    leg.out.send_now(message(2))
    leg.out.send_payload(message(80))
    assert not leg.out.has_room
    assert leg.out.deferred == []
    assert leg.heard() == [message(1)]


def test_what_waits_for_new_keys_is_thrown_away_at_the_end(leg: Leg) -> None:
    leg.our_kexinit()
    leg.out.send_payload(message(80))
    leg.out.close()
    assert leg.out.deferred == []
    assert leg.heard() == [KEXINIT]


def test_a_leg_that_was_dropped_holds_nothing(leg: Leg) -> None:
    fill(leg)
    forward(leg, b"data", channel())
    waiter = Waiter()
    leg.out.await_room(waiter)
    leg.out.drop()
    assert waiter.told == 1
    for _ in range(2):
        forward(leg, b"more", channel())
        leg.out.send_on_channel(channel(), messages.eof(1))
        assert (leg.shared.waiting, leg.shared.legs_waiting) == (0, 0)
        leg.out.drop()


# -- a leg inside another


class Inner(Stream):
    """A channel of an outer leg, that takes so many packets in their own memory."""

    headroom = 14
    tailroom = 40
    max_data = 1000

    def __init__(self, packets: int = 2**30) -> None:
        super().__init__()
        self.packets = packets
        self.carried: list[bytes] = []

    @property
    def has_room(self) -> bool:
        return self.packets > 0

    def carry(self, view: memoryview, start: int, size: int) -> bool:
        if not self.packets:
            return False
        self.packets -= 1
        self.carried.append(bytes(view[start : start + size]))
        return True


def nested(inner: Inner) -> Leg:
    leg = Leg()
    leg.out.attach_nested(inner)
    leg.out.ready = True
    return leg


def test_what_a_nested_leg_needs_is_its_streams_to_say() -> None:
    leg = nested(Inner())
    assert (leg.out.headroom, leg.out.tailroom, leg.out.max_data) == (14, 40, 1000)


class InPlace(Plain):
    """Seals in place, by doing nothing."""

    def seal(self, view: memoryview, start: int, length: int) -> None:
        return None


def test_a_packet_is_carried_in_its_memory_if_nothing_is_before_it() -> None:
    inner = Inner()
    leg = nested(inner)
    leg.out.sealer = InPlace()
    view, start, length = opened(b"data", 14)
    leg.out.forward(view, start, length, channel(9))
    assert inner.carried == [view[start : start + length + OVERHEAD]]
    assert leg.shared.marked == []


def test_what_is_before_it_leaves_first() -> None:
    inner = Inner()
    leg = nested(inner)
    leg.out.sealer = InPlace()
    order: list[str] = []
    send, carry = inner.send, inner.carry
    inner.send = lambda buffers: order.append("send") or send(buffers)
    inner.carry = lambda *packet: order.append("carry") or carry(*packet)
    leg.out.send_payload(message(80))
    view, start, length = opened(b"data", 14)
    leg.out.forward(view, start, length, channel())
    assert order == ["send", "carry"]


def test_what_cannot_be_carried_goes_in_the_stream_behind_the_rest() -> None:
    inner = Inner()
    leg = nested(inner)
    leg.out.sealer = InPlace()
    inner.room = 3
    leg.out.send_payload(message(80))
    view, start, length = opened(b"data", 14)
    leg.out.send_data(view, start, length, channel())
    assert inner.carried == []
    inner.room = 2**30
    leg.out.flush()
    assert bytes(inner.taken).endswith(bytes(view[start : start + length + OVERHEAD]))
    inner.carry = lambda *packet: False
    view, start, length = opened(b"more", 14)
    leg.out.send_data(view, start, length, channel())
    leg.shared.flush()
    assert bytes(inner.taken).endswith(bytes(view[start : start + length + OVERHEAD]))


def test_nothing_is_carried_once_what_was_before_it_is_lost() -> None:
    inner = Inner()
    leg = nested(inner)
    leg.out.sealer = InPlace()
    inner.send = lambda buffers: 1 // 0
    leg.out.send_payload(message(80))
    view, start, length = opened(b"data", 14)
    leg.out.send_data(view, start, length, channel())
    assert inner.carried == []
    assert leg.out.closed


def test_a_full_outer_leg_is_waited_for_once_for_each_time_somebody_waits() -> None:
    inner = Inner(packets=0)
    leg = nested(inner)
    assert not leg.out.has_room
    waiter = Waiter()
    leg.out.await_room(waiter)
    assert inner.awaited == 1
    leg.out.flush()
    assert inner.awaited == 2
    inner.packets = 1
    leg.out.flush()
    leg.shared.flush()
    assert (waiter.told, inner.awaited) == (1, 2)
    leg.out.await_room(waiter)
    assert inner.awaited == 2


# -- whatever comes, in whatever order


STEPS = st.one_of(
    st.tuples(st.just("data"), st.integers(0, 2)),
    st.tuples(st.just("eof"), st.integers(0, 2)),
    st.tuples(st.just("payload"), st.just(0)),
    st.tuples(st.just("room"), st.integers(0, 300)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("cut"), st.integers(0, 2)),
    st.tuples(st.just("kex"), st.just(0)),
)


@given(st.lists(STEPS, max_size=50))
def test_every_channels_bytes_arrive_in_their_order(steps: list[tuple[str, int]]) -> None:
    """But for those that were cut while they waited."""
    leg = Leg().logged_in()
    channels = [channel(number) for number in range(3)]
    sent: list[list[bytes]] = [[], [], []]
    heard: list[bytes] = []
    cut: set[bytes] = set()
    for count, (step, value) in enumerate(steps):
        if step == "data":
            data = b"%d" % count
            forward(leg, data, channels[value])
            sent[value].append(data_message(value, data))
        elif step == "eof":
            payload = message(96, value, count)
            leg.out.send_on_channel(channels[value], payload)
            sent[value].append(payload)
        elif step == "payload":
            leg.out.send_payload(message(80))
        elif step == "room":
            leg.stream.room = value
            leg.out.flush()
        elif step == "flush":
            leg.shared.flush()
        elif step == "cut":
            if leg.out.cut(channels[value]):
                cut |= set(sent[value])
        else:
            leg.stream.room = 2**30
            heard += leg.heard()
            leg.our_kexinit()
            leg.send(KEXINIT)
            leg.our_newkeys()
            leg.their_newkeys()
        assert (leg.shared.legs_waiting == 1) is bool(leg.out._queue.waiting)
        assert leg.shared.waiting == leg.out._queue.waiting
    leg.stream.room = 2**30
    leg.out.flush()
    heard += leg.heard()
    for number, payloads in enumerate(sent):
        arrived = [one for one in heard if one in payloads]
        assert [one for one in payloads if one in arrived or one not in cut] == arrived, number
