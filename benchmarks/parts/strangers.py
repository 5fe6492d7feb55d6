"""Consumers that never read, behind one B: what they cost it in memory, and a bystander in time.

The bystander has a stream through the chain, on which 64 bytes go there and come back, again and
again: before, while the consumers ask and their senders fill all that lies between, and when all of
it is full and nothing of theirs moves. Nothing but B, and the machine's cores, is in common: the
consumers' service is published by an agent of their own, and each has a connection. Only ours is
measured. B's memory is resident, and grows from when all
consumers have logged in.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path
from statistics import quantiles

import psutil  # type: ignore[import-untyped]

from benchmarks import load
from benchmarks.chains import RELAY, Chain, Site, keys, relay
from benchmarks.context import Context
from benchmarks.errors import BrokenError
from benchmarks.parts.interleaved import counted
from benchmarks.processes import Process, python
from benchmarks.report import Result

SERVICE = "strange:8000"
CONSUMERS, QUICK_CONSUMERS = 200, 50
LEGS_PER_KEY = 50
"""Fewer than B lets a key have."""

REQUEST = bytes(64)
SECONDS, QUICK_SECONDS = 10.0, 2.0
"""Of each state. All is full well within it."""

BEFORE, FILLING, FULL = "before", "while they fill", "when all is full"
MEASURE = "bystander p{percent} {state}, µs"
GROWTH = "B's memory grew by, MiB"


def run(context: Context) -> Result:
    """A chain of its own for each round: what was filled is not emptied again."""
    quick = context.settings.quick
    rounds = 1 if quick else context.settings.rounds
    consumers = QUICK_CONSUMERS if quick else CONSUMERS
    seconds = QUICK_SECONDS if quick else SECONDS
    states = f"{seconds:g} s a state, {counted(rounds, 'round')}"
    result = Result(
        part="strangers",
        about=f"{consumers} consumers that never read, {states}",
        baselines=[RELAY],
    )
    for number in range(rounds):
        sites: list[Site] = []

        def build(site: Site, sites: list[Site] = sites) -> Chain:
            sites.append(site)
            return _build(site)

        with context.chains({RELAY: build}) as standing:
            for name in standing.chains:
                with standing.using(name) as chain:
                    _measure(chain, sites[0], consumers, seconds, result)
        context.say(f"round {number + 1} of {rounds}: {_brief(result)}")
    return result


def _build(site: Site) -> Chain:
    """Our chain, with keys at B for the strangers too."""
    chain = relay.build(site)
    strangers = [keys.make_key(path) for path in _stranger_keys(site)]
    ours = [site.folder / "agent_key", site.folder / "client_key"]
    keys.authorize(site.folder / "state" / "authorized_keys", *ours, *strangers)
    return chain


def _stranger_keys(site: Site) -> list[Path]:
    return [site.folder / f"stranger_{number}" for number in range(CONSUMERS // LEGS_PER_KEY)]


def _measure(chain: Chain, site: Site, count: int, seconds: float, result: Result) -> None:
    with chain.connect() as stream:
        load.echo(stream, REQUEST)
        _round_trips(stream, seconds / 5)
        consumers = _consumers(chain, site, count)
        _add(result, BEFORE, _round_trips(stream, seconds))
        memory = _resident(chain)
        os.kill(consumers.pids()[0], signal.SIGUSR1)
        _add(result, FILLING, _round_trips(stream, seconds))
        consumers.wait_for("^asked$")
        _add(result, FULL, _round_trips(stream, seconds))
        result.add(GROWTH, RELAY, (_resident(chain) - memory) / (1 << 20))


def _consumers(chain: Chain, site: Site, count: int) -> Process:
    """Logged in, with a service of their own published by an agent of their own."""
    listening = re.search(r"listening on 127\.0\.0\.1:(\d+)$", chain.b.output(), re.MULTILINE)
    if listening is None:
        raise BrokenError("B does not say where it listens")
    b_port, their_keys = listening[1], [str(path) for path in _stranger_keys(site)]
    senders = site.spawn("senders", python("benchmarks.service"))
    target = senders.wait_for(r"^serving on (\S+)$")[1]
    login = ["-F", "none", "-p", b_port, "-o", f"UserKnownHostsFile={site.folder / 'known_hosts'}"]
    publish = ["-i", their_keys[0], "-R", f"{SERVICE}:{target}", *login, "bench@127.0.0.1"]
    agent = site.spawn("strange_agent", python("relay.cli.agent", *publish))
    agent.wait_for(rf"{SERVICE} -> .* published$")
    arguments = [b_port, SERVICE, str(count), *their_keys]
    consumers = site.spawn("silent", python("benchmarks.peers.silent", *arguments))
    consumers.wait_for("^ready$")
    return consumers


def _round_trips(stream: socket.socket, seconds: float) -> list[float]:
    """Seconds for each request and its reply, on a stream that echoes."""
    took, begun = [], time.perf_counter()
    end = begun + seconds
    while begun < end:
        stream.sendall(REQUEST)
        left = len(REQUEST)
        while left:
            part = stream.recv(left)
            if not part:
                raise BrokenError("the bystander's stream ended")
            left -= len(part)
        now = time.perf_counter()
        took.append(now - begun)
        begun = now
    return took


def _add(result: Result, state: str, took: list[float]) -> None:
    percentile = quantiles(took, n=100)
    for percent in (50, 99):
        measure = MEASURE.format(percent=percent, state=state)
        result.add(measure, RELAY, percentile[percent - 1] * 1e6)


def _resident(chain: Chain) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in chain.b_pids())


def _brief(result: Result) -> str:
    rows = result.series
    return ", ".join(f"{row.measure}: {row.samples[-1]:.0f}" for row in rows)
