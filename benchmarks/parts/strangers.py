"""A bystander beside each attack: its round trips, B's memory, and whether a newcomer gets in.

The bystander has a stream through the chain, on which 64 bytes go there and come back, again and
again. Nothing but B, and the machine's cores, is in common with the attacker, a process of its own
(`tests/attacks/__main__.py`) with a good key of its own. The newcomer has one too, and comes from
another address. The same attack on ours and on a stock sshd; B's memory is that of all its
processes, and grows from before the attack until its end.
"""

from __future__ import annotations

import asyncio
import getpass
import math
import re
import socket
import time
from statistics import quantiles

import asyncssh

from benchmarks import load
from benchmarks.chains import CHAINS, OPENSSH, RELAY, Builder, Chain, Site, keys
from benchmarks.context import Context
from benchmarks.errors import BrokenError
from benchmarks.parts.interleaved import Samples, counted
from benchmarks.processes import Process, python
from benchmarks.report import Result
from benchmarks.table import align, number

NONE = "none"
ATTACKS = (
    "idle_strangers",
    "small_packets_before_the_login",
    "key_exchanges_before_the_login",
    "key_exchanges_after_the_login",
    "small_packets_after_the_login",
    "packets_of_one_byte",
    "consumers_that_never_read",
    "publish_and_withdraw",
)

SECONDS, QUICK_SECONDS = 5.0, 0.7
"""Of each attack, from when it is under way."""

PATIENCE = 10.0
"""Seconds after which a newcomer gives up."""

ANOTHER_ADDRESS = "127.0.0.2"

START_SECONDS = 60.0
"""For an attacker to begin: twenty logins take a while on a machine that is busy already."""

AGAIN = 0.05
"""Seconds between its tries."""

SERVICE = "strange:8000"

P50, P99, LONGEST = "p50, µs", "p99, µs", "longest, µs"
GROWTH, NEWCOMER = "B's memory, MiB more", "newcomer in after, ms"
COLUMNS = (P50, P99, LONGEST, GROWTH, NEWCOMER)

BUILDERS = {name: CHAINS.chains[name] for name in (RELAY, OPENSSH)}


def run(context: Context) -> Result:
    """New chains in each round: what an attack has filled may not be emptied again."""
    quick = context.settings.quick
    rounds = 1 if quick else context.settings.rounds
    seconds = QUICK_SECONDS if quick else SECONDS
    result = Result(
        part="strangers",
        about=f"a bystander's round trips, {seconds:g} s beside each attack, "
        f"{counted(rounds, 'round')}",
        baselines=[OPENSSH],
        subject=RELAY,
    )
    for turn in range(rounds):
        sites: dict[str, Site] = {}
        builders = {name: _noting_its_site(name, sites) for name in BUILDERS}
        with context.chains(builders) as standing:
            result.notes = standing.notes
            for name in standing.chains:
                with standing.using(name) as chain:
                    victim = Victim(name, chain, sites[name])
                    for attack in (NONE, *ATTACKS):
                        samples = victim.under(attack, seconds)
                        for measure, sample in samples.items():
                            result.add(f"{attack}: {measure}", name, sample)
                        said = ", ".join(f"{number(samples[each])} {each}" for each in COLUMNS)
                        context.say(f"round {turn + 1} of {rounds}, {name}, {attack}: {said}")
    result.notes.append(table(result))
    return result


def _noting_its_site(name: str, sites: dict[str, Site]) -> Builder:
    def build(site: Site) -> Chain:
        sites[name] = site
        return BUILDERS[name](site)

    return build


