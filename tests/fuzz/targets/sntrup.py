"""`encapsulate` and `decode`: any bytes of a key's size are a key, others are none."""

from __future__ import annotations

from relay.wire.sntrup import (
    CIPHERTEXT_SIZE,
    PUBLIC_KEY_SIZE,
    SECRET_SIZE,
    P,
    Q,
    decode,
    encapsulate,
    encode,
)


def one_input(data: bytes) -> None:
    try:
        encapsulate(data)
    except ValueError:
        assert len(data) != PUBLIC_KEY_SIZE

    key = data[:PUBLIC_KEY_SIZE].ljust(PUBLIC_KEY_SIZE, b"\0")
    numbers = decode(key, [Q] * P)
    assert len(numbers) == P
    assert all(0 <= number < Q for number in numbers)
    encoded = encode(numbers, [Q] * P)
    assert len(encoded) == PUBLIC_KEY_SIZE
    assert decode(encoded, [Q] * P) == numbers
    secret, ciphertext = encapsulate(key)
    assert len(secret) == SECRET_SIZE
    assert len(ciphertext) == CIPHERTEXT_SIZE
