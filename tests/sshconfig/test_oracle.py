"""What ssh makes of a file, we make of it: `ssh -G` is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.ssh_files import Machine
from relay.errors import UsageError
from relay.sshconfig import keywords
from relay.sshconfig.config import Config
from relay.sshconfig.keywords import KEYWORDS
from tests.sshconfig.ssh_config import LOCAL, Outside, config

SSH = shutil.which("ssh")


@pytest.fixture(scope="module")
def ssh() -> str:
    if SSH is None:
        if os.environ.get("CI"):
            pytest.fail("no ssh to compare with")
        pytest.skip("no ssh to compare with")
    return SSH


FLAGS = {True: ("yes", "true"), False: ("no", "false")}

DEFAULTS: dict[str, Any] = {
    "addressfamily": "any",
    "canonicalizehostname": "no",
    "clearallforwardings": False,
    "connecttimeout": None,
    "gatewayports": False,
    "hashknownhosts": False,
    "identitiesonly": False,
    "serveralivecountmax": 3,
    "serveraliveinterval": 0,
    "stricthostkeychecking": "ask",
    "streamlocalbindunlink": False,
    "tcpkeepalive": True,
}
"""ssh's defaults of what it prints for every host."""


def ours(result: Config) -> dict[str, list[str]]:
    """What `ssh -G` prints about what we know."""
    shown: dict[str, list[str]] = {
        "user": [result.user],
        "hostname": [result.host],
        "port": [str(result.port)],
    }
    for name, default in DEFAULTS.items():
        value = result.get(KEYWORDS[name], default)
        if name == "serveraliveinterval" and value is None:
            value = 0
        shown[name] = [str(value)]
    for keyword in (keywords.BIND_ADDRESS, keywords.HOST_KEY_ALIAS, keywords.PROXY_COMMAND):
        value = result.get(keyword)
        shown[keyword.name.lower()] = [] if value is None else [value]
    if shown["proxycommand"] == ["none"]:
        shown["proxycommand"] = []
    shown["hostkeyalias"] = [alias.lower() for alias in shown["hostkeyalias"]]
    for keyword in (keywords.IDENTITY_FILE, keywords.CERTIFICATE_FILE):
        shown[keyword.name.lower()] = [text for text, _ in result.all(keyword)]
    hops = result.get(keywords.PROXY_JUMP, ())
    shown["proxyjump"] = [
        ",".join(
            f"{hop.user}@{hop.host}"
            if hop.user
            else hop.host + (f":{hop.port}" if hop.port else "")
            for hop in hops
        )
    ] * bool(hops)
    size, time = result.get(keywords.REKEY_LIMIT, (0, 0))
    shown["rekeylimit"] = [f"{size} {time}"]
    return shown


def theirs(output: str) -> dict[str, list[str]]:
    """The same of ssh's answer."""
    shown: dict[str, list[str]] = {name: [] for name in ours(Config("h", LOCAL, Outside()))}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if name not in shown:
            continue
        default = DEFAULTS.get(name)
        if isinstance(default, bool):
            value = str(value in FLAGS[True])
        elif name in ("stricthostkeychecking", "canonicalizehostname"):
            value = {"true": "yes", "false": "no"}.get(value, value)
        elif name == "proxyjump":
            value = value.replace("[", "").replace("]", "")  # It has brackets for addresses.
        elif value == "none" and name == "connecttimeout":
            value = "None"
        shown[name].append(value)
    if all(name.startswith("~/.ssh/id_") for name in shown["identityfile"]):
        shown["identityfile"] = []
    return shown


