"""relay/wire/numbers.py: the numbers are those that asyncssh speaks."""

from __future__ import annotations

from asyncssh import constants, kex_dh

from relay.wire import numbers


def test_message_numbers() -> None:
    ours = {name: value for name, value in vars(numbers).items() if name.startswith("MSG_")}
    assert ours
    for name, value in ours.items():
        assert value == getattr(kex_dh if "_ECDH_" in name else constants, name), name


def test_open_failures() -> None:
    standard = [one for one in numbers.OpenFailure if one < numbers.PRIVATE_FAILURES]
    assert standard
    for failure in standard:
        assert failure == getattr(constants, f"OPEN_{failure.name}")
