"""Two programs with one key that want the same service: which of them has it.

It is the younger one: whoever starts a program anew means it to serve. So an agent says how long it
has run, and a name that it made up when it started (a stock ssh says neither, and is as old as its
connection). A connection that is lost and made anew changes neither: an agent that comes back takes
nothing from a younger one.

1. The same program: its older connection is dead, though B may not have noticed. It is closed, and
   what it held is the program's again.
2. A younger program takes the service, and that alone. Whether the older still answers is asked
   then: if not, its connection is closed, else it goes on with what else it holds.
3. An older program gets the service only if the holder does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

ANSWER_WITHIN: Final = 2.0
"""Seconds in which the holder of a service must be heard when another program wants that. A round
trip over a satellite and a busy uplink takes less; who restarts a frozen agent waits no longer."""

MAX_NAME_BYTES: Final = 64
"""Of the name that a program makes up: more than any random number needs."""


@dataclass(frozen=True, slots=True)
class Program:
    """Who is behind a connection: when it started, in seconds of B's clock, and its name."""

    started: float
    name: bytes = b""


class Verdict(Enum):
    """What becomes of a service that one program holds and another wants."""

    RETURNS = auto()
    """Rule 1."""
    TAKES = auto()
    """Rule 2."""
    WAITS = auto()
    """Rule 3."""


def judge(newcomer: Program, holder: Program) -> Verdict:
    """May `newcomer` have what `holder` has? Both are of one key, on two connections."""
    if newcomer.name and newcomer.name == holder.name:
        return Verdict.RETURNS
    return Verdict.TAKES if newcomer.started > holder.started else Verdict.WAITS
