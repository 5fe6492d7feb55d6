"""The ways in which a program at A reaches the service: our library, relay-connect's port, others.

B and C are ours and the same for all, so that what differs is the user's own side. Each user is a
process with one connection to B, on which a stream is opened for each measurement; one that has a
local port shares it with nobody either.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.chains import RELAY, Chain, Site, relay
from benchmarks.context import Context
from benchmarks.errors import BrokenError, StartError
from benchmarks.parts.interleaved import Samples, brief, counted, rotated
from benchmarks.processes import Process, python
from benchmarks.report import Bar, Result

DOWN, UP, P50 = "download C→A, MiB/s", "upload A→C, MiB/s", "p50, µs"
ROUND_TRIPS = 1000
MIB = 1 << 20
WARM_UP_MIB = 64

ASYNCIO, UVLOOP = "relay on asyncio", "relay on uvloop"
TRIO, SYNC = "relay on trio", "relay.sync"
PORT, PORT_UVLOOP = "port, asyncio", "port, uvloop"
PORT_TRIO, PORT_SYNC = "port, trio", "port, blocking"
ASYNCSSH, PARAMIKO = "asyncssh", "paramiko"

USERS = {
    ASYNCIO: "asyncio", UVLOOP: "uvloop", TRIO: "trio", SYNC: "sync",
    PORT: "port-asyncio", PORT_UVLOOP: "port-uvloop", PORT_TRIO: "port-trio",
    PORT_SYNC: "port-sync", ASYNCSSH: "asyncssh", PARAMIKO: "paramiko",
}  # fmt: skip
"""In the table's order, by what `benchmarks.users` calls them. `port` is a relay-connect's."""

SLOW = {ASYNCSSH: 4, PARAMIKO: 4}
"""They get a part of the bytes: a round is to take seconds."""

BARS = [
    *(Bar(way, least=0.8, against=PORT) for way in (DOWN, UP)),
    Bar(P50, most=1.0, against=PORT),
    *(Bar(way, least=0.6, against=PORT, of=TRIO) for way in (DOWN, UP)),
    *(Bar(way, least=3.0, against=ASYNCSSH) for way in (DOWN, UP)),
    *(Bar(way, least=5.0, against=PARAMIKO) for way in (DOWN, UP)),
]


def run(context: Context) -> Result:
    """Measure all users, interleaved, on one chain."""
    rounds, size_mib = context.settings.rounds, context.settings.size_mib
    result = Result(
        part="library",
        about=f"one stream of {size_mib} MiB (asyncssh 1/{SLOW[ASYNCSSH]}, paramiko "
        f"1/{SLOW[PARAMIKO]} of it), 64 bytes there and back {ROUND_TRIPS} times, "
        f"{counted(rounds, 'interleaved round')}",
        baselines=[PORT, ASYNCSSH, PARAMIKO],
        subject=ASYNCIO,
        bars=BARS,
    )
    homes: list[Path] = []

    def build(site: Site) -> Chain:
        homes.append(site.folder)
        return relay.build(site)

    with context.chains({RELAY: build}) as standing, ExitStack() as cleanup:
        result.notes += standing.notes
        if RELAY not in standing.chains:
            return result
        users = _start(context, result, standing.chains[RELAY], homes[0], cleanup)
        for name in users:  # The kernel's buffers, the windows, the interpreters' caches.
            _samples(users[name], name, min(size_mib, WARM_UP_MIB))
        for turn in range(rounds):
            for name in rotated(list(users), turn):
                with standing.using(RELAY):
                    samples = _samples(users[name], name, size_mib)
                for measure, sample in samples.items():
                    result.add(measure, name, sample)
                context.say(f"round {turn + 1} of {rounds}, {name}: {brief(samples)}")
    result.sort(list(USERS))
    return result


class User:
    """A process of `benchmarks.users`."""

    def __init__(self, kind: str, arguments: list[str], home: Path) -> None:
        """Raises `StartError` if it does not come so far as to be asked."""
        command = python("benchmarks.users", kind, *arguments)
        self._process = Process(f"user-{kind}", command, home, answers=True)
        self.stop = self._process.stop
        if self._process.ask() != "ready":
            self.stop()
            raise StartError(self._process.last_line())

    def ask(self, word: str, number: int) -> float:
        """Seconds. Raises `BrokenError`."""
        try:
            return float(self._process.ask(f"{word} {number}"))
        except ValueError:
            raise BrokenError(self._process.last_line()) from None


def _start(
    context: Context, result: Result, chain: Chain, home: Path, cleanup: ExitStack
) -> dict[str, User]:
    """All that can run here."""
    b_port = chain.b.wait_for(relay.LISTENING)[1]
    key, known_hosts = relay.client_files(home)
    arguments = [b_port, str(key), str(known_hosts), relay.SERVICE, str(chain.port)]
    users = {}
    for name, kind in USERS.items():
        context.say(f"starting {name}")
        try:
            users[name] = User(kind, arguments, home)
        except StartError as error:
            result.notes.append(f"{name} is left out: {error}")
        else:
            cleanup.callback(users[name].stop)
    return users


def _samples(user: User, name: str, size_mib: int) -> Samples:
    size_mib = max(1, size_mib // SLOW.get(name, 1))
    return {
        DOWN: size_mib / user.ask("download", size_mib * MIB),
        UP: size_mib / user.ask("upload", size_mib * MIB),
        P50: user.ask("echo", ROUND_TRIPS) * 1e6,
    }
