"""The numbers of the SSH protocol that the data path needs (RFC 4250 §4.1, §4.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MSG_DISCONNECT: Final = 1
MSG_IGNORE: Final = 2
MSG_UNIMPLEMENTED: Final = 3
MSG_KEXINIT: Final = 20
MSG_NEWKEYS: Final = 21
MSG_KEX_ECDH_INIT: Final = 30
MSG_KEX_ECDH_REPLY: Final = 31
MSG_USERAUTH_REQUEST: Final = 50
MSG_USERAUTH_LAST: Final = 79
MSG_GLOBAL_REQUEST: Final = 80
MSG_REQUEST_SUCCESS: Final = 81
MSG_REQUEST_FAILURE: Final = 82
MSG_CHANNEL_OPEN: Final = 90
MSG_CHANNEL_OPEN_CONFIRMATION: Final = 91
MSG_CHANNEL_OPEN_FAILURE: Final = 92
MSG_CHANNEL_WINDOW_ADJUST: Final = 93
MSG_CHANNEL_DATA: Final = 94
MSG_CHANNEL_EXTENDED_DATA: Final = 95
MSG_CHANNEL_EOF: Final = 96
MSG_CHANNEL_CLOSE: Final = 97
MSG_CHANNEL_REQUEST: Final = 98
MSG_CHANNEL_SUCCESS: Final = 99
MSG_CHANNEL_FAILURE: Final = 100

DISCONNECT_PROTOCOL_ERROR: Final = 2
DISCONNECT_MAC_ERROR: Final = 5
"""Reasons of MSG_DISCONNECT (RFC 4253 §11.1)."""

DISCONNECT_REPLACED: Final = 0xFE000001
"""Of the reasons of MSG_DISCONNECT that are for private use (RFC 4250 §4.2.2): a newer leg with
the same key has taken over what this one published."""

PRIVATE: Final = b"@ssh-relay.alt"
"""How our own names end (RFC 4250 §4.6.1; RFC 9476 reserves .alt for names like this)."""

AGENT_STARTED: Final = b"agent-started" + PRIVATE
"""A global request without reply from an agent to B, before its first `tcpip-forward`: how long the
program has run, in milliseconds (uint64; an age, since two machines' clocks may differ), and a name
that it made up when it started (string)."""

SERVICE_TAKEN: Final = b"service-taken" + PRIVATE
"""A global request without reply from B to an agent: another program with the same key has taken
over this service (its address and port, as in `tcpip-forward`)."""

SERVICE_REFUSED: Final = b"service-refused" + PRIVATE
"""A global request without reply from B to an agent, right before the REQUEST_FAILURE of its
`tcpip-forward`, which has no room for a reason (RFC 4254 §4), or before SERVICE_TAKEN: why, as a
word for programs and a line for a person (two strings)."""

SERVICE_STATE: Final = b"service-state" + PRIVATE
"""A global request with reply from a client to B: what would become of its `direct-tcpip` to this
host and port (string, uint32). The answer: the code of the CHANNEL_OPEN_FAILURE that it would get,
0 for none (uint32), why (string), and a service of nearly this name that the client may open, or
nothing (string). Any other server refuses it, as it does whatever it does not know."""

ASK_AGAIN: Final = b"ask-again" + PRIVATE
"""A global request without reply from B to an agent: what it was refused may be granted now."""

SERVICE_DOWN: Final = b"service-down" + PRIVATE
"""A global request without reply from an agent to B, before it withdraws a service that it has
published (its address and port, as in `tcpip-forward`): what is behind it does not answer, for how
long that has been so, in milliseconds (uint64), and why (string)."""

RESUME: Final = b"resume" + PRIVATE
"""A global request with reply from A to an agent's endpoint: may the session come back on another
channel when this one is lost? (`wire/resume.py` has its fields and the answer's.)"""

RESUME_RECEIVED: Final = b"resume-received" + PRIVATE
"""A global request without reply, both ways in a session that may: how many bytes of its stream
have come so far (uint64), and whether the other side is to say the same at once (boolean)."""

RELAY_VERSION: Final = "SSH-2.0-relay"
"""The version line of B, and of those who dial it: these understand the requests above."""

ENDPOINT_VERSION: Final = "SSH-2.0-relay_endpoint"
"""That of an agent's endpoint, so that A can tell the end of the way from a relay on it. (RFC 4253
§4.2: a software version has no minus sign.)"""

VERSION_START: Final = "SSH-2.0-"
"""What every version line begins with; asyncssh wants to hear the rest."""

MAX_UINT32: Final = 2**32 - 1


PRIVATE_FAILURES: Final = 0xFE000000
"""The first of the codes for private use in CHANNEL_OPEN_FAILURE (RFC 4254 §5.1)."""


class OpenFailure(IntEnum):
    """Why a channel was not opened (RFC 4254 §5.1). Of the codes for private use B tells three to
    clients of ours, whose version line says so; others get CONNECT_FAILED in their place."""

    ADMINISTRATIVELY_PROHIBITED = 1
    CONNECT_FAILED = 2
    UNKNOWN_CHANNEL_TYPE = 3
    RESOURCE_SHORTAGE = 4
    NOT_PUBLISHED = 0xFE000001
    """The service may be there a moment later, when its agent is."""
    STOPPING = 0xFE000002
    """B is stopping, and may be there again a moment later."""
    UNKNOWN_SERVICE = 0xFE000003
    """Nothing of this name is published, nor was it lately, and B has been there for long enough to
    say so: it may well be a wrong name."""
