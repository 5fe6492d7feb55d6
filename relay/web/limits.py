"""Limits of `--http`. At a port, unlike at the control socket, anybody on this machine may be the
client, or with a token file strangers from anywhere."""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 64
"""Served at once: a scraper, a probe, and the six that a browser opens, of ten people. For one more
the eldest goes that has not asked anything yet."""

REQUEST_TIMEOUT: Final = 10.0
"""Seconds in which a request must be there as a whole, counted from when the last one was
answered."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for which a client may have left something unread in our buffer."""

LOOKED_AFTER: Final = 1.0
"""Seconds between two looks at who is over these."""

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request line with its headers: browsers send 1 KiB, and cookies of other programs at
this host's name."""

MAX_BODY: Final = 4 * 1024
"""Bytes of a body: the name of what is to be ended is shorter than 1 KiB."""

LEAST_TOKEN: Final = 16
"""Characters of a token. There is no count of guesses: it must not be one that can be guessed."""

SUBSCRIBERS: Final = 16
"""Pages that are told of changes as they happen; to one more it is said that there are too many."""

WAITING_EVENTS: Final = 256
"""That one of them has not taken yet. It is dropped for more, and asks again by itself."""

EVENTS_PER_SECOND: Final = 100
"""That are told; the others are counted. A person reads a few, and to write them costs each stream
that B opens."""

TICK: Final = 1.0
"""Seconds from one message with the totals to the next."""
