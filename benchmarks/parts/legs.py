"""Many agents at one B: the memory that each costs it, and how long it takes until all are back
after B was restarted.

The agents are connections of one light process (`peers.agents`), the same for both: curve25519,
which neither side is slow at, each from an address of its own, each with one published service; by
name at ours, by port at sshd. Whoever is refused tries again within half a second, as relay-agent
does at first. Both get limits high enough (`--max-startups`, `--legs-per-key`,
`--services-per-key`; `MaxStartups`). Memory is PSS over all of B's processes. sshd logs in root
here, for whom it needs one process for a connection; for anybody else it is two.

The seconds are those of both sides on this machine's cores: the agents' share is the same. (Of a
hundred agents, with `--quick`, the half second is most of it.)

Logins beside a thousand and ten thousand legs are of B's own tables alone (`logins.py`): their
number must not show.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import logins
from benchmarks.chains import HUBS, OPENSSH, RELAY, Hub, HubBuilder, Site
from benchmarks.context import Context
from benchmarks.errors import MissingProgramError
from benchmarks.parts.interleaved import Samples
from benchmarks.processes import Process, python, raise_descriptor_limit
from benchmarks.report import Result

AGENTS, QUICK_AGENTS = 1000, 100
PATIENCE_SECONDS = 300.0
SETTLE_SECONDS = 1.0

MEMORY, BACK = "B's memory per agent, KiB", "all back after a restart, s"


def run(context: Context) -> Result:
    """Measure one B after the other: a thousand agents are enough to be an average."""
    agents = QUICK_AGENTS if context.settings.quick else AGENTS
    result = Result(part="legs", about=f"{agents} agents connected to one B", baselines=[OPENSSH])
    raise_descriptor_limit()
    for name, build in HUBS.items():
        if not context.settings.takes(name):
            continue
        context.say(f"connecting {agents} agents to {name}")
        try:
            samples = measure(build, agents)
        except MissingProgramError as error:
            result.notes.append(f"{name} is left out: {error}")
            continue
        for each, sample in samples.items():
            result.add(each, name, sample)
        context.say(f"{name}: {samples[MEMORY]:.0f} KiB an agent, back in {samples[BACK]:.1f} s")
    if context.settings.takes(RELAY):
        for crowd in logins.CROWDS:
            result.add(f"logins beside {crowd:,} legs, per second", RELAY, logins.measure(crowd))
    return result


def measure(build: HubBuilder, agents: int) -> Samples:
    """Connect all, restart B, and wait until all are back."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        site = Site(folder, service_port=9, cleanup=cleanup)
        hub = build(site)
        b = hub.start()
        time.sleep(SETTLE_SECONDS)
        before = b.memory()
        load = _agents(site, hub, agents)
        load.wait_for("^1: all up$", PATIENCE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        memory = (b.memory() - before) / agents / 1024
        b.stop()
        hub.start()
        start = time.perf_counter()
        load.wait_for("^2: all up$", PATIENCE_SECONDS)
        return {MEMORY: memory, BACK: time.perf_counter() - start}


def _agents(site: Site, hub: Hub, count: int) -> Process:
    arguments = map(str, (hub.port, hub.user, hub.agent_key, hub.service, count))
    return site.spawn("agents", python("benchmarks.peers.agents", *arguments))
