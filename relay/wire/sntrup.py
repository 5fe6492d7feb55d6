"""Streamlined NTRU Prime 761 (draft-josefsson-ntruprime-streamlined), the half that a server needs.

OpenSSH 8.5 to 9.8 and PuTTY 0.78 know no other post-quantum key exchange than
`sntrup761x25519-sha512`, and `cryptography` does not have it. To encapsulate takes one product of
polynomials and no inverse, and a product is Python's of large integers (Kronecker's substitution):
about two milliseconds. Not in constant time, so what it hides is used once, and X25519 stands
beside it: whoever could measure the one still has to break the other.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

P: Final = 761
Q: Final = 4591
WEIGHT: Final = 286
"""Coefficients of a short polynomial that are not zero."""

PUBLIC_KEY_SIZE: Final = 1158
CIPHERTEXT_SIZE: Final = 1039
SECRET_SIZE: Final = 32

_SHIFT: Final = (Q - 1) // 2
_ROUNDED: Final = (Q + 2) // 3
_LANE: Final = 4
"""Bytes for a coefficient in a product: at most WEIGHT * Q, which is less than 2^21."""

_LIMIT: Final = 16384


def encapsulate(public_key: bytes) -> tuple[bytes, bytes]:
    """A new secret, and the ciphertext that only the key's owner can take it from.

    Raises ValueError if that is no public key.
    """
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise ValueError(f"a public key of {len(public_key)} bytes")
    short = short_polynomial()
    key = [number - _SHIFT for number in decode(public_key, [Q] * P)]
    rounded = [(number + _SHIFT + 1) // 3 for number in multiply(key, short)]
    hidden = _hash(3, encode_short(short))
    confirmation = _hash(2, hidden + _hash(4, public_key))
    ciphertext = encode(rounded, [_ROUNDED] * P) + confirmation
    return _hash(1, hidden + ciphertext), ciphertext


def short_polynomial() -> list[int]:
    """`WEIGHT` coefficients of 1 or -1 at random places, and zeros."""
    values = [1 - 2 * secrets.randbits(1) for _ in range(WEIGHT)] + [0] * (P - WEIGHT)
    secrets.SystemRandom().shuffle(values)
    return values


def multiply(key: Sequence[int], short: Sequence[int]) -> list[int]:
    """The product modulo x^P - x - 1 and Q, from -(Q-1)/2 to (Q-1)/2."""
    factor = _packed([number % Q for number in key])
    plus = _unpacked(factor * _packed([int(number == 1) for number in short]))
    minus = _unpacked(factor * _packed([int(number == -1) for number in short]))
    product = [more - less for more, less in zip(plus, minus, strict=True)]
    for i in range(2 * P - 2, P - 1, -1):  # x^i = x^(i-P+1) + x^(i-P)
        product[i - P] += product[i]
        product[i - P + 1] += product[i]
    return [(number + _SHIFT) % Q - _SHIFT for number in product[:P]]


def _packed(numbers: Sequence[int]) -> int:
    return int.from_bytes(b"".join(n.to_bytes(_LANE, "little") for n in numbers), "little")


def _unpacked(number: int) -> list[int]:
    data = number.to_bytes(2 * P * _LANE, "little")
    return [int.from_bytes(data[i : i + _LANE], "little") for i in range(0, len(data), _LANE)]


def encode_short(short: Sequence[int]) -> bytes:
    """Two bits for each coefficient."""
    padded = [*short, *[-1] * (-len(short) % 4)]
    return bytes(
        sum((padded[i + j] + 1) << 2 * j for j in range(4)) for i in range(0, len(padded), 4)
    )


def encode(numbers: Sequence[int], limits: Sequence[int]) -> bytes:
    """Numbers from 0 up to (not including) their limits, in little more than their entropy: each
    pair becomes one number, whose low bytes go out, until one is left."""
    out = bytearray()
    while len(numbers) > 1:
        next_numbers, next_limits = [], []
        for i in range(0, len(numbers) - 1, 2):
            number = numbers[i] + numbers[i + 1] * limits[i]
            limit = limits[i] * limits[i + 1]
            while limit >= _LIMIT:
                out.append(number & 0xFF)
                number, limit = number >> 8, (limit + 0xFF) >> 8
            next_numbers.append(number)
            next_limits.append(limit)
        odd = len(numbers) % 2
        numbers = next_numbers + list(numbers[len(numbers) - odd :])
        limits = next_limits + list(limits[len(limits) - odd :])
    number, limit = numbers[0], limits[0]
    while limit > 1:
        out.append(number & 0xFF)
        number, limit = number >> 8, (limit + 0xFF) >> 8
    return bytes(out)


def decode(data: bytes, limits: Sequence[int]) -> list[int]:
    """The numbers that `encode` was given. Any bytes are some numbers within the limits."""
    if len(limits) == 1:
        return [int.from_bytes(data, "little") % limits[0]]
    low, next_limits = [], []
    at = 0
    for i in range(0, len(limits) - 1, 2):
        limit, size = limits[i] * limits[i + 1], 0
        while limit >= _LIMIT:
            limit, size = (limit + 0xFF) >> 8, size + 1
        low.append((int.from_bytes(data[at : at + size], "little"), 8 * size))
        next_limits.append(limit)
        at += size
    odd = len(limits) % 2
    high = decode(data[at:], next_limits + list(limits[len(limits) - odd :]))
    numbers = []
    for i, (bottom, bits) in enumerate(low):
        number = bottom + (high[i] << bits)
        numbers.append(number % limits[2 * i])
        numbers.append(number // limits[2 * i] % limits[2 * i + 1])
    return numbers + high[len(low) :]


def _hash(prefix: int, data: bytes) -> bytes:
    return hashlib.sha512(bytes((prefix,)) + data).digest()[:32]
