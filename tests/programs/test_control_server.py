"""`relay-server -O`: who is there, what is open, and the end of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import relay
from relay.control.client import ask
from tests.programs.chain import Chain, Site, start_chain
from tests.programs.process import GUARD, environment
from tests.programs.traffic import MIB, dial, exchange, is_reset


def operate(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "relay.cli.server", "--state-dir", str(site.folder / "state"),
        "-O", *words,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=site.folder, env=environment(site.folder), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip


def shown(chain: Chain, what: str) -> Any:
    said = operate(chain.site, what, "--json")
    assert said.returncode == 0, said.stderr
    body = json.loads(said.stdout)
    assert body["version"] == 1
    return body.get(what, body)


def test_what_is_shown(chain: Chain) -> None:
    client, service = chain.stream()
    client.sendall(b"x" * MIB)
    service.sendall(b"y")
    assert client.recv(1) == b"y"
    received = 0
    while received < MIB:
        received += len(service.recv(MIB))
    (row,) = shown(chain, "services")
    assert (row["service"], row["comment"], row["streams"]) == ("gpu1:8000", "agent", 1)
    (stream,) = shown(chain, "streams")
    assert (stream["service"], stream["comment"]) == ("gpu1:8000", "client")
    assert (stream["bytes_there"], stream["bytes_back"]) == (MIB, 1)
    legs = {leg["comment"]: leg for leg in shown(chain, "legs")}
    assert legs["agent"]["leg"] == stream["agent"]
    assert legs["client"]["leg"] == stream["opener"]
    assert legs["agent"]["services"] == 1
    assert legs["client"]["client"] == "SSH-2.0-relay"
    status = shown(chain, "status")
    assert (status["legs"], status["services"], status["streams"]) == (2, 1, 1)
    assert (status["bytes_there"], status["bytes_back"]) == (MIB, 1)
    assert (status["bytes_waiting"], row["bytes_waiting"], stream["bytes_waiting"]) == (0, 0, 0)
    assert 0 <= status["loop_delay"] < 60
    # And for people.
    said = operate(chain.site, "streams")
    head, line = said.stdout.splitlines()
    assert head.split() == [
        "STREAM", "SERVICE", "OPENER", "FROM", "AGENT", "AGE", "THERE", "BACK", "WAITING",
    ]  # fmt: skip
    assert re.search(r"gpu1:8000  client  127\.0\.0\.1:\d+ .* 1\.0 MiB +1 B +0 B$", line)
    assert len(operate(chain.site, "legs").stdout.splitlines()) == 3
    assert "gpu1:8000" in operate(chain.site, "services").stdout
    assert re.search(
        r"^streams +1 \(1 since the start\)$", operate(chain.site, "status").stdout, re.MULTILINE
    )
    client.close(), service.close()


def test_an_open_port(site: Site) -> None:
    chain = start_chain(site, "localhost:0", a="ssh", c="ssh")
    (row,) = shown(chain, "services")
    port = int(row["service"].rpartition(":")[2])
    client = dial(port)
    service = chain.service.accept()
    (stream,) = shown(chain, "streams")
    assert (stream["service"], stream["opener"]) == (row["service"], None)
    said = operate(site, "kick", stream["stream"])
    assert (said.returncode, said.stdout) == (0, f"ended stream {stream['stream']}\n")
    assert is_reset(client)
    service.close()


def test_kick_a_stream(chain: Chain) -> None:
    kept, ended = chain.stream(), chain.stream()
    first, second = (stream["stream"] for stream in shown(chain, "streams"))
    assert first != second
    said = operate(chain.site, "kick", second)
    assert (said.returncode, said.stdout) == (0, f"ended stream {second}\n")
    assert is_reset(ended[0])
    assert is_reset(ended[1])
    exchange(*kept, MIB)
    said = operate(chain.site, "kick", second)
    assert (said.returncode, said.stderr) == (1, f"relay-server: nothing here is called {second}\n")


def test_kick_a_service(chain: Chain) -> None:
    """Its agent has it again, as it may: the streams are what is over."""
    client, service = chain.stream()
    said = operate(chain.site, "kick", "gpu1:8000")
    assert re.fullmatch(r"ended service gpu1:8000\nended stream \d+\.\d+\n", said.stdout)
    assert is_reset(client)
    chain.b.process.wait_for("gpu1:8000 withdrawn: ended by the operator")
    chain.b.process.wait_for("gpu1:8000 published by", count=2)
    service.close()
    exchange(*chain.stream(), MIB)


def test_kick_a_leg_and_a_key(chain: Chain) -> None:
    legs = {leg["comment"]: leg for leg in shown(chain, "legs")}
    said = operate(chain.site, "kick", str(legs["client"]["leg"]))
    assert re.fullmatch(r"ended leg SHA256:\S+ \(client\) at 127\.0\.0\.1:\d+\n", said.stdout)
    chain.a.wait_for("lost .*: ended by the operator; trying again")
    chain.a.wait_for("connected to .* again")
    said = operate(chain.site, "kick", legs["agent"]["fingerprint"])
    assert "(agent)" in said.stdout
    chain.c.wait_for("lost .*: ended by the operator; trying again")
    chain.c.wait_for("connected to .* again")
    exchange(*chain.stream(), MIB)


def test_reload(site: Site) -> None:
    config = site.folder / "relay.toml"
    config.write_text("hold = 1\n")
    chain = start_chain(site, b_options=("--config", str(config)))
    config.write_text("hold = 2\n")
    said = operate(site, "reload")
    assert (said.returncode, said.stdout) == (0, "configuration read again\n")
    chain.b.process.wait_for("hold: 1 -> 2|hold.*2")
    config.write_text("hold = nonsense\n")
    said = operate(site, "reload")
    assert said.returncode == 1
    assert "everything stays as it was" in said.stderr
    exchange(*chain.stream(), MIB)


def test_drain(site: Site) -> None:
    chain = start_chain(site, b_options=("--drain", "60"))
    client, service = chain.stream()
    said = operate(site, "drain")
    expected = "relay-server ends when its streams do (there are 1)\n"
    assert (said.returncode, said.stdout) == (0, expected)
    chain.b.process.wait_for("stopping|draining|waiting for")
    exchange(client, service, MIB)
    assert chain.b.process.end() == 0
    assert operate(site, "status").returncode == 1


def test_pages(site: Site) -> None:
    names = [f"gpu{number}:8000" for number in range(1, 6)]
    more = [word for name in names[1:] for word in ("-R", f"{name}:localhost:1")]
    chain = start_chain(site, c_options=more)
    for name in names:
        chain.b.process.wait_for(f"{name} published")
    path = site.folder / "state" / "control.sock"
    seen, after = [], {}
    while True:
        body = ask(path, "GET", "/v1/services", query={"limit": "2", **after}).body
        assert (body["total"], len(body["services"]) <= 2) == (5, True)
        seen += [row["service"] for row in body["services"]]
        if body["next"] is None:
            break
        after = {"after": body["next"]}
    assert seen == names
    query = {"search": "GPU3", "sort": "-seconds"}
    body = ask(path, "GET", "/v1/services", query=query).body
    assert [row["service"] for row in body["services"]] == ["gpu3:8000"]
    assert len(shown(chain, "services")) == 5


def test_watch_shows_a_screen_of_a_long_list(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "4")  # With its head, what is left out, and the cursor: one row.
    watching = chain.site.start(
        "watch", sys.executable, "-m", "relay.cli.server", "--state-dir",
        chain.site.folder / "state", "-O", "legs", "--watch",
    )  # fmt: skip
    watching.wait_for(r"\.\.\. and 1 more")


def test_watch(chain: Chain) -> None:
    watching = chain.site.start(
        "watch", sys.executable, "-m", "relay.cli.server", "--state-dir",
        chain.site.folder / "state", "-O", "services", "--watch",
    )  # fmt: skip
    watching.wait_for(r"\x1b\[H\x1b\[2J", count=2)
    assert watching.said("gpu1:8000")


def test_the_commands_of_the_readme(site: Site) -> None:
    """In their order, each with the exit code that it promises."""
    config = site.folder / "relay.toml"
    config.write_text("")
    chain = start_chain(site, b_options=("--config", str(config)))
    readme = (Path(relay.__file__).parent.parent / "README.md").read_text()
    commands = re.findall(r"^B\$ relay-server -O (\w+) ?(\w*)", readme, re.MULTILINE)
    assert len(commands) == 7
    for name, what in commands:
        leg = str(shown(chain, "legs")[0]["leg"])
        said = operate(site, name, *([leg] if what else []))
        assert said.returncode == 0, (name, said.stderr)
    assert chain.b.process.end() == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["kick"], "-O kick WHAT"),
        (["status", "x"], "-O kick WHAT"),
        (["drain", "--json"], "--json and --watch are for"),
        (["restart"], "invalid choice"),
    ],
)
def test_wrong_usage(site: Site, words: list[str], problem: str) -> None:
    said = operate(site, *words)
    assert said.returncode == 2
    assert problem in said.stderr


def test_nobody_is_there(site: Site) -> None:
    said = operate(site, "status")
    assert said.returncode == 1
    assert f"no program is there: looked at {site.folder}/state/control.sock" in said.stderr


@pytest.mark.parametrize("what", ["", "nonsense", "12.3.4", "SHA256", "a:0", "-1", "x" * 1000])
def test_what_is_no_name(chain: Chain, what: str) -> None:
    path = chain.site.folder / "state" / "control.sock"
    answer = ask(path, "POST", "/v1/kick", body={"what": what})
    assert answer.status == 400, what
    exchange(*chain.stream(), MIB)


def test_two_for_one_state_folder(chain: Chain) -> None:
    second = chain.site.ours(
        "relay-server", "--listen", "127.0.0.1:0", "--state-dir", chain.site.folder / "state"
    )
    second.wait_for("going on without a control socket: .*another program listens there")
    assert shown(chain, "status")["services"] == 1
