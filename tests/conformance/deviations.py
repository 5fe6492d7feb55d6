"""Where a leg of ours is meant to differ from a connection of asyncssh's, and why."""

from __future__ import annotations

from typing import Final

DEVIATIONS: Final = {
    "test_connection.py::_TestConnection::test_gcm_verify_error": (
        "It breaks asyncssh's GCM object and expects MACError; ours takes that object's place."
        " A wrong tag ends a leg with the same disconnect code."
    ),
    "test_connection.py::_TestConnection::test_internal_error": (
        "It breaks the connection before the login and expects the error itself; with us whatever"
        " fails by then is the peer's doing, a ProtocolViolation that names the error."
    ),
}
"""By test. One that passes, or is not there any more, is to be taken off the list."""
