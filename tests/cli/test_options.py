"""What people type after `ssh`, typed after our programs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import relay
from relay.agent.config import AgentConfig
from relay.cli import agent, connect, server, ssh_files
from relay.cli.state_dir import default_state_dir
from relay.core.forward import Forward
from relay.core.limits import BUSY_POLL
from relay.core.window import LEAST, MOST
from relay.observe.log import EventLog
from relay.opener.config import ConnectConfig
from relay.settings.general import LogSettings
from relay.settings.server import ServerSettings
from relay.trust.algorithms import CIPHERS, CLIENT_KEX, MACS

Main = Callable[[list[str]], int]
R = "-Rgpu1:8000:localhost:8000"
L = "-L3000:gpu1:8000"
MAINS: dict[str, Main] = {
    "relay-server": server.main,
    "relay-agent": agent.main,
    "relay-connect": connect.main,
}


@dataclass
class Started:
    """The configurations with which the programs, here empty ones, were started."""

    configs: list[Any] = field(default_factory=list)

    async def run(self, config: Any, log: EventLog, *operated_by: object) -> None:
        self.configs.append(config)

    def agent(self, *argv: str) -> AgentConfig:
        assert agent.main(list(argv)) == 0
        config = self.configs.pop()
        assert isinstance(config, AgentConfig)
        return config

    def connect(self, *argv: str) -> ConnectConfig:
        assert connect.main(list(argv)) == 0
        config = self.configs.pop()
        assert isinstance(config, ConnectConfig)
        return config

    def server(self, *argv: str) -> ServerSettings:
        assert server.main(list(argv)) == 0
        config = self.configs.pop()
        assert isinstance(config, ServerSettings)
        return config


class _Program(ModuleType):
    run: Callable[[Any, EventLog], Coroutine[Any, Any, None]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The command lines with programs that only take note of their configuration."""
    started = Started()
    for name in ("server", "agent", "opener"):
        module = _Program(f"relay.{name}.program")
        module.run = started.run
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("LOGNAME", "me")
    return started


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without files of ssh_config, on a system without one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ssh_files, "SYSTEM_FOLDER", str(tmp_path / "system"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


def refused(main: Main, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a wrong command line gets."""
    with pytest.raises(SystemExit) as caught:
        main(list(argv))
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "--help" in err
    return err


def test_the_command_lines_of_the_readme(started: Started) -> None:
    c = started.agent(*shlex.split("-p 2222 -i agent_key -R gpu1:8000:localhost:8000 user@b"))
    assert (c.client.user, c.client.host, c.client.port) == ("user", "b", 2222)
    assert c.client.identity_files == (Path("agent_key"),)
    assert c.remote_forwards == (Forward("gpu1", 8000, "localhost", 8000),)
    a = started.connect(*shlex.split("-p 2222 -i client_key -L 3000:gpu1:8000 user@b"))
    assert a.local_forwards == (Forward(None, 3000, "gpu1", 8000),)
    assert not a.gateway_ports
    b = started.server("--listen", "0.0.0.0:2222")
    assert b.listen == (("0.0.0.0", 2222),)


def test_defaults(started: Started) -> None:
    client = started.agent(R, "b").client
    assert (client.user, client.host, client.port) == ("me", "b", 22)
    assert client.strict_host_key_checking == "ask"
    assert not client.identity_files
    assert not client.user_known_hosts_files
    assert Path("/etc/ssh/ssh_known_hosts") in client.global_known_hosts_files
    assert not client.ciphers
    assert client.rekey_limit == 0
    assert client.connect_timeout is None
    b = started.server()
    assert b == ServerSettings(state_dir=default_state_dir("relay-server"))


@pytest.mark.parametrize(
    "line",
    [
        f"-p2222 -lu -ikey {R} b",
        f"b -p 2222 -l u -i key {R}",
        f"{R} b -vvp2222 -Nlu -ikey",
        f"-Nv {R} -p2222 -ikey -v u@b",
        f"{R} -oPort=2222 -o User=u -o identityfile=key b",
        f"{R} -ikey ssh://u@b:2222",
    ],
)
def test_flags_as_ssh_users_type_them(started: Started, line: str) -> None:
    client = started.agent(*line.split()).client
    assert (client.user, client.host, client.port) == ("u", "b", 2222)
    assert client.identity_files == (Path("key"),)


def test_forwards_add_up_and_may_ask_for_any_port(started: Started) -> None:
    c = started.agent("-R", "0:localhost:80", "-R[::1]:2000:[fe80::1]:22", "b")
    assert c.remote_forwards == (
        Forward(None, 0, "localhost", 80),
        Forward("::1", 2000, "fe80::1", 22),
    )
    a = started.connect("-gL", "0:gpu1:8000", "-L", "*:1:b:2", "b")
    assert a.local_forwards == (Forward(None, 0, "gpu1", 8000), Forward("*", 1, "b", 2))
    assert a.gateway_ports


@pytest.mark.parametrize(
    ("forward", "meant"),
    [
        ("gpu1:8000", "-R gpu1:8000:localhost:8000"),
        ("8000", "-R 8000:localhost:8000"),
        ("gpu1:0", "-R gpu1:0:localhost:8000"),
        ("1080", "--socks-exit as well"),
    ],
)
def test_a_forgotten_target_opens_nothing(
    started: Started, capsys: pytest.CaptureFixture[str], forward: str, meant: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        started.agent("-R", "gpu1:1:localhost:1", "-R", forward, "b")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"-R {forward} has no target (did you mean {meant}?)" in said
    assert said.count("\n") == 1
    assert not started.configs
    for option in ("--socks-exit", "-oPermitRemoteOpen=any", "-oPermitRemoteOpen=gpu2:80"):
        assert started.agent(option, "-R", forward, "b").remote_forwards[0].dynamic


def test_an_exit_without_a_forward_for_it(
    started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        started.agent("--socks-exit", R, "b")
    assert "there is none" in capsys.readouterr().err


def test_a_flag_goes_before_an_option_and_the_first_option_before_the_next(
    started: Started,
) -> None:
    client = started.agent(
        R, "-oPort=1", "-oPort=2", "-oUser=x", "-l", "flag", "-oCiphers=aes128-ctr", "u@b"
    ).client
    assert (client.port, client.user) == (1, "flag")
    assert started.agent(R, "-oPort=1", "-p3", "b").client.port == 3
    assert started.agent(R, "-oUser=x", "u@b").client.user == "x"
    assert started.agent(R, "-caes256-ctr", "-oCiphers=aes128-ctr", "b").client.ciphers == (
        "aes256-ctr",
    )
    keys = started.agent(R, "-i", "1", "-oIdentityFile=2", "-i3", "b").client.identity_files
    assert keys == (Path("1"), Path("3"), Path("2"))


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("StrictHostKeyChecking=accept-new", "strict_host_key_checking", "accept-new"),
        ("stricthostkeychecking no", "strict_host_key_checking", "no"),
        ("StrictHostKeyChecking = off", "strict_host_key_checking", "no"),
        ("STRICTHOSTKEYCHECKING=Ask", "strict_host_key_checking", "ask"),
        ("UserKnownHostsFile=/a '/b c'", "user_known_hosts_files", (Path("/a"), Path("/b c"))),
        ("UserKnownHostsFile=none", "user_known_hosts_files", (Path(os.devnull),)),
        ("GlobalKnownHostsFile=/a", "global_known_hosts_files", (Path("/a"),)),
        ("Ciphers=aes128-ctr,aes256-ctr", "ciphers", ("aes128-ctr", "aes256-ctr")),
        ("RekeyLimit=4M", "rekey_limit", 4 << 20),
        ("RekeyLimit=1g none", "rekey_limit", 1 << 30),
        ("RekeyLimit=default none", "rekey_limit", 0),
        ("RekeyLimit=100", "rekey_limit", 100),
        ("ConnectTimeout=10", "connect_timeout", 10.0),
        ("ConnectTimeout=1m30", "connect_timeout", 90.0),
        ("ConnectTimeout=none", "connect_timeout", None),
        ("ConnectTimeout=0", "connect_timeout", None),
        ("RekeyLimit=1g 1h30", "rekey_seconds", 3630),
        ("AddressFamily=inet6", "address_family", "inet6"),
        ("BindAddress=127.0.0.2", "bind_address", "127.0.0.2"),
        ("BatchMode=yes", "strict_host_key_checking", "yes"),
        ("CertificateFile=~/c", "certificate_files", (Path("~/c"),)),
        ("Ciphers=+aes128-ctr,3des-cbc", "ciphers", CIPHERS),
        ("Ciphers=^aes128-ctr", "ciphers", ("aes128-ctr", *CIPHERS[:-1])),
        ("Ciphers=-*-ctr,chacha*", "ciphers", CIPHERS[:2]),
        ("Ciphers=aes192-ctr,aes256-ctr", "ciphers", ("aes256-ctr",)),
        ("HashKnownHosts=yes", "hash_known_hosts", True),
        ("HostKeyAlgorithms=+ssh-rsa", "host_key_algorithms", "+ssh-rsa"),
        ("HostKeyAlias=C1.Example", "host_key_alias", "c1.example"),
        ("IdentitiesOnly=true", "identities_only", True),
        ("IdentityAgent=none", "identity_agent", ""),
        ("IdentityAgent=SSH_AUTH_SOCK", "identity_agent", None),
        ("IdentityAgent=$LOGNAME", "identity_agent", "me"),
        ("IdentityAgent=/run/%r.%h.%p", "identity_agent", "/run/me.b.22"),
        ("IdentityFile=none", "identity_files", (Path(os.devnull),)),
        ("KexAlgorithms=-*group*", "kex_algorithms", CLIENT_KEX[:3]),
        ("MACs=hmac-sha2-*,umac-64@openssh.com", "mac_algorithms", MACS),
        ("ProxyCommand=nc %h %p # %%", "proxy_command", "nc b 22 # %"),
        ("ProxyCommand=none", "proxy_command", ""),
        ("ProxyJump=none", "proxy_jump", ()),
        ("ServerAliveCountMax=5", "server_alive_count_max", 5),
        ("ServerAliveInterval=2m", "server_alive_interval", 120),
        ("ServerAliveInterval=none", "server_alive_interval", 0),
        ("TCPKeepAlive=no", "tcp_keepalive", False),
        ("ForwardX11=whatever is here", "port", 22),
        (
            "UserKnownHostsFile=/a/%k ${LOGNAME}",
            "user_known_hosts_files",
            (Path("/a/b"), Path("me")),
        ),
        ("Port=2022", "port", 2022),
        ("User=x", "user", "x"),
    ],
)
def test_options(started: Started, option: str, name: str, value: object) -> None:
    if name == "certificate_files":
        value = (Path.home() / "c",)
    assert getattr(started.agent(R, "-o", option, "b").client, name) == value


def test_a_tilde_that_no_shell_has_seen(started: Started) -> None:
    client = started.agent(R, "-i~/key", "-oUserKnownHostsFile=~/hosts", "b").client
    assert client.identity_files == (Path.home() / "key",)
    assert client.user_known_hosts_files == (Path.home() / "hosts",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("b", "missing: -R"),
        (f"{R}", "missing: [user@]host"),
        (f"{R} b command", "unrecognized arguments: command"),
        (f"{R} b -X", "relay-agent does not serve -X: X11 is not forwarded"),
        (f"{R} b -tt", "relay-agent does not serve -t: there is no terminal"),
        (f"{R} b -E file", "relay-agent does not serve -E: redirect"),
        (f"{R} b -L 1:h:2", "relay-agent does not serve -L: it publishes services; relay-connect"),
        (f"{R} b -Z", "unrecognized arguments: -Z"),
        ("-R nonsense b", "'nonsense' is no forward"),
        ("-R 1:b:70000 b", "'70000'"),
        (f"{R} b:22", "a port goes after -p"),
        (f"{R} -p 0 b", "'0' is no port"),
        (f"{R} -p ssh b", "'ssh' is no port"),
        (f"{R} -p", "expected one argument"),
        (f"{R} -oForwardX12=yes b", "-o ForwardX12=yes: ForwardX12 is no keyword of ssh_config"),
        (f"{R} -oPorts=1 b", "Port perhaps"),
        (f"{R} -oPort b", "give Port=value"),
        (f"{R} -oPort= b", "give Port=value"),
        (f"{R} -oHost=a b", "Host has its place in a file only"),
        (f"{R} -oInclude=a b", "Include has its place in a file only"),
        (f"{R} -oRevokedHostKeys=/a b", "RevokedHostKeys is not served: list these keys"),
        (f"{R} -J a:b:c d", "'a:b:c' is no host to jump over"),
        (f"{R} -J b b", "leads over itself"),
        (f"{R} -l a;b c", "-l: the remote user name contains characters that mean something"),
        (f"{R} -l a$(b) c", "-l: the remote user name contains characters that mean something"),
        (f"{R} -l -x c", "-l: expected one argument"),
        (f"{R} -l-x c", "-l: the remote user name"),
        (f"{R} -oUser=a;b c", "-o User=a;b: the remote user name"),
        (f"{R} a;b@c", "the remote user name contains characters that mean something"),
        (f"{R} a;b", "'a;b' is no destination"),
        (f"{R} -J a;b@j c", "the remote user name"),
        (f"{R} -J j;k c", "'j;k' is no"),
        (f"{R} -oProxyJump=a`b`@j c", "the remote user name"),
        (f"{R} -oHostName=a;b -oProxyCommand=nc|%h c", "-o ProxyCommand=nc %h: %h would be"),
        (f"{R} -oStrictHostKeyChecking=maybe b", "accept-new"),
        (f"{R} -oUserKnownHostsFile='a b", "quotation"),
        (f"{R} -oConnectTimeout=soon b", "give seconds"),
        (f"{R} -oRekeyLimit=lots b", "give a size"),
        (f"{R} -oRekeyLimit=1 b", "at least 16 bytes"),
        (f"{R} -oRekeyLimit=1G|soon b", "-o RekeyLimit=1G soon: 'soon': give seconds"),
        (f"{R} -oKexAlgorithms=a b", "unknown key exchange 'a'; known are mlkem768x25519-sha256"),
        (f"{R} -oIdentityFile=%x b", "%x in '%x' is no token here: known are %%, %C"),
        (f"{R} -oIdentityFile=${{NOTHING}}/a b", "there is no such environment variable"),
        (f"{R} -c aes128-cbc b", "unknown cipher 'aes128-cbc'; known are aes128-gcm"),
        (f"{R} --log-format xml b", "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage(
    started: Started, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    argv = [word.replace("|", " ") for word in line.split(" ")]
    assert words in refused(agent.main, capsys, *argv)
    assert not started.configs


def test_connect_wants_a_forward(capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing: -L" in refused(connect.main, capsys, "b")


def test_quiet_is_quiet(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    started.agent(R, "-qv", "b")
    EventLog("relay-agent").warning("x", "x")
    assert not capsys.readouterr().err
    started.agent(R, "--log-format=json", "b")
    EventLog("relay-agent").warning("x", "x")
    assert capsys.readouterr().err.startswith("{")


def test_every_flag_of_the_server(started: Started) -> None:
    config = started.server(
        *shlex.split("--listen 127.0.0.1:0 --listen [::1]:2222 --listen *:22 --state-dir /s"),
        *shlex.split("--host-key /k1 --host-key ~/k2 --authorized-keys /a --rekey-limit 512M"),
        *shlex.split(f"--gateway-ports clientspecified --ciphers {','.join(CIPHERS)} -vv"),
    )
    assert config == ServerSettings(
        state_dir=Path("/s"),
        listen=(("127.0.0.1", 0), ("::1", 2222), ("", 22)),
        host_keys=(Path("/k1"), Path.home() / "k2"),
        authorized_keys=Path("/a"),
        gateway_ports="clientspecified",
        ciphers=CIPHERS,
        rekey_limit=512 << 20,
        log=LogSettings(verbose=2),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--listen 2222", "'2222' is no address"),
        ("--listen ::1:2222", "no address"),
        ("--listen b:99999", "is no port"),
        ("--gateway-ports maybe", "invalid choice"),
        ("--ciphers none", "unknown cipher 'none'"),
        ("--rekey-limit 5T", "give a size"),
        ("-q", "unrecognized"),
        ("--state b", "unrecognized arguments: --state; did you mean --state-dir?"),
        ("--legs-per-key 0", "invalid number (from 1) value: '0'"),
    ],
)
def test_wrong_usage_of_the_server(
    capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert words in refused(server.main, capsys, *line.split())


@pytest.mark.parametrize("program", MAINS)
@pytest.mark.parametrize("flag", ["--version", "--help", "-h"])
def test_version_and_help(program: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        MAINS[program]([flag])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    if flag == "--version":
        assert out == f"{program} {relay.__version__}\n"
    else:
        assert out.startswith(f"usage: {program} ")
        assert "example:\n" in out


@pytest.mark.parametrize(("uid", "path"), [(0, "/var/lib/relay-server"), (1000, "{}/relay-server")])
@pytest.mark.skipif(sys.platform != "linux", reason="the paths are Linux's")
def test_the_state_folder(
    uid: int, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: uid)
    for module in ("platformdirs.unix", "platformdirs._xdg"):
        monkeypatch.setattr(f"{module}.geteuid", lambda: uid, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert default_state_dir("relay-server") == Path(path.format(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_state_dir("relay-server") == Path("/var/lib/one")


def test_busy_poll(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    assert started.agent(R, "b").busy_poll == BUSY_POLL
    assert started.agent(R, "--busy-poll", "50", "b").busy_poll == 50
    assert started.connect(L, "--busy-poll", "0", "b").busy_poll == 0
    for wrong in ("-1", "1001", "0.5", "ten"):
        with pytest.raises(SystemExit):
            connect.main([L, f"--busy-poll={wrong}", "b"])
        assert "--busy-poll" in capsys.readouterr().err


def test_max_window(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    assert started.agent(R, "b").max_window == MOST
    assert started.agent(R, "--max-window", "8M", "b").max_window == 8 * 2**20
    assert started.connect(L, "--max-window", "256K", "b").max_window == LEAST
    for wrong in ("255K", "2G", "-1", "many"):
        with pytest.raises(SystemExit) as end:
            connect.main([L, f"--max-window={wrong}", "b"])
        assert end.value.code == 2
        assert "--max-window" in capsys.readouterr().err
