"""Streamlined NTRU Prime: its parts. That the whole is right is what ssh and plink say, in
`tests/programs/test_peers.py`: they take the secret out again."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire import sntrup
from relay.wire.sntrup import CIPHERTEXT_SIZE, PUBLIC_KEY_SIZE, SECRET_SIZE, WEIGHT, P, Q

LIMITS = st.lists(st.integers(1, 16383), min_size=1, max_size=20)


def test_an_encapsulation_leaves_turns_to_others() -> None:
    key = sntrup.encode([secrets.randbelow(Q) for _ in range(P)], [Q] * P)
    steps = sntrup.encapsulation(key)
    for _ in range(3):
        next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    secret, ciphertext = end.value.value
    assert (len(secret), len(ciphertext)) == (SECRET_SIZE, CIPHERTEXT_SIZE)


@given(st.data())
def test_what_is_encoded_is_decoded(data: st.DataObject) -> None:
    limits = data.draw(LIMITS)
    numbers = [data.draw(st.integers(0, limit - 1)) for limit in limits]
    assert sntrup.decode(sntrup.encode(numbers, limits), limits) == numbers


@given(st.binary(min_size=PUBLIC_KEY_SIZE, max_size=PUBLIC_KEY_SIZE))
def test_any_bytes_are_some_key(data: bytes) -> None:
    numbers = sntrup.decode(data, [Q] * P)
    assert len(numbers) == P
    assert all(0 <= number < Q for number in numbers)


def test_a_short_polynomial_is_short() -> None:
    short = sntrup.short_polynomial()
    assert sorted(map(abs, short)) == [0] * (P - WEIGHT) + [1] * WEIGHT
    assert len(sntrup.encode_short(short)) == (P + 3) // 4


def test_the_product_is_as_in_school() -> None:
    key = [secrets.randbelow(Q) - Q // 2 for _ in range(P)]
    short = sntrup.short_polynomial()
    long = [0] * (2 * P)
    for i, number in enumerate(short):
        if number:
            for j, factor in enumerate(key):
                long[i + j] += number * factor
    for i in range(2 * P - 1, P - 1, -1):
        long[i - P] += long[i]
        long[i - P + 1] += long[i]
    expected = [(number + Q // 2) % Q - Q // 2 for number in long[:P]]
    assert sntrup.multiply(key, short) == expected


def test_each_secret_is_new() -> None:
    key = sntrup.encode(list(range(P)), [Q] * P)
    (one, first), (other, second) = sntrup.encapsulate(key), sntrup.encapsulate(key)
    assert len(one) == SECRET_SIZE
    assert len(first) == CIPHERTEXT_SIZE
    assert one != other
    assert first != second


@pytest.mark.parametrize("size", [0, PUBLIC_KEY_SIZE - 1, PUBLIC_KEY_SIZE + 1])
def test_what_is_no_key(size: int) -> None:
    with pytest.raises(ValueError, match="public key"):
        sntrup.encapsulate(bytes(size))
