"""Where a leg of ours is meant to differ from a connection of asyncssh's, and why."""

from __future__ import annotations

from typing import Final

DEVIATIONS: Final = {
    "test_connection.py::_TestConnection::test_gcm_verify_error": (
        "It breaks asyncssh's GCM object and expects MACError; ours takes that object's place."
        " A wrong tag ends a leg with the same disconnect code."
    ),
    "test_connection.py::_TestConnection::test_mac_verify_error": "The same with a MAC.",
    "test_connection.py::_TestConnection::test_message_before_kexinit_strict_kex": (
        "It has our side send an IGNORE, and a guest's never leave; what a strict key exchange"
        " forbids is sent to ours by tests/attacks/test_hostile_greeting.py."
    ),
    "test_connection.py::_TestConnection::test_message_during_kex_strict_kex": "The same.",
}
"""By test. One that passes, or is not there any more, is to be taken off the list."""
