"""`-O`: a program that runs is looked at and changed, and nothing else notices."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import relay
from relay.control.client import ask
from tests.programs.chain import (
    NAMED,
    Chain,
    Server,
    Site,
    find,
    relay_agent,
    relay_connect,
    relay_server,
    run,
)
from tests.programs.process import GUARD, environment
from tests.programs.traffic import MIB, content, dial, exchange, free_port, together


class Said:
    """What a command with `-O` came to."""

    def __init__(self, code: int, out: str, error: str) -> None:
        self.code, self.out, self.error = code, out, error


def operate(site: Site, b: Server, program: str, *words: str | Path) -> Said:
    """`relay-agent -O …` or `relay-connect -O …`, which says no more than is asked for."""
    key = {"agent": "agent", "connect": "client"}[program]
    command = [
        sys.executable, "-m", f"relay.cli.{program}", *site.leg(b, key), *words,
        f"{site.user}@127.0.0.1",
    ]  # fmt: skip
    done = subprocess.run(
        [str(word) for word in command], cwd=site.folder, env=environment(site.folder),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def site() -> Iterator[Site]:
    """With a short path, as sockets want it."""
    with TemporaryDirectory(prefix="relay-") as folder, ExitStack() as stack:
        yield Site(Path(folder), stack)


def both_ways(chain: Chain) -> None:
    client, service = chain.stream()
    exchange(client, service, MIB)


def test_check(chain: Chain) -> None:
    for program, process in (("agent", chain.c), ("connect", chain.a)):
        said = operate(chain.site, chain.b, program, "-O", "check")
        assert said.code == 0, said.error
        assert re.fullmatch(rf"relay-{program} is running \(pid \d+\)\n", said.out)
        assert process.is_running


def test_nobody_is_there(site: Site) -> None:
    site.key("agent")
    said = operate(site, Server(None, 9), "agent", "-O", "check")  # type: ignore[arg-type]
    assert said.code == 1
    assert "relay-agent: no program is there: looked at " in said.error
    assert str(site.folder) in said.error


def test_an_agent_publishes_one_more_and_keeps_it(chain: Chain) -> None:
    site, b = chain.site, chain.b
    late = site.service()
    said = operate(site, b, "agent", "-O", "forward", "-R", f"gpu2:1:localhost:{late.port}")
    assert (said.code, said.out, said.error) == (0, "", "")
    chain.c.wait_for("gpu2:1 -> .* published")
    _, port = relay_connect(site, b, "gpu2:1")
    exchange(dial(port), late.accept(), MIB)
    # The connection is lost, and all of it is there again.
    b.process.signal(signal.SIGKILL)
    b.process.end()
    again = site.ours(
        "relay-server", "--listen", f"127.0.0.1:{b.port}", "--state-dir", site.folder / "state"
    )
    again.wait_for("gpu2:1 published")
    _, port = relay_connect(site, Server(again, b.port), "gpu2:1")
    exchange(dial(port), late.accept(), MIB)


def test_what_is_cancelled_is_gone_and_its_streams_go_on(chain: Chain) -> None:
    client, service = chain.stream()
    said = operate(chain.site, chain.b, "agent", "-O", "cancel", "-R", "gpu1:8000")
    # Without a target it would be a SOCKS exit, which only one who asks for it must say.
    assert (said.code, said.error) == (0, "")
    chain.b.process.wait_for("gpu1:8000 withdrawn: by its agent")
    chain.c.wait_for("gpu1:8000 -> .* withdrawn")
    exchange(client, service, MIB)
    said = operate(chain.site, chain.b, "agent", "-O", "cancel", "-R", "gpu1:8000")
    assert (said.code, said.error) == (1, "relay-agent: gpu1:8000 is not forwarded\n")


def test_what_the_server_refuses_is_told_and_forgotten(site: Site) -> None:
    b = relay_server(site)
    site.key("agent", 'permitlisten="gpu1:8000"')
    agent, _ = relay_agent(site, b, NAMED, 1)
    said = operate(site, b, "agent", "-O", "forward", "-R", "other:1:localhost:1")
    assert said.code == 1
    assert said.error.startswith("relay-agent: other:1: refused by the server: ")
    assert "other" not in operate(site, b, "agent", "-O", "status").out
    assert agent.is_running


def test_a_port_that_the_server_picks_is_printed(chain: Chain) -> None:
    site, b = chain.site, chain.b
    late = site.service()
    said = operate(site, b, "agent", "-O", "forward", "-R", f"0:localhost:{late.port}")
    assert said.code == 0, said.error
    exchange(dial(int(said.out)), late.accept(), MIB)
    said = operate(site, b, "agent", "-O", "cancel", "-R", f"{int(said.out)}")
    assert said.code == 0, said.error


def test_connect_opens_and_closes_ports(chain: Chain) -> None:
    site, b = chain.site, chain.b
    client, service = chain.stream()
    port = free_port()
    forward = f"127.0.0.1:{port}:{NAMED}"
    assert operate(site, b, "connect", "-O", "forward", "-L", forward).code == 0
    late = dial(port)
    late_service = chain.service.accept()
    assert operate(site, b, "connect", "-O", "cancel", "-L", forward).code == 0
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    exchange(late, late_service, MIB)
    exchange(client, service, MIB)
    chain.a.wait_for(rf"127\.0\.0\.1:{port} -> gpu1:8000 closed")


def test_connect_opens_socks_and_sockets(chain: Chain) -> None:
    site, b = chain.site, chain.b
    said = operate(site, b, "connect", "-O", "forward", "-D", "127.0.0.1:0")
    assert said.code == 0, said.error
    assert int(said.out)
    said = operate(site, b, "connect", "-O", "forward", "-L", f"./a.sock:{NAMED}")
    assert (said.code, said.out, said.error) == (0, "", "")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(site.folder / "a.sock"))
        exchange(client, chain.service.accept(), MIB)
    assert operate(site, b, "connect", "-O", "cancel", "-L", f"./a.sock:{NAMED}").code == 0
    assert not (site.folder / "a.sock").exists()


def test_a_port_that_is_taken(chain: Chain) -> None:
    forward = f"127.0.0.1:{chain.port}:other:1"
    said = operate(chain.site, chain.b, "connect", "-O", "forward", "-L", forward)
    assert said.code == 1
    assert "cannot listen on" in said.error
    both_ways(chain)


def test_status(chain: Chain) -> None:
    said = operate(chain.site, chain.b, "agent", "-O", "status", "--json")
    status = json.loads(said.out)
    assert status["version"] == 1
    assert status["connection"]["up"]
    assert status["connection"]["server"] == "SSH-2.0-relay"
    assert [one["state"] for one in status["forwards"]] == ["granted"]
    said = operate(chain.site, chain.b, "connect", "-O", "status")
    assert re.search(
        r"^connected to 127\.0\.0\.1:\d+ for [\d.]+ s \(SSH-2\.0-relay, ", said.out, re.MULTILINE
    )
    assert re.search(rf"^127\.0\.0\.1:{chain.port}  -> gpu1:8000  granted$", said.out, re.MULTILINE)


def test_exit(chain: Chain) -> None:
    for program, process in (("connect", chain.a), ("agent", chain.c)):
        said = operate(chain.site, chain.b, program, "-O", "exit")
        assert said.code == 0, said.error
        assert process.end() == 0
    assert operate(chain.site, chain.b, "agent", "-O", "check").code == 1


def test_stop_lets_the_streams_end(chain: Chain) -> None:
    client, service = chain.stream()
    said = operate(chain.site, chain.b, "connect", "-O", "stop")
    assert (said.code, said.out) == (0, "relay-connect ends when its streams do (there are 1)\n")
    chain.a.wait_for("closed")
    with pytest.raises(ConnectionRefusedError):
        dial(chain.port)
    said = operate(chain.site, chain.b, "agent", "-O", "stop")
    assert said.code == 0, said.error
    chain.c.wait_for("withdrawn")
    exchange(client, service, MIB)
    assert chain.a.end() == 0
    assert chain.c.end() == 0


def test_a_path_of_ones_own(site: Site) -> None:
    b = relay_server(site)
    path = site.folder / "%h-%p.sock"
    agent, _ = relay_agent(site, b, NAMED, 1, "-S", str(path))
    found = site.folder / f"127.0.0.1-{b.port}.sock"
    assert operate(site, b, "agent", "-O", "check").code == 1
    assert operate(site, b, "agent", "-S", path, "-O", "check").code == 0
    assert operate(site, b, "agent", "-o", f"ControlPath={found}", "-O", "check").code == 0
    assert agent.stop() == 0
    assert not found.exists()


def test_a_path_in_a_file_is_not_that_of_ssh(site: Site) -> None:
    """Its master speaks another language there."""
    b = relay_server(site)
    config = site.folder / "config"
    config.write_text(f"ControlPath {site.folder}/master\n")
    relay_agent(site, b, NAMED, 1, "-F", str(config))
    assert (site.folder / "master.relay-agent").is_socket()
    assert not (site.folder / "master").exists()
    assert operate(site, b, "agent", "-F", config, "-O", "check").code == 0


def test_none(site: Site) -> None:
    b = relay_server(site)
    agent, _ = relay_agent(site, b, NAMED, 1, "-S", "none")
    assert operate(site, b, "agent", "-O", "check").code == 1
    said = operate(site, b, "agent", "-S", "none", "-O", "check")
    assert said.code == 2
    assert "ControlPath is none" in said.error
    assert agent.is_running


def test_two_for_one_destination(site: Site) -> None:
    b = relay_server(site)
    first, _ = relay_agent(site, b, "x:1", 1)
    second, _ = relay_agent(site, b, "y:1", 1)
    assert second.said("going on without a control socket: .*another program listens there")
    said = operate(site, b, "agent", "-O", "status")
    assert "x:1" in said.out
    assert "y:1" not in said.out
    # One that was killed leaves its socket, and the next one takes its place.
    first.signal(signal.SIGKILL)
    first.end()
    relay_agent(site, b, "z:1", 1)
    assert "z:1" in operate(site, b, "agent", "-O", "status").out


def test_the_commands_of_the_readme(chain: Chain) -> None:
    """In their order, each with the exit code that it promises."""
    readme = Path(relay.__file__).parent.parent / "README.md"
    section = readme.read_text().partition("## Change it while it runs")[2].partition("\n## ")[0]
    lines = re.findall(r"^[AC]\$ relay-(agent|connect) (-O .*) user@b", section, re.MULTILINE)
    assert len(lines) == 8
    for program, words in lines:
        said = operate(chain.site, chain.b, program, *words.split())
        assert (said.code, said.error) == (0, ""), (words, said.error)
    assert chain.a.end() == 0
    assert chain.c.end() == 0


def test_curl(site: Site) -> None:
    b = relay_server(site)
    path = site.folder / "control.sock"
    relay_agent(site, b, NAMED, 1, "-S", str(path))
    curl = [find("curl"), "--silent", "--fail", "--unix-socket", path]
    status = json.loads(run(*curl, "http://localhost/v1/status"))
    assert status["program"] == "relay-agent"
    assert "/v1/forwards" in json.loads(run(*curl, "http://localhost/openapi.json"))["paths"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-O", "restart"], "invalid choice"),
        (["-O", "forward"], "give the forwards as well"),
        (["-O", "exit", "-R", "x:1:y:2"], "takes no forward"),
        (["-O", "check", "--json"], "--json is for -O status"),
        (["-O", "forward", "-R", "gpu1:8000"], "has no target"),
        (["-O", "forward", "-R", "nonsense"], "is no forward"),
    ],
)
def test_wrong_usage(site: Site, words: list[str], problem: str) -> None:
    site.key("agent")
    said = operate(site, Server(None, 9), "agent", *words)  # type: ignore[arg-type]
    assert said.code == 2
    assert problem in said.error


def test_who_goes_away_before_the_answer_has_changed_nothing(chain: Chain) -> None:
    """The server is frozen: nobody has answered when the command is interrupted."""
    site, b = chain.site, chain.b
    b.process.signal(signal.SIGSTOP)
    key = site.leg(b, "agent")
    command = site.start(
        "relay-agent -O", sys.executable, "-m", "relay.cli.agent", *key, "-O", "forward",
        "-R", "late:1:localhost:1", f"{site.user}@127.0.0.1",
    )  # fmt: skip
    wait_until_forwards(chain, "late:1")
    command.signal(signal.SIGKILL)
    command.end()
    b.process.signal(signal.SIGCONT)
    b.process.wait_for("late:1 withdrawn: by its agent")
    assert "late" not in operate(site, b, "agent", "-O", "status").out


def wait_until_forwards(chain: Chain, name: str) -> None:
    while name not in operate(chain.site, chain.b, "agent", "-O", "status").out:
        pass


@pytest.mark.slow
def test_a_thousand_times_beside_a_stream(chain: Chain) -> None:
    """Not a byte of it is lost, and nothing is left behind."""
    agent, connect = sorted((chain.site.folder / "ssh-relay").iterdir())
    client, service = chain.stream()
    over = threading.Event()

    def stream() -> int:
        pieces = 0
        while not over.is_set():
            for piece in content(PIECE, pieces):
                client.sendall(piece)
                service.sendall(piece)
                assert whole(service) == piece
                assert whole(client) == piece
            pieces += 1
        return pieces

    texts = {"remote": "late:1:localhost:1", "local": f"127.0.0.1:{free_port()}:{NAMED}"}

    def change(path: Path, kind: str) -> None:
        named = {"kind": kind, "forward": texts[kind]}
        for _ in range(1000):
            assert ask(path, "POST", "/v1/forwards", body=named).status == 201
            assert ask(path, "DELETE", "/v1/forwards", query=named).status == 200

    with client, service, ThreadPoolExecutor(1) as threads:
        streaming = threads.submit(stream)
        try:
            together([partial(change, agent, "remote"), partial(change, connect, "local")])
        finally:
            over.set()
        assert streaming.result() > 1
    for path in (agent, connect):
        assert len(ask(path, "GET", "/v1/forwards").body["forwards"]) == 1
    both_ways(chain)


PIECE = 64 * 1024
"""Bytes that the sockets of the chain take, whoever reads."""


def whole(sock: socket.socket) -> bytes:
    data = b""
    while len(data) < PIECE and (more := sock.recv(PIECE - len(data))):
        data += more
    return data
