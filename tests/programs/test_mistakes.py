"""Typical mistakes: the command, what it says, and its exit code."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.programs.chain import NAMED, Site, relay_agent, relay_server
from tests.programs.traffic import free_port


@dataclass
class World:
    """A B with `gpu1:8000`, an HTTP server, files of all kinds, and where they are."""

    site: Site
    names: dict[str, str]


def _http(listener: socket.socket) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock:
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mistakes")
    with ExitStack() as stack:
        site = Site(folder, stack)
        b = relay_server(site, "--hold", "0")
        relay_agent(site, b, NAMED, 1)
        site.key("client", 'permitlisten="none"')
        site.key("stranger", None)
        (folder / "open_key").write_bytes(site.key("client").read_bytes())
        (folder / "open_key").chmod(0o644)
        (folder / "utf16_key").touch(mode=0o600)
        (folder / "utf16_key").write_bytes(site.key("client").read_text().encode("utf-16"))
        (folder / "utf16_config").write_bytes("Port 1\n".encode("utf-16"))
        (folder / "config").write_text("Prot 2222\n")
        (folder / "b.toml").write_text("drains = 1\n")
        (folder / "utf16.toml").write_bytes("drain = 1\n".encode("utf-16"))
        (folder / "empty_hosts").touch()
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=_http, args=(listener,), daemon=True)
        thread.start()
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        names = {
            "b": f"-p {b.port} -o UserKnownHostsFile={site.known_hosts} x@127.0.0.1",
            "stranger_to_b": f"-p {b.port} -o UserKnownHostsFile=empty_hosts x@127.0.0.1",
            "http": f"-p {listener.getsockname()[1]} x@127.0.0.1",
            "nobody": f"-p {free_port()} x@127.0.0.1",
            "taken": str(listener.getsockname()[1]),
            "long": "g" * 300,
        }
        yield World(site, names)


CONNECT, AGENT, SERVER = "relay-connect --once", "relay-agent --once", "relay-server"
L, R = "-L 127.0.0.1:0:gpu1:8000", "-R gpu2:8000:localhost:1"

MISTAKES = [
    # What the command line says.
    (f"{CONNECT} {L}", "missing: .*destination|missing", 2),
    (f"{CONNECT} x@b", "missing: -L, -D or -W.*nothing to open", 2),
    (f"{CONNECT} -L 3000 x@b", "'3000' is no forward: give .bind:.port:host:hostport", 2),
    (f"{CONNECT} -L 70000:gpu1:8000 x@b", "'70000' in .* is no port: give 0 to 65535", 2),
    (f"{CONNECT} -L 3000:{{long}}:8000 x@b", "'g+'… has 300 characters: a name has at most 255", 2),
    (f"{AGENT} -R {{long}}:8000:localhost:1 x@b", "has 300 characters: a name has at most 255", 2),
    (f"{CONNECT} {L} {{long}}", "has 300 characters: a name has at most 255", 2),
    (f"{CONNECT} {L} x@b:2222", "no destination: .*a port goes after -p", 2),
    (f"{CONNECT} -R 1:localhost:1 x@b", "-R.*it opens services; relay-agent publishes them", 2),
    (f"{AGENT} -L 1:localhost:1 x@b", "-L.*it publishes services; relay-connect opens them", 2),
    (f"{CONNECT} {L} --keep-tring x@b", "--keep-tring; did you mean --keep-trying?", 2),
    (f"{CONNECT} {L} -o Prot=1 x@b", "Prot", 2),
    # What its files say.
    (f"{CONNECT} {L} -F config x@b", "config:1: .*Prot", 2),
    (f"{CONNECT} {L} -F nowhere x@b", "nowhere: no such configuration file", 1),
    (f"{CONNECT} {L} -F utf16_config x@b", "utf16_config: the file is in UTF-16.*as UTF-8", 1),
    (f"{SERVER} --config b.toml", "b.toml:1: drains: .*did you mean drain?", 2),
    (f"{SERVER} --config utf16.toml", "utf16.toml: the file is in UTF-16.*save it as UTF-8", 2),
    # Which key.
    (f"{CONNECT} {L} -i nokey {{b}}", "nokey: No such file or directory", 1),
    (f"{CONNECT} {L} -i client.pub {{b}}", "client.pub: a public key: give the private one", 1),
    (f"{CONNECT} {L} -i open_key {{b}}", "open_key: permissions 0644 are too open.*chmod 600", 1),
    (f"{CONNECT} {L} -i utf16_key {{b}}", "utf16_key: the file is in UTF-16.*as UTF-8", 1),
    (f"{CONNECT} {L} {{b}}", "Permission denied .*there is no key to log in with.*ssh-keygen", 1),
    (
        f"{CONNECT} {L} -i stranger {{b}}",
        "does not take the key; .*offered: .*stranger SHA256:.*the server's log says why", 1,
    ),
    # Who is there.
    (f"{CONNECT} {L} -i client {{stranger_to_b}}", "host key of .* is not known.*Compare this", 1),
    (f"{CONNECT} {L} -i client {{http}}", "an HTTP server is there, and no SSH server", 1),
    (f"{CONNECT} {L} -i client {{nobody}}", "cannot connect to .*: Connection refused", 1),
    # What it may do.
    (f"{CONNECT} -L {{taken}}:gpu1:8000 -i client {{b}}", "cannot listen on .*in use", 1),
    (f"{CONNECT} -W gpul:8000 -i client {{b}}", "no such service .* .did you mean gpu1:8000", 1),
    (f"{AGENT} {R} -i client {{b}}", "gpu2:8000: refused by the server: this key may not", 1),
    (f"{AGENT} -R {NAMED}:localhost:1 -i other {{b}}", "a program with another key has it", 1),
]  # fmt: skip


@pytest.mark.parametrize(("command", "message", "code"), MISTAKES)
def test_what_is_said_of_it(world: World, command: str, message: str, code: int) -> None:
    site = world.site
    site.key("other")
    program, *words = command.format(**world.names).split()
    if program == "relay-server":
        words += ["--listen", "127.0.0.1:0", "--state-dir", "state"]
    process = site.ours(program, *words)
    assert process.end() == code, process
    said = [line for line in process.lines if line.startswith(program)]
    assert process.said(f"^{program}(:| ).*{message}"), process
    assert len(said) == 1, process
    assert not process.said("Traceback|mistake in")
