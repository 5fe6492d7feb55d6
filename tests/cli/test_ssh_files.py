"""The files of ssh_config: which are read, and what the programs make of them."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from relay.agent.config import AgentConfig
from relay.cli import agent, connect, ssh_files
from relay.cli.agent_config import agent_config
from relay.cli.connect_config import connect_config
from relay.cli.start import start
from relay.core.forward import Forward
from relay.core.grants import Permit
from relay.errors import UsageError
from relay.opener.config import ConnectConfig
from relay.settings.agent import AgentSettings
from relay.settings.connect import ConnectSettings
from relay.sshconfig.config import Config

R = "-Rgpu1:8000:localhost:8000"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's home with an empty .ssh, on a system whose folder is beside it."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (tmp_path / "system").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "me")
    monkeypatch.setattr(ssh_files, "SYSTEM_FOLDER", str(tmp_path / "system"))
    return home


@pytest.fixture
def write(home: Path) -> Callable[[str], Path]:
    """Write the user's file."""

    def write(text: str, path: Path = home / ".ssh" / "config") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(dedent(text))
        return path

    return write


def of_agent(*argv: str) -> AgentConfig:
    parser = agent._parser()
    flags = parser.read(argv)
    config, _ = start(parser, flags, lambda: flags.settings(AgentSettings), agent_config)
    return config


def of_connect(*argv: str) -> ConnectConfig:
    parser = connect._parser()
    flags = parser.read(argv)
    config, _ = start(parser, flags, lambda: flags.settings(ConnectSettings), connect_config)
    return config


