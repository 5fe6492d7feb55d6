"""Our own: relay-server on B, relay-agent on C, relay-connect on A, with their defaults. End to
end: the agent is an endpoint, and A's session with it runs through B."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import relay
from benchmarks.chains import keys
from benchmarks.chains.chain import Builder, Chain, Hub, Site, free_port
from benchmarks.processes import Process, python
from relay.system import HAVE_UVLOOP

SERVICE = "gpu1:8000"
LISTENING = r"listening on 127\.0\.0\.1:(\d+)$"
"""What B says of its port."""
_ENDPOINT = "gpu1"
_MANY = 100_000
"""A limit that is none."""


def build(site: Site) -> Chain:
    """Start B, then C, then A, exactly as the README does."""
    return _build(site, ())


def with_flags(*flags: str) -> Builder:
    """Build the chain with these flags for relay-server."""
    return partial(_build, flags=flags)


def of(checkout: Path) -> Builder:
    """Build the chain with the programs of another checkout, and this one's libraries."""
    return partial(_build, flags=(), checkout=checkout.resolve())


def _build(site: Site, flags: tuple[str, ...], checkout: Path | None = None) -> Chain:
    agent_key, client_key = _keys(site)
    b, b_port, known = _server(site, agent_key, client_key, flags=flags, checkout=checkout)
    login = ["-F", "none", "-p", str(b_port), "-o", f"UserKnownHostsFile={known}"]
    login += ["bench@127.0.0.1"]

    publish = ["-i", str(agent_key), "-R", f"{SERVICE}:127.0.0.1:{site.service_port}"]
    c = site.spawn("c", python("relay.cli.agent", *publish, *login, checkout=checkout))
    c.wait_for(rf"{SERVICE} -> .* published$")

    forward = ["-i", str(client_key), "-L", f"127.0.0.1:0:{SERVICE}"]
    a = site.spawn("a", python("relay.cli.connect", *forward, *login, checkout=checkout))
    a_port = int(a.wait_for(rf"127\.0\.0\.1:(\d+) -> {SERVICE} ready$")[1])
    return Chain(port=a_port, a=a, b=b, c=c, versions=_versions())


def build_end_to_end(site: Site) -> Chain:
    """The same with `--endpoint` on C and `-J` on A."""
    agent_key, client_key = _keys(site)
    b, b_port, known = _server(site, agent_key, client_key)
    state = site.folder / _ENDPOINT
    state.mkdir()
    keys.authorize(state / "authorized_keys", client_key)

    config = site.folder / "ssh_config"
    config.write_text(f"User bench\nUserKnownHostsFile {known}\nIdentityFile {client_key}\n")
    serve = ["--endpoint", _ENDPOINT, "--state-dir", str(state), "-i", str(agent_key)]
    login = ["-F", "none", "-p", str(b_port), "-o", f"UserKnownHostsFile={known}"]
    c = site.spawn("c", python("relay.cli.agent", *serve, *login, "bench@127.0.0.1"))
    line = c.wait_for(r"line for known_hosts on the other side: (.*)$")[1]
    c.wait_for(rf"{_ENDPOINT}:22 -> .* published$")
    with known.open("a") as file:
        file.write(f"{line}\n")

    forward = ["-L", f"127.0.0.1:0:127.0.0.1:{site.service_port}"]
    through = ["-F", str(config), "-J", f"127.0.0.1:{b_port}", _ENDPOINT]
    a = site.spawn("a", python("relay.cli.connect", *forward, *through))
    a_port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> .* ready$")[1])
    return Chain(port=a_port, a=a, b=b, c=c, versions=_versions())


def hub(site: Site) -> Hub:
    """B with limits for any number of agents, which share a key."""
    agent_key, port = keys.make_key(site.folder / "agent_key"), free_port()
    state = _state(site, agent_key)
    limits = ("max-startups", "per-source-max-startups", "legs-per-key", "services-per-key")
    flags = [f"--{limit}={_MANY}" for limit in limits]

    def start() -> Process:
        b, _ = _start(site, state, port, flags)
        return b

    return Hub(start, port, "bench", agent_key, service="agent{}:8000")


def client_files(home: Path) -> tuple[Path, Path]:
    """A's key and known_hosts, where a chain was built in `home`."""
    return home / "client_key", home / "known_hosts"


def _keys(site: Site) -> tuple[Path, Path]:
    return keys.make_key(site.folder / "agent_key"), keys.make_key(site.folder / "client_key")


def _server(
    site: Site, *admitted: Path, flags: Sequence[str] = (), checkout: Path | None = None
) -> tuple[Process, int, Path]:
    """B, the port by which it is reached, and a known_hosts that names it."""
    state = _state(site, *admitted)
    b, port = _start(site, state, 0, flags, checkout)
    port = site.leg_to(port)
    known = keys.know_host(site.folder / "known_hosts", port, state / "ssh_host_ed25519_key")
    return b, port, known


def _state(site: Site, *admitted: Path) -> Path:
    """A state folder that lets these keys in."""
    state = site.folder / "state"
    state.mkdir()
    keys.authorize(state / "authorized_keys", *admitted)
    return state


def _start(
    site: Site, state: Path, port: int, flags: Sequence[str], checkout: Path | None = None
) -> tuple[Process, int]:
    """B, and the port on which it listens: this one, or one that it picked."""
    listen = ["--listen", f"127.0.0.1:{port}", "--state-dir", str(state)]
    b = site.spawn("b", python("relay.cli.server", *listen, *flags, checkout=checkout))
    return b, int(b.wait_for(LISTENING)[1])


def _versions() -> dict[str, str]:
    names = ("asyncssh", "cryptography", *(["uvloop"] if HAVE_UVLOOP else []))
    libraries = {name: version(name) for name in names}
    return {"relay": relay.__version__, **libraries}
