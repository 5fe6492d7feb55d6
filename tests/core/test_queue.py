"""relay/core/queue.py: first in, first out within a key; in turn between keys."""

from __future__ import annotations

import weakref
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.queue import QUANTUM, FairQueue

KIB = 1024
BULK = 128 * KIB


@pytest.fixture
def queue() -> FairQueue[str]:
    return FairQueue()


def push(queue: FairQueue[str], key: str, *sizes: int) -> None:
    for size in sizes:
        queue.push(key, bytearray(size))


def leave(queue: FairQueue[str], count: int) -> list[tuple[str, int]]:
    """The next `count` packets: their keys and sizes."""
    return [(key, len(packet)) for key, packet in (queue.pop() for _ in range(count))]


def test_an_empty_queue(queue: FairQueue[str]) -> None:
    assert not queue
    assert queue.waiting == 0
    assert not queue.holds("a")
    assert queue.drop("a") == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_first_in_first_out(queue: FairQueue[str]) -> None:
    push(queue, "a", 1, 2, 3)
    assert leave(queue, 3) == [("a", 1), ("a", 2), ("a", 3)]
    assert not queue


def test_small_streams_take_turns_of_a_quantum(queue: FairQueue[str]) -> None:
    half = QUANTUM // 2
    push(queue, "a", half, half, half)
    push(queue, "b", half, half, half)
    assert [key for key, _ in leave(queue, 6)] == ["a", "a", "b", "b", "a", "b"]


def test_what_a_large_packet_could_not_use_is_kept(queue: FairQueue[str]) -> None:
    """A packet of three quanta leaves in its third turn, not never and not in its first."""
    push(queue, "bulk", 3 * QUANTUM)
    push(queue, "usual", *[QUANTUM] * 4)
    expected = ["usual", "usual", "bulk", "usual", "usual"]
    assert [key for key, _ in leave(queue, 5)] == expected


def test_a_token_waits_for_one_packet_of_each_bulk_stream(queue: FairQueue[str]) -> None:
    for key in "abc":
        push(queue, key, *[BULK] * 10)
    leave(queue, 5)
    push(queue, "token", 100)
    before = leave(queue, 4)
    assert ("token", 100) in before
    assert max(Counter(key for key, _ in before).values()) == 1


def test_a_newcomer_has_its_turn_in_the_round_under_way(queue: FairQueue[str]) -> None:
    push(queue, "a", *[QUANTUM // 2] * 8)
    leave(queue, 1)
    push(queue, "token", 100)
    assert [key for key, _ in leave(queue, 2)] == ["a", "token"]


def test_bulk_and_tokens_get_the_same_share_of_bytes(queue: FairQueue[str]) -> None:
    push(queue, "bulk", *[BULK] * 40)
    push(queue, "tokens", *[100] * 40_000)
    sent = Counter[str]()
    while sent.total() < 4 * KIB * KIB:
        key, packet = queue.pop()
        sent[key] += len(packet)
    assert abs(sent["bulk"] - sent["tokens"]) <= QUANTUM + BULK


def test_nothing_is_saved_up_by_a_key_that_had_nothing_to_send(queue: FairQueue[str]) -> None:
    for _ in range(100):
        push(queue, "a", 1)
        leave(queue, 1)
    push(queue, "a", *[QUANTUM] * 2)
    push(queue, "b", QUANTUM)
    assert [key for key, _ in leave(queue, 3)] == ["a", "b", "a"]


def test_drop(queue: FairQueue[str]) -> None:
    push(queue, "a", 1, 2)
    push(queue, "b", 4)
    assert queue.drop("a") == 3
    assert queue.waiting == 4
    assert (queue.holds("a"), queue.holds("b")) == (False, True)
    assert leave(queue, 1) == [("b", 4)]
    assert not queue


def test_a_key_with_nothing_waiting_costs_nothing() -> None:
    class Key:
        pass

    queue: FairQueue[Key] = FairQueue()
    popped, dropped = Key(), Key()
    keys = [weakref.ref(popped), weakref.ref(dropped)]
    queue.push(popped, bytearray(1))
    queue.push(dropped, bytearray(1))
    queue.pop()
    queue.drop(dropped)
    del popped, dropped
    assert [key() for key in keys] == [None, None]


KEYS = st.sampled_from("abcd")
SIZES = st.integers(1, 3 * QUANTUM) | st.integers(QUANTUM // 4, QUANTUM) | st.integers(1, 200)
PUSH = st.tuples(st.just("push"), KEYS, SIZES)
POP = st.tuples(st.just("pop"), KEYS, SIZES)
DROP = st.tuples(st.just("drop"), KEYS, SIZES)


@given(st.lists(PUSH | PUSH | POP | DROP))
def test_all_that_was_pushed_comes_out_in_the_order_of_its_key(
    steps: list[tuple[str, str, int]],
) -> None:
    queue: FairQueue[str] = FairQueue()
    model: dict[str, deque[bytearray]] = {key: deque() for key in "abcd"}

    def pop() -> None:
        key, packet = queue.pop()
        assert packet is model[key].popleft()

    for step, key, size in steps:
        if step == "push":
            packet = bytearray(size)
            queue.push(key, packet)
            model[key].append(packet)
        elif step == "pop" and queue:
            pop()
        elif step == "drop":
            assert queue.drop(key) == sum(map(len, model[key]))
            model[key].clear()
        assert {key: queue.holds(key) for key in model} == {k: bool(v) for k, v in model.items()}
        sizes = {key: sum(map(len, packets)) for key, packets in model.items()}
        assert {key: queue.size(key) for key in model} == sizes
        assert queue.waiting == sum(sizes.values())
    while queue:
        pop()
    assert not any(model.values())
    assert queue.waiting == 0


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(SIZES, min_size=1, max_size=4), min_size=1),
    st.lists(st.booleans(), max_size=100),
    st.integers(1, QUANTUM),
)
def test_a_small_stream_waits_for_one_quantum_and_one_packet_of_each_other(
    bulk: dict[str, list[int]], pushes: list[bool], small: int
) -> None:
    """The others always have more to send; the small stream comes when it likes."""
    queue: FairQueue[str] = FairQueue()
    overtook = Counter[str]()
    for key, sizes in bulk.items():
        push(queue, key, *sizes)
    for arrives in pushes:
        if arrives:
            if not queue.holds("small"):
                overtook.clear()
            push(queue, "small", small)
        key, packet = queue.pop()
        if key == "small":
            overtook.clear()
            continue
        queue.push(key, packet)  # Its sizes in a cycle, without end.
        overtook[key] += len(packet)
        if queue.holds("small"):
            assert overtook[key] <= QUANTUM + max(bulk[key])
