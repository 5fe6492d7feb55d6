"""What a leg has sealed, given to streams that take all, a part, or come back with more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.output import Output
from relay.io.stream import MAX_IOVECS, Buffer


class Sink:
    """Takes as many bytes as each entry of `takes` says, and then everything."""

    def __init__(self, *takes: int) -> None:
        self._takes = list(takes)
        self.taken = b""
        self.pieces: list[int] = []

    def send(self, buffers: list[Buffer]) -> int:
        self.pieces.append(len(buffers))
        data = b"".join(buffers[:MAX_IOVECS])
        size = min(self._takes.pop(0), len(data)) if self._takes else len(data)
        self.taken += data[:size]
        return size


def test_neighbours_leave_as_one_piece() -> None:
    memory = memoryview(b"onetwothree--four")
    output, sink = Output(), Sink()
    output.add(memory, 0, 3)
    output.add(memory, 3, 6)
    output.add(memory, 6, 11)
    output.add(memory, 13, 17)
    assert output.size == 15
    assert output.send(sink) == 15
    assert (sink.taken, sink.pieces) == (b"onetwothreefour", [2])


def test_the_same_place_in_other_memory_is_no_neighbour() -> None:
    output, sink = Output(), Sink()
    output.add(memoryview(b"one"), 0, 3)
    output.add(memoryview(b"xxxtwo"), 3, 6)
    output.append(b"three")
    output.add(memoryview(b"xxxxxxfour"), 6, 10)
    output.send(sink)
    assert sink.taken == b"onetwothreefour"


def test_what_is_not_taken_is_in_memory_of_its_own() -> None:
    buffer = bytearray(b"abcdefgh")
    output, sink = Output(), Sink(3)
    output.add(memoryview(buffer), 0, 4)
    output.append(b"--")
    output.add(memoryview(buffer), 4, 8)
    assert output.send(sink) == 3
    assert output.size == 7
    buffer[:] = bytes(8)
    assert output.send(sink) == 7
    assert sink.taken == b"abcd--efgh"


def test_more_than_one_call_takes() -> None:
    output, sink = Output(), Sink()
    for number in range(2 * MAX_IOVECS + 1):
        output.append(bytes([number % 256]))
    assert output.send(sink) == 2 * MAX_IOVECS + 1
    assert sink.taken == bytes(number % 256 for number in range(2 * MAX_IOVECS + 1))
    assert len(sink.pieces) == 3


def test_what_is_added_while_it_is_sent_goes_behind() -> None:
    buffer = bytearray(b"late")
    output = Output()

    class Returning(Sink):
        def send(self, buffers: list[Buffer]) -> int:
            if not self.taken:
                output.add(memoryview(buffer), 0, 4)
            return super().send(buffers)

    sink = Returning(2)
    output.append(b"early")
    assert output.send(sink) == 2
    buffer[:] = b"XXXX"
    assert output.send(sink) == 7
    assert sink.taken == b"earlylate"


@given(
    pieces=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 20)), max_size=20),
    takes=st.lists(st.integers(0, 30), max_size=20),
)
def test_every_byte_in_its_order(pieces: list[tuple[bool, int, int]], takes: list[int]) -> None:
    memory = bytearray(range(60))
    view, output, sink, expected = memoryview(memory), Output(), Sink(*takes), b""
    for own, start, size in pieces:
        data = bytes(range(start, start + size))
        if own:
            output.append(data)
        else:
            output.add(view, start, start + size)
        expected += data
        assert output.size == len(expected) - len(sink.taken)
        if start % 3 == 0:
            output.send(sink)
            # The batch is over: its memory is used again.
            memory[:] = bytes(60)
            memory[:] = bytes(range(60))
    while output.size:
        output.send(sink)
    assert sink.taken == expected
