"""relay/policy/ssh_config.py: what ssh makes of a file, we make of it. `ssh -G` is asked."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.ssh_files import Machine, real_name
from relay.errors import ConfigError, UsageError
from relay.policy import ssh_keywords as keywords
from relay.policy.ssh_config import MAX_INCLUDE_DEPTH, Config, Source
from relay.policy.ssh_config import Outside as OutsideProtocol
from relay.policy.ssh_keywords import KEYWORDS, WITHOUT_MEANING
from relay.policy.ssh_tokens import Local, expand_path, expand_tokens, expand_variables
from relay.policy.ssh_words import Place

SSH = shutil.which("ssh")
LOCAL = Local(
    user=getpass.getuser(),
    uid=os.getuid(),
    home="/home/me",
    hostname=socket.gethostname(),
    environ={"VAR": "value", "SOCKET": "/run/socket"},
)


@dataclass
class Outside:
    """A machine that is made of a dict."""

    files: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def find(self, pattern: str) -> list[str]:
        return sorted(name for name in self.files if fnmatchcase(name, pattern))

    def read(self, path: str, place: Place) -> str:
        return self.files[path]

    def run(self, command: str) -> bool:
        self.commands.append(command)
        return command.startswith("true")


def config(
    text: str,
    host: str = "host",
    *options: str,
    outside: OutsideProtocol | None = None,
    user: bool = True,
) -> Config:
    """The configuration of a host by one file, read again if it asks for that."""
    result = Config(host, LOCAL, outside or Outside())
    for option in options:
        result.option(option)
    source = Source("file", "/home/me/.ssh" if user else "/etc/ssh", user)
    result.read(text, source)
    final = result.wants_final
    result.begin_final(real_name(result.host))
    if final:
        result.read(text, source)
    return result


def wrong(text: str, *, outside: Outside | None = None, user: bool = True) -> str:
    """What is said about a file that is wrong."""
    with pytest.raises(ConfigError) as caught:
        config(text, outside=outside, user=user)
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- lines


@pytest.mark.parametrize(
    "line",
    [
        "User x",
        "user=x",
        "USER = x",
        "\tUser\tx\t",
        'User "x"',
        "User 'x'",
        "User x # a comment",
        "User x #",
        "User x\r",
        "User x\f",
        '"User" x',
        "User =x",
        "User= x",
        "# User y\nUser x",
        "\n \n#\nUser x",
        "User x\nUser y",
    ],
)
def test_a_line_in_all_its_forms(line: str) -> None:
    assert config(line).user == "x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a b"', "a b"),
        (r"a\ b", "a b"),
        (r"a\b", r"a\b"),
        (r'"a\"b"', 'a"b'),
        (r"'a\ b'", r"a\ b"),
        ("a'b c'd", "ab cd"),
        ("a#b", "a#b"),
        ('"#b"', "#b"),
        ("a\\", "a\\"),
        (r"a\\b", r"a\b"),
    ],
)
def test_quotes(value: str, expected: str) -> None:
    assert config(f"HostKeyAlias {value}").get(keywords.HOST_KEY_ALIAS) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Port", "file:1: Port has no value: give Port=value"),
        ("Port # 22", "file:1: Port has no value"),
        ("\n\nPort 0", "file:3: Port: '0' is no port: give 1 to 65535"),
        ("Port ssh", "file:1: Port: 'ssh' is no port"),
        ("Port 22 23", "file:1: Port: one value is enough, '23' is too much"),
        ('Port ""', "a value is empty"),
        ('User "x', "file:1: User: a quotation mark is not closed"),
        ("ServerAliveInterval 30x", "'30x': give seconds, or a time such as 1m30s"),
        ("ServerAliveInterval -1", "'-1': give seconds"),
        ("ServerAliveInterval 99999999999", "give seconds"),
        ("ServerAliveCountMax many", "give a number"),
        ("TCPKeepAlive maybe", "'maybe': give yes, no, true or false"),
        ("AddressFamily ipv4", "'ipv4': give any, inet or inet6"),
        ("StrictHostKeyChecking perhaps", "ask, accept-new"),
        ("LogLevel LOUD", "quiet, fatal, error"),
        ("StreamLocalBindMask 888", "give an octal mask such as 0177"),
        ("RekeyLimit 1X", "give a size such as 512M or 1G"),
        ("RekeyLimit 1", "give at least 16 bytes"),
        ("LocalForward 3000", "give [bind:]port host:hostport"),
        ("LocalForward 3000 gpu1", "give [bind:]port:host:hostport"),
        ("DynamicForward x", "'x'"),
        ("PermitRemoteOpen a", "give host:port"),
        ("PermitRemoteOpen a:1 any", "any, or none, alone"),
        ("ProxyJump a,b c", "no destination"),
        ("UserKnownHostsFile a none", "none stands alone"),
        ("Prot 22", "Prot is no keyword of ssh_config, Port perhaps (IgnoreUnknown Prot lets"),
        ("Host other\nPort x", "file:2: Port: 'x' is no port"),
        ("Host other\nUnheardOf x", "file:2: UnheardOf is no keyword"),
        ('Host ""', "a pattern is empty"),
        ("BindInterface eth0", "BindInterface is not served: name the interface's address"),
        ("RevokedHostKeys /etc/revoked", "RevokedHostKeys is not served: list these keys"),
        ("=", "a line is Keyword value"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_right(text: str, words: str) -> None:
    assert words in wrong(text)


@pytest.mark.parametrize(
    "text", ["RevokedHostKeys none", "ProxyUseFdpass no", "Host o\nBindInterface x"]
)
def test_what_is_not_served_may_be_declined(text: str) -> None:
    config(text)


def test_what_means_nothing_here_is_passed_over() -> None:
    config("ForwardX11 yes\nSendEnv LANG LC_*\nControlMaster auto\nGSSAPIAuthentication yes")
    assert not WITHOUT_MEANING & KEYWORDS.keys()


def test_unknown_keywords_that_are_to_be_ignored() -> None:
    text = "IgnoreUnknown Use*,addkeys*\nUseKeychain yes\nUseless x\nPort 1"
    assert config(text).port == 1
    assert "file:1: UseKeychain" in wrong("UseKeychain yes\nIgnoreUnknown Use*")
    assert config("UseKeychain yes", "host", "IgnoreUnknown=Use*").port == 22


# -- which value counts


def test_the_first_value_counts_and_some_add_up() -> None:
    result = config(
        "IdentityFile a\nIdentityFile b\nIdentityFile a\nUser x\nUser y\n"
        "LocalForward 1 a:1\nLocalForward 1 a:1\nLocalForward 2 b:2",
        "host",
        "User=first",
        "IdentityFile=c",
    )
    assert result.user == "first"
    assert [text for text, _ in result.all(keywords.IDENTITY_FILE)] == ["c", "a", "b"]
    assert [text for text, _ in result.all(keywords.LOCAL_FORWARD)] == ["1:a:1", "2:b:2"]
    assert str(result.all(keywords.IDENTITY_FILE)[2][1]) == "file:2"


@pytest.mark.parametrize(
    ("text", "command", "hops"),
    [
        ("ProxyCommand a\nProxyJump b", "a", 0),
        ("ProxyJump b\nProxyCommand a", None, 1),
        ("ProxyJump none\nProxyCommand a", "a", 0),
        ("ProxyCommand none\nProxyJump b", "none", 0),
        ("ProxyJump none\nProxyJump b", None, 0),
    ],
)
def test_proxy_jump_and_proxy_command_compete(text: str, command: str | None, hops: int) -> None:
    result = config(text)
    assert result.get(keywords.PROXY_COMMAND) == command
    assert len(result.get(keywords.PROXY_JUMP, ())) == hops


# -- Host, Match, Include


@pytest.mark.parametrize(
    ("patterns", "host", "matches"),
    [
        ("host", "host", True),
        ("*", "host", True),
        ("h?st *.x", "host", True),
        ("a b host", "host", True),
        ("!host *", "host", False),
        ("* !host", "host", False),
        ("!other", "host", False),
        ("!other *", "host", True),
        ("Host", "host", False),
        ("a,host", "host", False),
        ('"host"', "host", True),
    ],
)
def test_host_patterns(patterns: str, host: str, matches: bool) -> None:
    assert (config(f"Host {patterns}\nPort 1", host).port == 1) is matches


def test_host_patterns_are_for_what_was_typed() -> None:
    assert config("Host a\nHostName b\nHost b\nPort 1", "a").port == 22


@pytest.mark.parametrize(
    ("criteria", "matches"),
    [
        ("all", True),
        ("!all", False),
        ("host real", True),
        ("host REAL", True),
        ("host typed", False),
        ("originalhost typed", True),
        ("originalhost other,typ*", True),
        ("originalhost !typed,*", False),
        ("originalhost=typed", True),
        ("user me", True),
        ("user ME", False),
        ("!user me", False),
        ("user me host other", False),
        ("!host other user m?", True),
        (f"localuser {LOCAL.user}", True),
        ("tagged work", True),
        ("tagged home", False),
        ("canonical", False),
        ("!canonical", True),
        ('exec "true %h %p %%"', True),
        ('exec "false"', False),
        ('!exec "false"', True),
    ],
)
def test_match(criteria: str, matches: bool) -> None:
    text = f"HostName real\nUser me\nTag work\nMatch {criteria}\nPort 1"
    assert (config(text, "typed").port == 1) is matches


def test_a_command_is_run_only_if_it_decides() -> None:
    outside = Outside()
    text = 'Match host other exec "true 1"\nMatch host host exec "true %n %p %r %k"'
    config(text, "host", "Port=7", "User=u", "HostKeyAlias=k", outside=outside)
    assert outside.commands == ["true host 7 u k"]


def test_the_final_pass_knows_what_became_of_it() -> None:
    text = "Match final host real\nPort 1\nHost typed\nHostName real\nHost real\nUser x"
    result = config(text, "typed")
    assert (result.host, result.port, result.user) == ("real", 1, "x")
    assert config("Match !final\nPort 1\nMatch canonical\nUser x").user != "x"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Match", "Match has no value"),
        ("Match host", "host needs a value"),
        ("Match weekday monday", "file:1: Match: unknown criterion 'weekday': known are all,"),
        ("Match localnetwork 10.0.0.0/8", "unknown criterion 'localnetwork'"),
        ("Match all host a", "all stands alone"),
        ("Match host a all user b", "all stands alone"),
        ("Match exec %x", "file:1: Match exec: %x"),
    ],
)
def test_a_wrong_match(line: str, words: str) -> None:
    assert words in wrong(line)


def test_include() -> None:
    outside = Outside(
        {
            "/home/me/.ssh/conf.d/1": "Port 1\nHost other\nPort 2",
            "/home/me/.ssh/conf.d/2": "User two",
            "/etc/ssh/conf.d/1": "Port 3",
            "/abs": "HostName abs",
            "/home/me/v": "BindAddress 1",
        }
    )
    text = "Include conf.d/* /abs /missing\nUser after"
    result = config(text, outside=outside)
    assert (result.port, result.user, result.host) == (1, "two", "abs")
    assert config(text, outside=outside, user=False).port == 3
    assert config("Host other\nInclude /abs\nHost *\nPort 5", outside=outside).host == "host"
    # A Host in an included file ends with it.
    assert config("Include conf.d/1\nUser after", outside=outside).user == "after"
    assert config("Include %d/v", outside=outside).get(keywords.BIND_ADDRESS) == "1"
    assert config("Include ${VAR}/v /abs", outside=outside).host == "abs"


def test_a_file_that_includes_itself_ends() -> None:
    words = wrong("Include /self", outside=Outside({"/self": "Include /self"}))
    assert words == f"/self:1: Include: files include files {MAX_INCLUDE_DEPTH} times over"


def test_a_mistake_in_an_included_file() -> None:
    outside = Outside({"/bad": "\nPort x"})
    assert wrong("Include /bad", outside=outside).startswith("/bad:2: Port:")
    assert wrong("Host other\nInclude /bad", outside=outside).startswith("/bad:2: Port:")
    assert "no file of the system's" in wrong("Include ~/x", user=False)


# -- tokens


def test_tokens() -> None:
    values = config("HostName %h.example\nPort 7\nUser u\nProxyJump a,j").tokens()
    assert expand_tokens("%h %p %r %n %k %u %d %i %%h %j", values) == (
        f"host.example 7 u host host {LOCAL.user} /home/me {LOCAL.uid} %h j"
    )
    assert expand_tokens("%l|%L", values) == f"{LOCAL.hostname}|{LOCAL.hostname.split('.')[0]}"
    assert config("HostKeyAlias k").tokens()["k"] == "k"
    with pytest.raises(UsageError, match="%p in '%p' is no token here: known are %%, %h"):
        expand_tokens("%p", values, "h")
    with pytest.raises(UsageError, match="no token"):
        expand_tokens("50%", values)


def test_a_host_name_takes_no_other_token() -> None:
    assert "file:1: HostName: %p" in wrong("HostName %p")


def test_variables() -> None:
    assert expand_variables("a${VAR}b$VAR", LOCAL.environ) == "avalueb$VAR"
    for text in ("${NOT}", "${VAR"):
        with pytest.raises(UsageError, match="no such environment variable"):
            expand_variables(text, LOCAL.environ)


def test_paths() -> None:
    values = config("").tokens()
    local = Local("me", 1, "/h%h", "l", {"VAR": "%h~"})
    assert expand_path("~/%h/${VAR}", values, local) == "/h%h/host/%h~"
    assert expand_path("~", values, local) == "/h%h"
    assert expand_path("a~", values, local) == "a~"


@given(st.text())
@settings(max_examples=300)
def test_any_text_is_a_file_or_a_usage_error(text: str) -> None:
    with suppress(ConfigError):
        config(text)


# -- the oracle


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