def check(ssh: str, folder: Path, text: str, host: str, *options: str) -> None:
    """ssh and we say the same of this file: that it is wrong, or what follows from it."""
    path = folder / "config"
    path.write_text(text)
    command = [ssh, "-G", "-F", str(path)]
    command += [word for option in options for word in ("-o", option)]
    answer = subprocess.run([*command, host], capture_output=True, text=True, check=False)
    if answer.returncode:
        with pytest.raises(UsageError):
            config(text, host, *options, outside=Machine())
    else:
        result = config(text, host, *options, outside=Machine())
        assert ours(result) == theirs(answer.stdout), text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "User x\nUser y",
        "HostName %h.example.com\nMatch host *.example.com\nPort 1",
        "HostName UPPER.example",
        "Host a\nPort 1\nHost host\nPort 2\nHost *\nPort 3",
        "Host !host *\nPort 1",
        "Host HOST\nPort 1",
        "Match host HOST\nPort 1",
        "Match originalhost host user x\nPort 1\nMatch user root,x\nPort 2",
        "Match exec true\nPort 1\nMatch exec false\nUser x",
        'Match exec "test %h = host -a %p = 22"\nUser x',
        "Match !host a !user b\nPort 1",
        "Match final\nPort 1",
        "Match final host real\nPort 1\nHost host\nHostName real\nHost real\nUser x",
        "Match canonical\nPort 1",
        "Match all\nPort 1\nMatch all host x\nPort 2",
        "Match canonical all\nPort 1",
        "Match weather fine",
        "Match host",
        "ServerAliveInterval 30s",
        "ServerAliveInterval 1h30m # comment",
        "ServerAliveInterval 30S",
        "ServerAliveInterval 3x",
        "ServerAliveCountMax 3s",
        "ConnectTimeout 1m",
        "ConnectTimeout none",
        "RekeyLimit 1G 1h",
        "RekeyLimit default none",
        "RekeyLimit 512k",
        "RekeyLimit 15",
        "Port 65536",
        "Port 0",
        "Port 22 # x",
        "Port=22",
        "Port = 23",
        "Port == 23",
        'Port "24"',
        'User "a b"',
        "User a b",
        r"HostKeyAlias a\ b",
        "ProxyCommand nc  -x '#' %h %p  # not a comment",
        "ProxyCommand=nc %h",
        "ProxyCommand none\nProxyJump a",
        "ProxyJump a\nProxyCommand nc",
        "ProxyJump none\nProxyCommand nc",
        "ProxyJump u@a,b:2",
        "ProxyJump ssh://a:33",
        "ProxyJump a:b",
        "IdentityFile a\nIdentityFile b\nIdentityFile a\nCertificateFile c\nCertificateFile d",
        "TCPKeepAlive No\nHashKnownHosts TRUE\nIdentitiesOnly yes\nGatewayPorts yes",
        "TCPKeepAlive on",
        "StrictHostKeyChecking off",
        "StrictHostKeyChecking accept-new",
        "StrictHostKeyChecking Ask",
        "AddressFamily inet6",
        "AddressFamily inet4",
        "LocalForward 1 a:1\nLocalForward 2 /b\nRemoteForward /c d:2\nDynamicForward 5",
        "LocalForward 1",
        "LocalForward x a:1",
        "RemoteForward 1080",
        "RemoteForward 0 a:1",
        "PermitRemoteOpen a:1 *:2 b:*",
        "PermitRemoteOpen a",
        "Unknown x",
        "IgnoreUnknown Unk*,X*\nUnknown x\nxyz 1",
        "IgnoreUnknown none\nUnknown x",
        "ForwardX11 yes\nControlMaster auto\nRequestTTY force\nSendEnv LANG LC_*",
        "BindAddress 127.0.0.1\nHostKeyAlias Alias",
        "StreamLocalBindMask 0111\nStreamLocalBindUnlink yes",
        "StreamLocalBindMask 999",
        "LogLevel debug3",
        "LogLevel loud",
        "User 'x",
        "User",
        "User #x",
        "   User x   ",
    ],
)
def test_ssh_says_the_same(ssh: str, tmp_path: Path, text: str) -> None:
    check(ssh, tmp_path, text, "host")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("User file\nIdentityFile f", ["User=first", "User second", "IdentityFile=o"]),
        ("Match user x\nPort 1", ["User=x"]),
        ("", ["Port"]),
        ("", ["Port=x"]),
        ("", ["Host=x"]),
        ("UseKeychain x", ["IgnoreUnknown=UseKeychain"]),
        ("ProxyJump a", ["ProxyCommand=nc"]),
        ("", ["ProxyCommand=a b 'c d'"]),
        ("Match exec true\nPort 1", ["User=a;b"]),
        ("", ["User=a`b`"]),
        ("", ["User=-x"]),
        ("", ["User=a\\"]),
        ("", ['User="a -b"']),
        ("", ["User=DOMAIN\\me"]),
        ("", ["User=machine$"]),
        ("", ['User="first last"']),
        ("User a;b\nPort 1", []),
    ],
)
def test_ssh_says_the_same_of_options(
    ssh: str, tmp_path: Path, text: str, options: list[str]
) -> None:
    check(ssh, tmp_path, text, "host", *options)


values = st.sampled_from(
    ["yes", "no", "1", "30s", "x", '"a b"', "none", "%h", "*", "a,b", "ask", ""]
)
NAMES = (
    "Host Match User Port HostName IdentityFile ServerAliveInterval TCPKeepAlive HashKnownHosts "
    "BindAddress ProxyCommand AddressFamily Unknown"
)
CONDITIONS = (
    "Host *|Host a|Host b !a|Match user x|Match host a|Match originalhost a user !x,*|"
    "Match all|Match final host a|Match final"
)
SETTINGS = (
    "User x|User y|Port 1|Port 2|HostName b|HostName %h.c|IdentityFile f|IdentityFile g|"
    "TCPKeepAlive no|ServerAliveInterval 1m|ProxyJump j|ProxyCommand p|HostKeyAlias a|"
    "AddressFamily inet|ConnectTimeout 3|StrictHostKeyChecking no|# comment|"
)
names = st.sampled_from(NAMES.split(" "))
lines = st.sampled_from(f"{CONDITIONS}|{SETTINGS}".split("|"))


@given(st.lists(st.tuples(names, values), max_size=3), st.sampled_from([" ", "=", " = ", "\t"]))
@settings(max_examples=60, deadline=None)
def test_ssh_says_the_same_of_lines(
    ssh: str, tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], equals: str
) -> None:
    # To ssh a time of none is as good as no value: the next one counts.
    pairs = [pair for pair in pairs if pair != ("ServerAliveInterval", "none")]
    text = "\n".join(equals.join(pair) for pair in pairs)
    check(ssh, folder(tmp_path_factory), text, "a")


@given(st.lists(lines, max_size=12), st.sampled_from(["a", "b"]))
@settings(max_examples=100, deadline=None)
def test_ssh_says_the_same_of_files(
    ssh: str, tmp_path_factory: pytest.TempPathFactory, file: list[str], host: str
) -> None:
    check(ssh, folder(tmp_path_factory), "\n".join(file), host)


_folders: list[Path] = []


def folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples."""
    if not _folders:
        _folders.append(factory.mktemp("ssh"))
    return _folders[0]


@pytest.fixture(scope="module", autouse=True)
def _forget_folder() -> Iterator[None]:
    yield
    _folders.clear()
