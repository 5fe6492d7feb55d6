"""Limits of the control socket. Whoever can connect is this user or root, so they are there for
programs that err, not for strangers."""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 32
"""Served at once: what the people and scripts of one user need. Others wait in the backlog, and
the program keeps its descriptors for streams."""

REQUEST_TIMEOUT: Final = 10.0
"""Seconds in which a request must be there as a whole, counted from when the last one was
answered: who holds a connection for nothing does not keep others out for longer."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds in which an answer must have been taken: it fits into the socket's buffer."""

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request line with its headers: four times what any client of ours sends."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a body: a forward is shorter than 1 KiB."""

SERVER_WAIT: Final = 15.0
"""Seconds that a new forward waits for the server's answer, be it away or silent: as long as a new
connection does (`--wait`)."""

PAGE_ROWS: Final = 5000
"""Rows of a list that one answer has at most, and if nothing is said: 1.5 MB, which are made in a
third of a second between streams. All rows are passed for each page: ten thousand are two."""

SEARCH_LENGTH: Final = 200
"""Characters of a text that is searched for: longer than any name or key."""

AFTER_LENGTH: Final = 4096
"""Characters of `after`: a name of 255 bytes in JSON has fewer."""
