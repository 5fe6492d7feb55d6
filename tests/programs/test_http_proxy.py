"""Our programs behind an HTTP proxy."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import relay
from relay.sshconfig.proxy import EXCEPTIONS, VARIABLES
from tests.programs.chain import (
    NAMED,
    Site,
    find,
    relay_agent,
    relay_connect,
    relay_server,
    wait_until_listening,
)
from tests.programs.http_proxy import HttpProxy, certificate, says
from tests.programs.traffic import MIB, dial, exchange, free_port

Start = Callable[..., HttpProxy]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *EXCEPTIONS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(site: Site) -> Start:
    def start(names: dict[str, int] | None = None, **how: Any) -> HttpProxy:
        proxy = HttpProxy(names, **how)
        site.stack.callback(proxy.close)
        return proxy

    return start


@pytest.fixture
def password(site: Site) -> Path:
    path = site.folder / "password"
    path.touch(mode=0o600)
    path.write_text("a secret\n")
    return path


def test_by_proxy_url_with_a_password(site: Site, start: Start, password: Path) -> None:
    proxy = start(login="user:a secret")
    options = (
        "-v", "-o", f"ProxyURL=http://user@127.0.0.1:{proxy.port}",
        "-o", f"ProxyPasswordFile={password}",
    )  # fmt: skip
    service, b = site.service(), relay_server(site)
    c, _ = relay_agent(site, b, NAMED, service.port, *options)
    a, port = relay_connect(site, b, NAMED, *options)
    exchange(dial(port), service.accept(), 16 * MIB)
    assert proxy.asked == [f"127.0.0.1:{b.port}"] * 2
    # A password that changes is read at the next try.
    password.write_text("another")
    proxy._login = "user:another"
    b.process.stop()
    again = site.ours(
        "relay-server", "--listen", f"127.0.0.1:{b.port}", "--state-dir", site.folder / "state"
    )
    again.wait_for("gpu1:8000 published")
    for process in (a, c):
        process.wait_for("connected to .* again")
    exchange(dial(port), service.accept(), MIB)
    for process in (a, c):
        process.signal(signal.SIGINT)
        assert process.end() == 0
        assert not process.said("secret")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_by_the_environment(
    site: Site, start: Start, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A name that only the proxy knows, and a password that nobody sees."""
    service, b = site.service(), relay_server(site)
    proxy = start({"b.invalid:22": b.port}, login="user:s3cret:@")
    monkeypatch.setenv(variable, f"http://user:s3cret%3A%40@127.0.0.1:{proxy.port}")
    # (The default's path may be too long here for a socket.)
    folder = site.stack.enter_context(TemporaryDirectory())
    flags = [
        "-vvv", "-o", f"UserKnownHostsFile={site.known_hosts}",
        "-o", "StrictHostKeyChecking=accept-new",
    ]  # fmt: skip
    c = site.ours(
        "relay-agent", *flags, "-i", site.key("agent"), "-R", f"{NAMED}:localhost:{service.port}",
        "u@b.invalid",
    )  # fmt: skip
    c.wait_for("published")
    a = site.ours(
        "relay-connect",
        *flags,
        "-S",
        f"{folder}/a",
        "-i",
        site.key("client"),
        "-L",
        f"0:{NAMED}",
        "u@b.invalid",
    )
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
    exchange(dial(port), service.accept(), MIB)
    status = site.ours(
        "relay-connect", "-S", f"{folder}/a", "-O", "status", "--json", "u@b.invalid"
    )
    assert status.end() == 0
    assert proxy.asked == ["b.invalid:22"] * 2
    for process in (a, c, status):
        process.stop()
        assert not process.said("s3cret")


