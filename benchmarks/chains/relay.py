"""Our own: relay-server on B, relay-agent on C, relay-connect on A, with their defaults."""

from __future__ import annotations

from importlib.metadata import version

import relay
from benchmarks.chains import keys
from benchmarks.chains.chain import Chain, Site
from benchmarks.processes import python

_SERVICE = "gpu1:8000"


def build(site: Site) -> Chain:
    """Start B, then C, then A, exactly as the README does."""
    state = site.folder / "state"
    state.mkdir()
    agent_key = keys.make_key(site.folder / "agent_key")
    client_key = keys.make_key(site.folder / "client_key")
    keys.authorize(state / "authorized_keys", agent_key, client_key)

    listen = ["--listen", "127.0.0.1:0", "--state-dir", str(state)]
    b = site.spawn("b", python("relay.cli.server", *listen))
    b_port = int(b.wait_for(r"listening on 127\.0\.0\.1:(\d+)$")[1])
    known = keys.know_host(site.folder / "known_hosts", b_port, state / "ssh_host_ed25519_key")
    login = [
        "-F",
        "none",
        "-p",
        str(b_port),
        "-o",
        f"UserKnownHostsFile={known}",
        "bench@127.0.0.1",
    ]

    publish = ["-i", str(agent_key), "-R", f"{_SERVICE}:127.0.0.1:{site.service_port}"]
    c = site.spawn("c", python("relay.cli.agent", *publish, *login))
    c.wait_for(rf"{_SERVICE} -> .* published$")

    forward = ["-i", str(client_key), "-L", f"127.0.0.1:0:{_SERVICE}"]
    a = site.spawn("a", python("relay.cli.connect", *forward, *login))
    a_port = int(a.wait_for(rf"127\.0\.0\.1:(\d+) -> {_SERVICE} ready$")[1])

    versions = {name: version(name) for name in ("asyncssh", "cryptography")}
    return Chain(port=a_port, a=a, b=b, c=c, versions={"relay": relay.__version__, **versions})
