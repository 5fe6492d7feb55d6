"""The limit: three plain TCP relays on asyncio, without encryption. As many TCP connections."""

from __future__ import annotations

from benchmarks.chains.chain import Chain, Site
from benchmarks.processes import Process, python


def build(site: Site) -> Chain:
    """Build it from C to A: each hop dials the one before."""
    c, c_port = _hop(site, "c", site.service_port)
    b, b_port = _hop(site, "b", site.leg_to(c_port))
    a, a_port = _hop(site, "a", site.leg_to(b_port))
    return Chain(port=a_port, a=a, b=b, c=c, versions={})


def _hop(site: Site, name: str, next_port: int) -> tuple[Process, int]:
    process = site.spawn(name, python("benchmarks.peers.tcp_relay", str(next_port)))
    return process, int(process.wait_for(r"^listening on .*:(\d+)$")[1])