def test_this_machine_is_not_behind_a_proxy(
    site: Site, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    b = relay_server(site)
    relay_agent(site, b, NAMED, 1)
    assert proxy.asked == []


def test_through_tls(site: Site, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = certificate(site.folder, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    proxy = start(context=context)
    option = ("-o", f"ProxyURL={proxy.url}")
    service, b = site.service(), relay_server(site)
    relay_agent(site, b, NAMED, service.port)
    a, port = relay_connect(site, b, NAMED, *option)
    exchange(dial(port), service.accept(), 16 * MIB)
    a.signal(signal.SIGINT)
    assert a.end() == 0
    assert not a.said("Traceback|never retrieved")


def test_the_first_jump_host_is_reached_by_the_proxy(site: Site, start: Start) -> None:
    """End to end: B by the proxy, and gpu1 by B."""
    service, b = site.service(), relay_server(site)
    proxy = start({"b.invalid:22": b.port})
    by_proxy = f"ProxyURL={proxy.url}"
    known, new = f"UserKnownHostsFile={site.known_hosts}", "StrictHostKeyChecking=accept-new"
    c = site.ours(
        "relay-agent", "-i", site.key("agent"), "-o", by_proxy, "-o", known, "-o", new,
        "--endpoint", "gpu1", "--state-dir", "c", "u@b.invalid",
    )  # fmt: skip
    c.wait_for("sessions end to end, published")
    site.key("client")
    (site.folder / "c" / "authorized_keys").write_text(site.public("client").read_text())
    config = site.folder / "ssh_config"
    config.write_text(
        f"Host b\n HostName b.invalid\n {by_proxy}\nHost *\n User u\n"
        f" IdentityFile {site.key('client')}\n {known}\n {new}\n"
    )
    a = site.ours(
        "relay-connect", "-F", config, "-J", "b", "-L", f"0:localhost:{service.port}", "gpu1"
    )
    port = int(a.wait_for(r"127\.0\.0\.1:(\d+) -> \S+ ready")[1])
    exchange(dial(port), service.accept(), MIB)
    assert proxy.asked == ["b.invalid:22"] * 2


def test_tinyproxy(site: Site, password: Path) -> None:
    """A stock proxy: with the right password, with none, and to where nobody listens."""
    listening = free_port()
    config = site.folder / "tinyproxy.conf"
    config.write_text(
        f"Port {listening}\nListen 127.0.0.1\nBasicAuth user secret\nTimeout 600\nMaxClients 20\n"
    )
    tinyproxy = site.start("tinyproxy", find("tinyproxy"), "-d", "-c", config)
    wait_until_listening(tinyproxy, listening)
    password.write_text("secret")
    url, file = f"127.0.0.1:{listening}", f"ProxyPasswordFile={password}"
    options = ("-o", f"ProxyURL=http://user@{url}", "-o", file)
    service, b = site.service(), relay_server(site)
    relay_agent(site, b, NAMED, service.port, *options)
    _, port = relay_connect(site, b, NAMED, *options)
    exchange(dial(port), service.accept(), 16 * MIB)
    leg = ["--once", "-i", site.key("client"), "-L", "0:gpu1:1", "u@127.0.0.1"]
    stranger = site.ours("relay-connect", "-o", f"ProxyURL=http://{url}", *leg)
    assert stranger.end() == 1
    assert stranger.said("through the proxy .* 407 .*-o ProxyPasswordFile=FILE")
    lost = site.ours("relay-connect", *options, "-p", str(free_port()), *leg)
    assert lost.end() == 1
    assert lost.said(r"through the proxy .*: the proxy answered 50\d ")


REFUSALS = {
    "407": (b"HTTP/1.1 407 x\r\n\r\n", "407 Proxy Authentication Required: give -o ProxyURL="),
    "403": (b"HTTP/1.1 403 \x1b[2J\r\n\r\n", "the proxy answered 403 Forbidden$"),
    "502": (b"HTTP/1.1 502 x\r\n\r\n", "the proxy answered 502 Bad Gateway$"),
    "SSH": (b"SSH-2.0-x\r\n", "speaks no HTTP: is it a proxy\\?$"),
    "an end": (b"HTTP/1.1 200 OK\r\n", "closed the connection without an answer$"),
    "no SSH": (b"HTTP/1.1 200 OK\r\n\r\nnonsense", "."),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_one_line_and_an_exit_code(site: Site, start: Start, kind: str) -> None:
    said, words = REFUSALS[kind]
    proxy = start(answer=says(said))
    for name, flag in (("relay-connect", "-L"), ("relay-agent", "-R")):
        process = site.ours(
            name, "--once", "-i", site.key("client"), "-o", f"ProxyURL={proxy.url}", flag,
            "0:localhost:1", "u@b.invalid",
        )  # fmt: skip
        assert process.end() == 1
        assert len(process.lines) == 1 + process.said(" ready$")
        assert re.search(words, process.lines[-1])
        if kind != "no SSH":
            assert (
                f"cannot connect to b.invalid:22 through the proxy 127.0.0.1:{proxy.port}: "
                in (process.lines[-1])
            )


def test_connect_timeout_is_for_the_proxy_too(site: Site, start: Start) -> None:
    proxy = start(answer=says(b"HTTP/1.1 200 OK\r\n", stays=True))
    a = site.ours(
        "relay-connect", "--once", "-i", site.key("client"), "-o", f"ProxyURL={proxy.url}",
        "-o", "ConnectTimeout=1", "-L", "0:gpu1:1", "u@b.invalid",
    )  # fmt: skip
    assert a.end() == 1
    assert a.said("cannot connect to b.invalid:22: timed out")


def test_a_refusal_ends_a_consumer_and_a_bad_gateway_does_not(site: Site, start: Start) -> None:
    ends = start(answer=says(b"HTTP/1.1 403 No\r\n\r\n"))
    tries = start(answer=says(b"HTTP/1.1 502 No\r\n\r\n"))
    flags = ["-i", site.key("client"), "-L", "0:gpu1:1", "u@b.invalid"]
    a = site.ours("relay-connect", "-o", f"ProxyURL={ends.url}", *flags)
    assert a.end() == 1
    a = site.ours("relay-connect", "-o", f"ProxyURL={tries.url}", *flags)
    a.wait_for("502 Bad Gateway; .*again in")
    assert a.is_running


def test_a_password_on_the_command_line_is_refused(site: Site) -> None:
    for name, flag in (("relay-connect", "-L"), ("relay-agent", "-R")):
        process = site.ours(
            name, "-o", "ProxyURL=http://user:s3cret@proxy:3128", flag, "1:localhost:1", "b"
        )
        assert process.end() == 2
        assert process.said("-o ProxyURL: a password has no place here.*-o ProxyPasswordFile=FILE")
        assert not process.said("s3cret")


def test_a_password_that_others_can_read(site: Site, start: Start, password: Path) -> None:
    password.chmod(0o644)
    proxy = start()
    process = site.ours(
        "relay-connect", "-i", site.key("client"), "-o", f"ProxyURL=http://u@127.0.0.1:{proxy.port}",
        "-o", f"ProxyPasswordFile={password}", "-L", "0:gpu1:1", "u@b.invalid",
    )  # fmt: skip
    assert process.end() == 1
    assert process.said(f"others than its owner can reach the password.*chmod 600 {password}")
    assert proxy.asked == []


def test_the_commands_in_readme(site: Site, start: Start, password: Path) -> None:
    """As they stand there, with what is this machine's in place of the names."""
    readme = (Path(relay.__file__).parent.parent / "README.md").read_text()
    commands = re.findall(r"^ +C\$ relay-agent (-o ProxyURL.*) user@b$", readme, re.MULTILINE)
    assert len(commands) == 2
    b = relay_server(site)
    proxy = start({"b.invalid:2222": b.port})
    key = site.key("agent")
    key.rename(site.folder / "agent_key")
    password.rename(site.folder / "proxy_password")
    for command in commands:
        words = command.replace("proxy:3128", f"127.0.0.1:{proxy.port}").split()
        known = f"UserKnownHostsFile={site.known_hosts}"
        new = "StrictHostKeyChecking=accept-new"
        c = site.ours("relay-agent", *words, "-o", known, "-o", new, "user@b.invalid")
        c.wait_for("gpu1:8000 -> localhost:8000 published")
        c.stop()
        proxy._login = "me:a secret"
    assert "Proxy-Authorization" in proxy.heads[-1]
