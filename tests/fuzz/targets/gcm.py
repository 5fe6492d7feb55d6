"""`GcmCipher.open`: whatever was not sealed with the key, or was changed since, does not open.

The first five bytes say what is changed and how; the rest is the payload, and a forgery too.
"""

from __future__ import annotations

from relay.wire.gcm import GcmCipher, TagMismatch
from relay.wire.packet import OVERHEAD, frame, read_length

KEY, IV = bytes(range(32)), bytes(range(12))


def one_input(data: bytes) -> None:
    where, change, payload = int.from_bytes(data[:4], "big"), data[4:5], data[5:]
    if len(payload) >= OVERHEAD:
        assert not opens(bytearray(payload), len(payload) - OVERHEAD)

    packet = frame(payload)
    (length,) = read_length(packet)
    sealed = bytearray(packet)
    GcmCipher(KEY, IV).seal(memoryview(sealed), 0, length)
    changed = bytearray(sealed)
    assert opens(sealed, length)
    assert sealed[: 4 + length] == packet[: 4 + length]
    if any(change):
        changed[where % len(changed)] ^= change[0]
        assert not opens(changed, length)


def opens(packet: bytearray, length: int) -> bool:
    try:
        GcmCipher(KEY, IV).open(memoryview(packet), 0, length)
    except TagMismatch:
        return False
    return True
