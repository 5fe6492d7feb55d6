"""relay/ssh/leg.py and its mux without a socket: what comes in is bytes, what goes out is bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from asyncssh.encryption import get_encryption
from hypothesis import given
from hypothesis import strategies as st

from relay.core.limits import FED_PACKET, FLUSH_PACKETS, PACKETS_PER_TURN
from relay.core.output import Buffer
from relay.io import engine as engine_module
from relay.ssh.ciphers import Cipher, cipher_for
from relay.ssh.leg import Leg
from relay.wire import messages
from relay.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    RELAY_VERSION,
)
from tests.ssh.bench import (
    C_NUMBER,
    Bench,
    begin_key_exchange,
    end_key_exchange,
    expected,
    gcm,
    on_a_loop,
)


@given(
    st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8),
    st.lists(st.integers(1, 60), min_size=1, max_size=10),
)
def test_in_pieces_is_as_at_once(contents: list[bytes], sizes: list[int]) -> None:
    def test(bench: Bench) -> None:
        sent = b"".join(map(bench.data, contents))
        sent += bench.seal(messages.eof(bench.splice.splice.channels[0].local_id))
        bench.receive(sent, iter(sizes * len(sent)))
        assert bench.read(bench.c) == [*map(expected, contents), messages.eof(C_NUMBER)]

    on_a_loop(test)


def test_byte_by_byte() -> None:
    def test(bench: Bench) -> None:
        bench.receive(bench.data(b"token") + bench.data(b"by token"), iter([1] * 1000))
        assert bench.read(bench.c) == [expected(b"token"), expected(b"by token")]

    on_a_loop(test)


def test_small_packets_share_a_send_but_do_not_wait_for_all_of_a_batch() -> None:
    contents = [b"%d" % number for number in range(2 * FLUSH_PACKETS + 3)]

    def test(bench: Bench) -> None:
        sent = b"".join(map(bench.data, contents))
        sends = bench.stream(bench.c).sends
        sends.clear()
        bench.receive(sent, iter([len(sent)]))
        assert bench.read(bench.c) == [*map(expected, contents)]
        packet = len(sent) // len(contents)
        assert [size // packet for size in sends] == [FLUSH_PACKETS, FLUSH_PACKETS, 3]

    on_a_loop(test)


def test_what_comes_while_keys_change_waits_in_its_order() -> None:
    """RFC 4253 §7.1: after our KEXINIT nothing but the key exchange is sent."""

    def test(bench: Bench) -> None:
        begin_key_exchange(bench.c)
        label = bench.splice.splice.channels[0].local_id
        sent = bench.data(b"one") + bench.data(b"two") + bench.seal(messages.eof(label))
        bench.receive(sent, iter([10**6]))
        assert bench.read(bench.c) == [bytes([MSG_KEXINIT])]
        assert bench.c.out.waiting > 0
        end_key_exchange(bench.c)
        bench.engine.flush()
        assert bench.read(bench.c) == [
            bytes([MSG_NEWKEYS]), expected(b"one"), expected(b"two"), messages.eof(C_NUMBER),
        ]  # fmt: skip
        assert bench.c.out.waiting == 0

    on_a_loop(test)


@pytest.mark.parametrize("room", [0, 1, 30, 100])
def test_a_full_socket_gets_the_rest_later(room: int) -> None:
    def test(bench: Bench) -> None:
        stream = bench.stream(bench.c)
        stream.room = room
        contents = [bytes([number]) * 50 for number in range(20)]
        bench.receive(b"".join(map(bench.data, contents)), iter([333] * 100))
        while stream.room is not None and len(stream.taken) < 10**6 and bench.c.out.waiting:
            stream.room = 77
            bench.c.flush()
        stream.room = None
        bench.c.flush()
        assert bench.read(bench.c) == list(map(expected, contents))

    on_a_loop(test)


def test_a_forged_packet_ends_the_leg_and_goes_nowhere() -> None:
    def test(bench: Bench) -> None:
        good, bad, behind = (bench.data(word) for word in (b"good", b"bad", b"behind"))
        forged = bytearray(bad)
        forged[-1] ^= 1
        data = bytearray(good + forged + behind)
        assert bench.a.received(memoryview(data), 0, len(data)) == len(data)
        bench.engine.flush()
        assert not bench.a.alive
        assert bench.read(bench.c)[:1] == [expected(b"good")]
        assert bench.a.received(memoryview(bytearray(behind)), 0, len(behind)) == len(behind)
        assert all(payload[0] != MSG_CHANNEL_DATA for payload in bench.read(bench.c))

    on_a_loop(test)


MANY = 20_000
"""Small packets, which once were as many steps of a recursion."""


def chacha20(sequence: int) -> Cipher:
    """A cipher without the fast path: one side of a direction."""
    name = "chacha20-poly1305@openssh.com"
    return cipher_for(get_encryption(name.encode(), bytes(64), b""), name, "")(sequence)


@pytest.mark.parametrize("cipher", [gcm, chacha20], ids=["aes-gcm", "another cipher"])
def test_many_that_waited_leave_in_a_loop(cipher: Callable[[int], Cipher]) -> None:
    def test(bench: Bench) -> None:
        leg = bench.c
        begin_key_exchange(leg)
        contents = [b"%d" % number for number in range(MANY)]
        bench.receive(b"".join(map(bench.data, contents)), iter([10**9]))
        bench.reader(leg).cipher = cipher
        end_key_exchange(leg, cipher)
        bench.engine.flush()
        assert leg.alive
        assert bench.read(leg)[2:] == list(map(expected, contents))

    on_a_loop(test)


def test_a_leg_whose_flush_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was to be sent on the others is, be it later, and from memory of their own."""

    def test(bench: Bench) -> None:
        splice, other = bench.another_splice()

        def fail(buffers: list[Buffer]) -> int:
            raise RuntimeError("this leg only")

        bench.stream(bench.c).send = fail  # type: ignore[method-assign]
        memory = bytearray(bench.data(b"lost") + bench.data(b"kept", splice))
        bench.stream(other).room = 10
        assert bench.a.received(memoryview(memory), 0, len(memory)) == len(memory)
        bench.engine.flush()
        assert (bench.a.alive, bench.c.alive, other.alive) == (True, False, True)
        memory[:] = bytes(len(memory))  # What comes next is received there.
        bench.stream(other).room = None
        other.flush()
        assert bench.read(other) == [expected(b"kept")]

    on_a_loop(test)
    assert "this leg only" in caplog.text


