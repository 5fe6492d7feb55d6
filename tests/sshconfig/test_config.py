"""relay/sshconfig/config.py: the rules of ssh_config(5), one by one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import ConfigError, UsageError
from relay.sshconfig import keywords
from relay.sshconfig.config import MAX_INCLUDE_DEPTH
from relay.sshconfig.keywords import KEYWORDS, WITHOUT_MEANING
from relay.sshconfig.tokens import Local, expand_path, expand_tokens, expand_variables
from tests.sshconfig.ssh_config import LOCAL, Outside, config


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
    text = "IgnoreUnknown Use*,addkeys*\nUseWallet yes\nUseless x\nPort 1"
    assert config(text).port == 1
    assert "file:1: UseWallet" in wrong("UseWallet yes\nIgnoreUnknown Use*")
    assert config("UseWallet yes", "host", "IgnoreUnknown=Use*").port == 22


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


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        ("User a;b", "%r"),
        ("User a$(b)", "%r"),
        ("HostName a;b", "%h"),
        ("HostName a$b", "%h"),
        ("HostKeyAlias a|b", "%k"),
    ],
)
def test_no_command_has_a_name_in_it_that_a_shell_would_read(settings: str, token: str) -> None:
    """ssh runs it where the name is a file's: who writes there may write a command as well. But
    tools write names there that they were given."""
    outside = Outside()
    words = wrong(f'{settings}\nMatch exec "true {token}"', outside=outside)
    assert f"file:2: Match exec: {token}" in words
    assert outside.commands == []
    # Without such a command, and in one that does not name it, it is only a name.
    config(f"{settings}\nMatch exec true\nMatch exec 'true %%{token[1]}'", outside=outside)
    assert outside.commands == ["true", f"true {token}"]


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


@pytest.mark.parametrize("line", ["UseKeychain yes", "AddKeysToAgent confirm"])
def test_what_a_mac_has_in_its_file(line: str) -> None:
    result = config(f"Host other\n{line}\nHost *\n{line}\nPort 1")
    assert result.port == 1
    (text,) = result.passed_over
    assert text.startswith(f"file:4: {line.split()[0]}: ")
    assert "ssh-add" in text
    # What is switched off need not be told of, nor what the user says ssh is to pass over.
    assert not config("UseKeychain no\nAddKeysToAgent no").passed_over
    assert not config(f"IgnoreUnknown UseKeychain,AddKeysToAgent\n{line}").passed_over


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
