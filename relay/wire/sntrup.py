"""Streamlined NTRU Prime 761 (draft-josefsson-ntruprime-streamlined), the half that a server needs.

OpenSSH 8.5 to 9.8 and PuTTY 0.78 know no other post-quantum key exchange than
`sntrup761x25519-sha512`, and `cryptography` does not have it. To encapsulate takes one product of
polynomials and no inverse, and a product is one of large integers (Kronecker's substitution): see
`SERVER_KEX` for what it costs. Not in constant time, so what it hides is used once, and X25519
stands beside it: whoever could measure the one still has to break the other.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Generator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, NamedTuple

P: Final = 761
Q: Final = 4591
WEIGHT: Final = 286
"""Coefficients of a short polynomial that are not zero."""

PUBLIC_KEY_SIZE: Final = 1158
CIPHERTEXT_SIZE: Final = 1039
SECRET_SIZE: Final = 32

_SHIFT: Final = (Q - 1) // 2
_ROUNDED: Final = (Q + 2) // 3

_LANE: Final = 32
"""Bits for a coefficient in a large integer, as `struct` packs them."""

_BIAS: Final = 456 * Q
"""Added to each coefficient of a product, so that none is negative: as a multiple of Q it changes
nothing. It is more than WEIGHT * Q, and three of it with as much again fit in a lane."""

_LIMIT: Final = 16384


def encapsulate(public_key: bytes) -> tuple[bytes, bytes]:
    """A new secret, and the ciphertext that only the key's owner can take it from.

    Raises ValueError if that is no public key.
    """
    steps = encapsulation(public_key)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            secret, ciphertext = end.value
            return secret, ciphertext


def encapsulation(public_key: bytes) -> Generator[None, None, tuple[bytes, bytes]]:
    """`encapsulate` in four steps of about the same length, for who has others to serve meanwhile.

    Raises ValueError if that is no public key.
    """
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise ValueError(f"a public key of {len(public_key)} bytes")
    short = short_polynomial()
    yield
    key = [number - _SHIFT for number in decode(public_key, _KEY_LIMITS)]
    yield
    rounded = [(number + _SHIFT + 1) // 3 for number in multiply(key, short)]
    yield
    hidden = _hash(3, encode_short(short))
    confirmation = _hash(2, hidden + _hash(4, public_key))
    ciphertext = encode(rounded, _ROUNDED_LIMITS) + confirmation
    return _hash(1, hidden + ciphertext), ciphertext


def short_polynomial() -> list[int]:
    """`WEIGHT` coefficients of 1 or -1 at random places, and zeros: random words carry them in
    their two lowest bits, and are sorted by the others."""
    words = struct.unpack(f"<{P}I", secrets.token_bytes(4 * P))
    marked = [word & ~1 for word in words[:WEIGHT]]
    marked += [word & ~3 | 1 for word in words[WEIGHT:]]
    marked.sort()
    return [(word & 3) - 1 for word in marked]


def multiply(key: Sequence[int], short: Sequence[int]) -> list[int]:
    """The product modulo x^P - x - 1 and Q, from -(Q-1)/2 to (Q-1)/2."""
    signed = _packed([number + 1 for number in short]) - _ONES
    product = _packed([number % Q for number in key]) * signed + _BIASES
    high, low = product >> _LANE * P, product & _LOW_LANES
    # x^i = x^(i-P+1) + x^(i-P), for all i from P on at once.
    reduced = low + high + (high << _LANE)
    lanes = struct.unpack(f"<{P}I", reduced.to_bytes(4 * P, "little"))
    return [(number + _SHIFT) % Q - _SHIFT for number in lanes]


def _packed(numbers: Sequence[int]) -> int:
    return int.from_bytes(struct.pack(f"<{len(numbers)}I", *numbers), "little")


_ONES: Final = _packed([1] * P)
_BIASES: Final = _packed([_BIAS] * (2 * P - 1))
_LOW_LANES: Final = (1 << _LANE * P) - 1


def encode_short(short: Sequence[int]) -> bytes:
    """Two bits for each coefficient."""
    bits = [number + 1 for number in short] + [0] * (-len(short) % 4)
    quarters = zip(bits[::4], bits[1::4], bits[2::4], bits[3::4], strict=True)
    return bytes([a | b << 2 | c << 4 | d << 6 for a, b, c, d in quarters])


class _Level(NamedTuple):
    """How the numbers of one length become half as many: each pair becomes one number, whose low
    bytes go out. For each pair:"""

    limits: tuple[int, ...]
    """of its first number;"""
    others: tuple[int, ...]
    """of its second;"""
    sizes: tuple[int, ...]
    """of what goes out;"""
    places: tuple[int, ...]
    """and where that begins, with the end of all as the last."""


@lru_cache(maxsize=4)
def _levels(limits: tuple[int, ...]) -> tuple[list[_Level], int]:
    """The levels for numbers up to (not including) `limits`, and the limit of the number that is
    left."""
    levels = []
    while len(limits) > 1:
        sizes, halved = [], []
        for one, other in zip(limits[::2], limits[1::2], strict=False):
            limit, size = one * other, 0
            while limit >= _LIMIT:
                limit, size = (limit + 0xFF) >> 8, size + 1
            sizes.append(size)
            halved.append(limit)
        places = tuple(accumulate(sizes, initial=0))
        levels.append(_Level(limits[: len(limits) & ~1 : 2], limits[1::2], tuple(sizes), places))
        limits = (*halved, *limits[len(limits) & ~1 :])
    return levels, limits[0]


def encode(numbers: Sequence[int], limits: Sequence[int]) -> bytes:
    """Numbers from 0 up to (not including) their limits, in little more than their entropy."""
    levels, limit = _levels(tuple(limits))
    out = bytearray()
    for level in levels:
        left = numbers[len(numbers) & ~1 :]
        pairs = zip(numbers[::2], numbers[1::2], level.limits, strict=False)
        joined = [one + other * factor for one, other, factor in pairs]
        for number, size in zip(joined, level.sizes, strict=True):
            out += (number & (1 << 8 * size) - 1).to_bytes(size, "little")
        numbers = [n >> 8 * size for n, size in zip(joined, level.sizes, strict=True)] + [*left]
    number = numbers[0]
    while limit > 1:
        out.append(number & 0xFF)
        number, limit = number >> 8, (limit + 0xFF) >> 8
    return bytes(out)


def decode(data: bytes, limits: Sequence[int]) -> list[int]:
    """The numbers that `encode` was given. Any bytes are some numbers within the limits."""
    levels, limit = _levels(tuple(limits))
    starts = [0, *accumulate(level.places[-1] for level in levels)]
    numbers = [int.from_bytes(data[starts[-1] :], "little") % limit]
    for level, start in zip(reversed(levels), reversed(starts[:-1]), strict=True):
        pieces = zip(level.places, level.places[1:], strict=False)
        lows = [int.from_bytes(data[start + i : start + j], "little") for i, j in pieces]
        joined = [
            low + (high << 8 * size)
            for low, high, size in zip(lows, numbers, level.sizes, strict=False)
        ]
        left = numbers[len(joined) :]
        numbers = [0] * (2 * len(joined))
        numbers[::2] = [n % one for n, one in zip(joined, level.limits, strict=True)]
        numbers[1::2] = [
            n // one % other
            for n, one, other in zip(joined, level.limits, level.others, strict=True)
        ]
        numbers += left
    return numbers


_KEY_LIMITS: Final = (Q,) * P
_ROUNDED_LIMITS: Final = (_ROUNDED,) * P


def _hash(prefix: int, data: bytes) -> bytes:
    return hashlib.sha512(bytes((prefix,)) + data).digest()[:32]