def test_a_leg_whose_early_flush_fails_does_not_end_the_one_that_feeds_it() -> None:
    """Enough packets are flushed in the middle of the batch that they come from."""

    def test(bench: Bench) -> None:
        def fail(buffers: list[Buffer]) -> int:
            raise RuntimeError("this leg only")

        bench.stream(bench.c).send = fail  # type: ignore[method-assign]
        memory = bytearray(b"".join(bench.data(b"%d" % n) for n in range(3 * FLUSH_PACKETS)))
        assert bench.a.received(memoryview(memory), 0, len(memory)) == len(memory)
        bench.engine.flush()
        assert (bench.a.alive, bench.c.alive) == (True, False)

    on_a_loop(test)


def test_nobody_waits_in_vain_behind_one_who_fails() -> None:
    class Fails:
        def leg_has_room(self) -> None:
            raise RuntimeError("of the waiter")

    class Told:
        told = False

        def leg_has_room(self) -> None:
            self.told = True

    def test(bench: Bench) -> None:
        told = Told()
        bench.c.out.await_room(Fails())
        bench.c.out.await_room(told)
        bench.engine.mark(bench.c.out)
        bench.engine.flush()
        assert told.told

    on_a_loop(test)


def test_who_is_told_of_room_may_send_and_make_room_elsewhere_without_end() -> None:
    """Two legs whose waiters send on the other one: once a recursion with no bottom."""

    class Sends:
        def __init__(self, here: Leg, there: Leg, times: int) -> None:
            self.here = here
            self.there = there
            self.times = times

        def leg_has_room(self) -> None:
            self.times -= 1
            if self.times:
                self.here.out.await_room(self)
                for _ in range(FLUSH_PACKETS):
                    self.there.tell(b"")
                self.here.engine.mark(self.here.out)

    def test(bench: Bench) -> None:
        ways = [Sends(bench.c, bench.a, 2000), Sends(bench.a, bench.c, 2000)]
        for way in ways:
            way.here.out.await_room(way)
            bench.engine.mark(way.here.out)
        bench.engine.flush()
        assert [way.times for way in ways] == [0, 0]

    on_a_loop(test)


def test_who_made_it_too_much_for_all_pays_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two legs that do not read: one holds nearly all that may wait in the process."""
    monkeypatch.setattr(engine_module, "RELEASE_BELOW", 100)

    def test(bench: Bench) -> None:
        splice, other = bench.another_splice()
        engine, greedy = bench.engine, bench.c
        for leg in (greedy, other):
            bench.stream(leg).room = 0
        for _ in range(2 * FLUSH_PACKETS):  # What is sealed before the socket is seen to be full.
            bench.receive(bench.data(bytes(50)) + bench.data(bytes(50), splice), iter([10**6]))
        engine.waiting_limit = engine.waiting + 2000
        bench.receive(b"".join(bench.data(bytes(500)) for _ in range(3)), iter([10**6]))
        assert engine.legs_waiting == 2
        assert not splice.failure
        # Now all is full. The modest one still gets what comes, and the greedy one is broken.
        bench.receive(bench.data(bytes(500)), iter([10**6]))
        bench.receive(bench.data(b"modest", splice), iter([10**6]))
        assert (bench.splice.failure, splice.failure) == (
            "too much waits for who does not read it", "",
        )  # fmt: skip
        assert engine.waiting < engine.waiting_limit
        for leg in (greedy, other):
            bench.stream(leg).room = None
            leg.flush()
        assert (engine.waiting, engine.legs_waiting) == (0, 0)

    on_a_loop(test)


def test_a_turn_of_the_loop_takes_only_so_many_packets() -> None:
    def test(bench: Bench) -> None:
        memory = bytearray(b"".join(bench.data(b"x") for _ in range(PACKETS_PER_TURN + 1)))
        size = len(memory) // (PACKETS_PER_TURN + 1)
        used = bench.a.received(memoryview(memory), 0, len(memory))
        assert used == PACKETS_PER_TURN * size
        assert "turn" in bench.stream(bench.a).paused
        assert bench.a.received(memoryview(memory), used, len(memory)) == len(memory)

    on_a_loop(test)


@pytest.mark.parametrize(
    "payload",
    [
        bytes([MSG_IGNORE]) + bytes(4),
        bytes([MSG_GLOBAL_REQUEST]) + bytes(5),
    ],
    ids=["for the handshake", "a request"],
)
def test_what_is_not_for_a_channel_counts_for_more(payload: bytes) -> None:
    def test(bench: Bench) -> None:
        bench.a.guest.line(f"{RELAY_VERSION}\r\n".encode())  # Without it all would be lines to it.
        memory = bytearray(b"".join(bench.seal(payload) for _ in range(PACKETS_PER_TURN)))
        used = bench.a.received(memoryview(memory), 0, len(memory))
        packet = len(memory) // PACKETS_PER_TURN
        assert used == packet * math.ceil(PACKETS_PER_TURN / FED_PACKET)
        assert bench.a.alive

    on_a_loop(test)
