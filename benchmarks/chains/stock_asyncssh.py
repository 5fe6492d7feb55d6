"""Stock asyncssh on all three machines; `peers.asyncssh_node` says what it was given."""

from __future__ import annotations

from importlib.metadata import version

from benchmarks.chains import keys
from benchmarks.chains.chain import Chain, Site
from benchmarks.processes import Process, python

_NODE = "benchmarks.peers.asyncssh_node"


def build(site: Site) -> Chain:
    """Start B, then C, then A."""
    folder = site.folder
    host_key, client_key = keys.make_key(folder / "host_key"), keys.make_key(folder / "client_key")
    authorized = keys.authorize(folder / "authorized_keys", client_key)

    b, b_port = _node(site, "b", "server", str(host_key), str(authorized))
    b_port = site.leg_to(b_port)
    known = keys.know_host(folder / "known_hosts", b_port, host_key)
    login = (str(b_port), str(client_key), str(known))
    c, published = _node(site, "c", "publish", *login, str(site.service_port))
    a, a_port = _node(site, "a", "open", *login, str(published))

    versions = {name: version(name) for name in ("asyncssh", "cryptography")}
    return Chain(port=a_port, a=a, b=b, c=c, versions=versions)


def _node(site: Site, name: str, *arguments: str) -> tuple[Process, int]:
    process = site.spawn(name, python(_NODE, *arguments))
    return process, int(process.wait_for(r"^ready on (\d+)$")[1])
