"""The errors of the relay, in one small tree.

Two branches, told apart by who said no, as a reader of a log must know it:

* `LocalError`: this side did (wrong usage, a bad file, a port or a service's name that is taken);
* `PeerError`: the other side did (it broke the protocol, refused, or vanished).

A command line turns each into one line on standard error and `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar, Final

INTERNAL: Final = "relay.internal"
"""The logger of faults of ours that end one leg and not the program, with their trace; at "debug"
what a peer made us stumble over."""


class RelayError(Exception):
    """Base of everything that the relay raises on purpose; its text is one line for a person."""

    exit_code: ClassVar[int] = 1
    passing: ClassVar[bool] = False
    """It may well be over when the same thing is tried again, without anyone's doing."""


class LocalError(RelayError):
    """Something cannot be had or done on this side. A program that begins ends with it; one that
    runs refuses what was asked for, and goes on."""


class UsageError(LocalError):
    """The command line is wrong; the text says what would be right."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """A line of a configuration file is wrong; the text begins with `path:line: `."""


class FileError(LocalError):
    """A file of ours cannot be read, written or understood.

    The text begins with the file's path and, where there is one, the line: `path:12: …`.
    """

    def __init__(self, path: object, problem: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}")


class AddressError(LocalError):
    """A local address cannot be listened on."""


class PeerError(RelayError):
    """The other side did it."""


class ProtocolViolation(PeerError):
    """The peer sent what the protocol forbids. Its leg ends; no other leg is touched."""

    passing: ClassVar[bool] = True


class Refused(PeerError):
    """The peer understood and said no (authentication, a forward, a channel)."""


class NotPublished(PeerError):
    """Nobody publishes the service. Its agent may be there a moment later."""

    passing: ClassVar[bool] = True


class UnknownService(NotPublished):
    """Nor was it lately: it may well be a wrong name."""

    passing: ClassVar[bool] = False


class ServiceUnreachable(PeerError):
    """Who publishes the service could not connect to it, or has no room for one more stream."""

    passing: ClassVar[bool] = True


class HostKeyRefused(PeerError):
    """The peer's host key is unknown, changed or revoked: nothing was sent to it."""


class Replaced(PeerError):
    """Another program with the same key has taken over what this one held, and did not answer for.
    To come back takes nothing away from it: that depends on which of the two is the younger."""

    passing: ClassVar[bool] = True


class LegLost(PeerError):
    """The connection ended, or never came to be."""

    passing: ClassVar[bool] = True
