"""The limits of the relay and the reason for each."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

RECEIVE_BUFFER: Final = 512 * KIB
"""One receive from a leg. Measured: below 256 KiB the cost of the system call shows, above
1 MiB the data has left the processor's cache before it is sealed."""

SCRATCH: Final = 512 * KIB
"""What an endpoint reads from its socket before it is another one's turn."""

RELEASE_BELOW: Final = 256 * KIB
"""Bytes that wait for a leg above which nobody is told of more window to it: they leave first."""

WAITING_PER_LEG: Final = 64 * MIB
"""Bytes that may wait for one leg before the legs that feed it are read no further, which stops
everybody on those. Windows are held back long before (`RELEASE_BELOW`), so this much can
only have been under way when a leg stopped reading: sixteen full windows of ours."""

STALL_TIMEOUT: Final = 10.0
"""Seconds in which a full leg that others wait for must take `STALL_BYTES`, or it is closed: one
that has stopped reading must not stop those that go on."""

STALL_BYTES: Final = 64 * KIB
"""What a link of 50 kbit/s takes in ten seconds."""

WAITING_PER_PROCESS: Final = 256 * MIB
"""The same for all legs together: what a small machine can spare."""

OUTPUT_PER_LEG: Final = 1 * MIB
"""Sealed bytes that a leg's socket has not taken, before that leg itself is read no further: it
asks faster than it listens."""

DEFERRED_PER_LEG: Final = 4096
"""Messages that may wait for a leg's key exchange before the legs that cause them are read no
further. A leg with a thousand busy streams has a few thousand window adjustments to send."""

FLUSH_SIZE: Final = 512 * KIB
"""Sealed bytes that are gathered before they are sent: one receive's worth leaves in one send."""

ENDPOINT_WINDOW: Final = 4 * MIB
"""The window that an endpoint announces. Measured on loopback: OpenSSH's 2 MiB leaves the three
programs waiting for one another a tenth of the time."""

NESTED_WINDOW: Final = 16 * MIB
"""The window of a channel that carries a session: what comes there is used at once, so it only has
to be wider than what the streams inside may have under way."""

LOCAL_BACKLOG: Final = 128
"""Connections that may wait to be accepted on a listening socket."""

CLIENT_ALIVE_INTERVAL: Final = 15
"""Seconds of silence after which a client is asked whether it is there. Most NATs forget a
connection after minutes, the worst after 30 s."""

CLIENT_ALIVE_COUNT_MAX: Final = 3
"""Questions without an answer after which the client is given up."""

LOGIN_GRACE_TIME: Final = 30
"""Seconds to authenticate. sshd gives 120 for a person who types a password; here a key answers."""

MAX_AUTH_TRIES: Final = 6
"""Failed authentication requests on one connection, as sshd's MaxAuthTries. An ssh-agent with
more keys than that needs `-i`."""