class Victim:
    """One chain, and what an attacker and a newcomer need to know of its B."""

    def __init__(self, name: str, chain: Chain, site: Site) -> None:
        self._name, self._chain, self._site = name, chain, site
        listening = re.search(r"istening on 127\.0\.0\.1(?::| port )(\d+)", chain.b.output())
        if listening is None:
            raise BrokenError("B does not say where it listens")
        self._port = listening[1]
        self._user = getpass.getuser()
        state = site.folder / "state" if name == RELAY else site.folder
        self._attacker = keys.make_key(site.folder / "attacker")
        self._newcomer = keys.make_key(site.folder / "newcomer")
        with (state / "authorized_keys").open("a") as file:
            for key in self._attacker, self._newcomer:
                file.write(keys.public(key).read_text())
        self._service = self._start_service()
        self._stream = self._open()

    def _start_service(self) -> str:
        """What the attacker opens: not the bystander's agent, nor its service."""
        senders = self._site.spawn("senders", python("benchmarks.service"))
        target = senders.wait_for(r"^serving on (\S+)$")[1]
        if self._name != RELAY:
            return target
        known = f"UserKnownHostsFile={self._site.folder / 'known_hosts'}"
        login = ["-F", "none", "-p", self._port, "-i", str(self._attacker), "-o", known]
        publish = ["-R", f"{SERVICE}:{target}", *login, f"{self._user}@127.0.0.1"]
        agent = self._site.spawn("strange-agent", python("relay.cli.agent", *publish))
        agent.wait_for(rf"{SERVICE} -> .* published$")
        return SERVICE

    def _open(self) -> socket.socket:
        stream = self._chain.connect()
        load.begin_echo(stream)
        return stream

    def under(self, attack: str, seconds: float) -> Samples:
        """What an attack does, in so many seconds from when it is under way."""
        memory = self._chain.b.memory()
        attacker = self._begin(attack) if attack != NONE else None
        try:
            took = self._round_trips(seconds)
            newcomer = self._newcomer_in_after()
            grown = self._chain.b.memory() - memory
        finally:
            if attacker is not None:
                attacker.stop()
        percentile = quantiles(took, n=100, method="inclusive")
        return {
            P50: percentile[49] * 1e6,
            P99: percentile[98] * 1e6,
            LONGEST: max(took) * 1e6,
            GROWTH: grown / (1 << 20),
            NEWCOMER: newcomer * 1e3,
        }

    def _begin(self, attack: str) -> Process:
        what = [attack, self._port, self._user, self._service, str(self._attacker)]
        attacker = self._site.spawn(attack, python("tests.attacks", *what))
        attacker.wait_for("^under way$", START_SECONDS)
        return attacker

    def _round_trips(self, seconds: float) -> list[float]:
        """Seconds for each request and its reply; endless, if the stream breaks."""
        end, took = time.perf_counter() + seconds, [0.0]
        try:
            took = load.round_trips(self._stream, 1)
            while time.perf_counter() < end:
                took += load.round_trips(self._stream, 1)
        except (OSError, BrokenError):
            took += [math.inf] * len(took)
            self._stream.close()
            self._stream = self._open()
        return took * 2 if len(took) < 2 else took

    def _newcomer_in_after(self) -> float:
        """Seconds until somebody from another address has logged in, at whichever try; endless, if
        that takes longer than it is patient."""
        begun = time.perf_counter()
        while (left := PATIENCE - (time.perf_counter() - begun)) > 0:
            try:
                asyncio.run(asyncio.wait_for(self._log_in(), left))
            except (OSError, asyncssh.Error):
                time.sleep(AGAIN)
            else:
                return time.perf_counter() - begun
        return math.inf

    async def _log_in(self) -> None:
        async with asyncssh.connect(
            "127.0.0.1", int(self._port), local_addr=(ANOTHER_ADDRESS, 0), config=None,
            known_hosts=None, username=self._user, agent_path=None,
            client_keys=[str(self._newcomer)],
        ):  # fmt: skip
            pass


def table(result: Result) -> str:
    """A row for each attack: each measure on ours, and behind a stroke on the other."""
    rows = [[f"{result.subject} / {result.baselines[0]}", *COLUMNS]]
    for attack in (NONE, *ATTACKS):
        rows.append([attack.replace("_", " ")])
        for measure in COLUMNS:
            found = [
                result.find(f"{attack}: {measure}", chain)
                for chain in (result.subject, result.baselines[0])
            ]
            rows[-1].append(" / ".join(number(row.median) if row else "-" for row in found))
    return align(rows)