def refused(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    with pytest.raises(SystemExit) as caught:
        of_agent(*argv)
    assert caught.value.code == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_acceptance_case(write: Callable[[str], Path]) -> None:
    write(
        """\
        Host t1
            HostName 192.0.2.1
            User relay
            ServerAliveInterval 120
        """
    )
    c = of_agent("-R", "2000:localhost:22", "t1")
    assert (c.client.host, c.client.user, c.client.port) == ("192.0.2.1", "relay", 22)
    assert c.client.server_alive_interval == 120
    assert c.client.proxy_jump == ()
    assert c.remote_forwards == (Forward(None, 2000, "localhost", 22),)

    write(
        """\
        Host t1
            HostName 192.0.2.1
            User relay
            ServerAliveInterval 120
        Host c1
            HostName localhost
            User root
            ProxyJump t1
            ServerAliveInterval 120
            Port 2000
        """
    )
    a = of_connect("-L", "3000:localhost:8000", "c1")
    assert (a.client.host, a.client.user, a.client.port) == ("localhost", "root", 2000)
    assert a.client.server_alive_interval == 120
    assert a.local_forwards == (Forward(None, 3000, "localhost", 8000),)
    assert a.client.proxy_jump == (c.client,)


def test_flags_then_options_then_the_user_then_the_system(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write("User user\nPort 1\nBindAddress user\nIdentityFile ~/u")
    write(
        "Port 2\nHostKeyAlias system\nIdentityFile /s\nInclude conf.d/*.conf",
        tmp_path / "system" / "ssh_config",
    )
    write("ConnectTimeout 7", tmp_path / "system" / "conf.d" / "a.conf")
    write("ConnectTimeout 8", tmp_path / "system" / "conf.d" / "b.conf")
    client = of_agent(R, "-l", "flag", "-oUser=option", "-oBindAddress=option", "-i/f", "b").client
    assert (client.user, client.bind_address, client.port) == ("flag", "option", 1)
    assert (client.host_key_alias, client.connect_timeout) == ("system", 7)
    assert client.identity_files == (Path("/f"), Path.home() / "u", Path("/s"))
    # ssh complains about a file of -i alone.
    assert client.optional_identity_files == {Path.home() / "u", Path("/s")}


def test_a_file_of_ones_own_choice(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("Port 1")
    write("Port 2", tmp_path / "system" / "ssh_config")
    own = write("User own\nHost b\nProxyJump j", tmp_path / "own")
    client = of_agent("-F", str(own), R, "b").client
    assert (client.user, client.port) == ("own", 22)
    # The jump host is looked up in that file too.
    assert [(hop.host, hop.user) for hop in client.proxy_jump] == [("j", "own")]
    assert of_agent("-F", "none", R, "b").client.port == 22
    assert "no such configuration file" in refused(capsys, "-F", "/missing", R, "b", code=1)


def test_a_mistake_is_told_with_its_line(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("Host *\n  ServerAliveInterval 30x")
    expected = f"relay-agent: {path}:2: ServerAliveInterval: '30x': give seconds, or a time such"
    error = refused(capsys, R, "b")
    assert error.startswith(expected)
    assert "--help" not in error
    write("Ciphers rot13")
    assert f"{path}:1: Ciphers: unknown cipher 'rot13'" in refused(capsys, R, "b")
    write("IdentityFile ${NOWHERE}/key")
    assert f"{path}:1: IdentityFile: ${{NOWHERE}}" in refused(capsys, R, "b")
    write("RemoteForward 1 ${NOWHERE}:1")
    assert f"{path}:1: RemoteForward: ${{NOWHERE}}" in refused(capsys, R, "b")


def test_a_file_that_others_could_have_written(
    write: Callable[..., Path],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("Port 1")
    path.chmod(0o666)
    words = f"{path}: others could have written it: `chmod 600 {path}`"
    assert words in refused(capsys, R, "b", code=1)
    path.chmod(0o660)
    members: list[str] = []
    group = grp.struct_group((pwd.getpwuid(os.getuid()).pw_name, "x", 1, members))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: group)
    assert of_agent(R, "b").client.port == 1
    members.append("somebody")
    assert words in refused(capsys, R, "b", code=1)
    path.chmod(0o600)
    included = write("Port 2", home / ".ssh" / "more")
    included.chmod(0o666)
    write("Include more")
    assert f"{path}:1: Include: {included}: others" in refused(capsys, R, "b")


def test_include_from_the_users_folder(write: Callable[..., Path], home: Path) -> None:
    write("Include conf.d/* ~/elsewhere nowhere/*\nUser last")
    write("Port 1", home / ".ssh" / "conf.d" / "1")
    write("Port 2\nBindAddress 1.2.3.4", home / ".ssh" / "conf.d" / "2")
    write("HostName elsewhere", home / "elsewhere")
    client = of_agent(R, "b").client
    assert (client.port, client.bind_address) == (1, "1.2.3.4")
    assert (client.host, client.user) == ("elsewhere", "last")


def test_commands_of_match_exec(write: Callable[[str], Path], tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    write(f'Match exec "echo %h %p %r %u > {witness}"\nPort 1\nMatch exec "exit 3"\nUser x')
    client = of_agent(R, "u@h").client
    assert (client.port, client.user) == (1, "u")
    assert witness.read_text() == "h 22 u me\n"


def test_forwards_of_each_kind(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN", "/run")
    write(
        """\
        LocalForward 3000 gpu1:8000
        LocalForward ${RUN}/%r.%h gpu1:8000
        LocalForward [::1]:3001 /srv/%%
        RemoteForward gpu1:8000 ${RUN}/service
        RemoteForward 0 [::1]:80
        RemoteForward 1080
        DynamicForward localhost:1080
        GatewayPorts yes
        ExitOnForwardFailure no
        PermitRemoteOpen a:1 *:2 [::1]:*
        StreamLocalBindMask 0111
        StreamLocalBindUnlink yes
        """
    )
    a = of_connect("-L", "1:a:1", "u@b")
    assert a.local_forwards == (
        Forward(None, 1, "a", 1),
        Forward(None, 3000, "gpu1", 8000),
        Forward(None, 0, "gpu1", 8000, listen_path="/run/u.b"),
        Forward("::1", 3001, target_path="/srv/%"),
    )
    assert a.dynamic_forwards == (Forward("localhost", 1080),)
    assert a.gateway_ports
    assert not a.exit_on_forward_failure
    assert (a.stream_local_bind_mask, a.stream_local_bind_unlink) == (0o111, True)
    c = of_agent("b")
    assert c.remote_forwards == (
        Forward("gpu1", 8000, target_path="/run/service"),
        Forward(None, 0, "::1", 80),
        Forward(None, 1080),
    )
    assert c.permit_remote_open == (Permit("a", 1), Permit("*", 2), Permit("::1", None))
    assert not c.exit_on_forward_failure
    with pytest.raises(SystemExit):
        of_connect("-oClearAllForwardings=yes", "b")


def test_stdio_takes_the_place_of_forwards(write: Callable[[str], Path]) -> None:
    write("LocalForward 3000 gpu1:8000")
    a = of_connect("-W", "[::1]:22", "b")
    assert a.stdio_forward == ("::1", 22)
    assert a.local_forwards == ()


def test_jump_hosts_and_their_own_configuration(write: Callable[[str], Path]) -> None:
    write(
        """\
        Host c
            ProxyJump a,u@b:7
            User root
        Host a
            HostName a.example
            ProxyJump z
        Host b
            HostName b.example
            Port 8
            User not_me
            ProxyJump never
        Host z
            ProxyCommand nc %h %p
        Match host *.example
            ConnectTimeout 3
        """
    )
    hops = of_agent(R, "-l", "me", "-p", "1", "-i", "/key", "c").client.proxy_jump
    assert [(hop.user, hop.host, hop.port) for hop in hops] == [
        ("me", "z", 22),
        ("me", "a.example", 22),
        ("u", "b.example", 7),
    ]
    assert [hop.proxy_command for hop in hops] == ["nc z 22", "", ""]
    assert [hop.connect_timeout for hop in hops] == [None, 3, 3]
    assert {hop.proxy_jump for hop in hops} == {()}
    assert {hop.identity_files for hop in hops} == {()}
    assert of_agent(R, "-J", "none", "c").client.proxy_jump == ()
    hops = of_agent(R, "-J", "%n.jump,ssh://[::1]:3", "c").client.proxy_jump
    assert [(hop.host, hop.port) for hop in hops] == [("c.jump", 22), ("::1", 3)]


def test_what_is_passed_over_is_told_with_v(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write("Host *\n  UseKeychain yes\n  AddKeysToAgent yes\nMatch final\n  Port 1")
    of_agent(R, "b")
    assert not capsys.readouterr().err
    of_agent(R, "-v", "b")
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "config:2: UseKeychain: " in told


def test_jump_hosts_without_an_end(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write("Host a\nProxyJump b\nHost b\nProxyJump a")
    assert "over more than 16 hosts" in refused(capsys, R, "a")
    write("ProxyJump b")
    assert "ProxyJump of b leads over itself" in refused(capsys, R, "a")


@pytest.mark.parametrize(
    ("level", "verbosity"), [("QUIET", -1), ("info", 0), ("VERBOSE", 1), ("DEBUG3", 3)]
)
def test_the_level_of_the_log(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, level: str, verbosity: int
) -> None:
    write(f"LogLevel {level}")
    levels: list[Any] = []
    monkeypatch.setattr("relay.cli.start.configure", lambda *settings: levels.append(settings[2]))
    of_agent(R, "b")
    of_agent(R, "-vv", "b")
    of_agent(R, "-q", "b")
    assert levels == [verbosity, 2, -1]


# -- names


@pytest.mark.parametrize(
    ("host", "name"),
    [("B.Example", "b.example"), ("127.1", "127.0.0.1"), ("0::1", "::1"), ("b_c", "b_c")],
)
def test_the_name_that_is_looked_up(host: str, name: str) -> None:
    assert ssh_files.real_name(host) == name
    assert of_agent(R, host).client.host == name


def canonical(text: str, host: str, *known: str) -> str:
    config = Config(host, ssh_files.local_facts(), ssh_files.Machine())
    for line in text.split("\n"):
        config.option(line)
    return ssh_files.canonical(config, host, lambda name: name in known)


DOMAINS = "CanonicalizeHostname=yes\nCanonicalDomains=x.example y.example"


def test_canonical_names() -> None:
    assert canonical(DOMAINS, "b", "b.y.example") == "b.y.example"
    assert canonical(DOMAINS, "b", "b.x.example", "b.y.example") == "b.x.example"
    assert canonical(DOMAINS, "b.c", "b.c.x.example") == "b.c.x.example"
    assert canonical(DOMAINS, "b.c.d", "b.c.d.x.example") == "b.c.d"
    assert canonical(DOMAINS, "b.", "b..x.example") == "b."
    assert canonical(DOMAINS, "192.0.2.1") == "192.0.2.1"
    assert canonical(DOMAINS, "b") == "b"
    with pytest.raises(UsageError, match="none of the CanonicalDomains"):
        canonical(f"{DOMAINS}\nCanonicalizeFallbackLocal=no", "b")
    assert canonical(f"{DOMAINS}\nProxyJump=j", "b", "b.x.example") == "b"
    always = DOMAINS.replace("=yes", "=always")
    assert canonical(f"{always}\nProxyJump=j", "b", "b.x.example") == "b.x.example"


def test_the_files_are_read_again_for_a_canonical_name(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_files, "resolves", lambda name: name == "b.x.example")
    write(
        """\
        CanonicalizeHostname yes
        CanonicalDomains x.example
        Host b
            User first
        Host *.x.example
            Port 7
        Match canonical host *.x.example
            BindAddress 1.2.3.4
        """
    )
    client = of_agent(R, "b").client
    assert (client.host, client.user, client.port) == ("b.x.example", "first", 7)
    assert client.bind_address == "1.2.3.4"
