"""URLs of HTTP proxies, and what the environment says of them: as curl reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import UsageError
from relay.sshconfig import keywords
from relay.sshconfig.proxy import HttpProxy, UnknownScheme, is_here, of_environment, parse
from tests.sshconfig.ssh_config import config


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", HttpProxy("proxy", 3128)),
        ("HTTP://proxy:3128/", HttpProxy("proxy", 3128)),
        ("http://proxy", HttpProxy("proxy", 80)),
        ("https://proxy", HttpProxy("proxy", 443, tls=True)),
        ("proxy:3128", HttpProxy("proxy", 3128)),
        ("http://[2001:db8::1]:3128", HttpProxy("2001:db8::1", 3128)),
        ("http://user@proxy:3128", HttpProxy("proxy", 3128, user="user")),
        ("http://user:@proxy:3128", HttpProxy("proxy", 3128, user="user")),
        ("user:pass@proxy:3128", HttpProxy("proxy", 3128, user="user", password="pass")),
        ("http://u:p:a@/s#s@proxy:1", HttpProxy("proxy", 1, user="u", password="p:a@/s#s")),
        ("http://d%5Cu:p%40s%25@proxy:1", HttpProxy("proxy", 1, user="d\\u", password="p@s%")),
    ],
)
def test_a_url(text: str, proxy: HttpProxy) -> None:
    found = parse(text, "ProxyURL")
    assert found == proxy
    assert found.password == proxy.password
    assert not found.password or found.password not in repr(found).replace("password", "")
    again = parse(found.url, "ProxyURL")
    assert (again.host, again.port, again.tls, again.user) == (
        found.host, found.port, found.tls, found.user,
    )  # fmt: skip


NONE = [
    "", "http://", "http://:3128", "http://proxy:0", "http://proxy:70000", "http://proxy:",
    "http://proxy:x", "http://a b:1", "http://[proxy]:1", "http://[::1:1", "http://proxy:1/path",
    "http://proxy:1?x", "http://a%3Ab:secret@proxy:1", "http://:secret@proxy:1",
    "http://u:secret%0d%0aX@proxy:1", "http://u:secret@-x:1", "http://u:secret@$(x):1",
    "u:secret@", "http://u:secret@@", "socks5://u:secret@proxy:1", "ftp://u:secret@proxy",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "ProxyURL")
    assert "secret" not in str(caught.value)
    assert "http://proxy:3128" in str(caught.value)


@given(st.text(min_size=1), st.text())
def test_a_user_and_a_password_come_back(user: str, password: str) -> None:
    try:
        found = parse(HttpProxy("proxy", 1, user=user).url, "x")
    except UsageError:
        return
    assert found.user == user


# -- on the command line and in files

SECRETS = [
    "ProxyURL=http://user:secret@proxy:3128",
    "proxyurl http://user:secret@proxy:3128",
    'ProxyURL="http://user:secret@proxy:3128',
    "ProxyURL=http://user:my secret@proxy:3128",
    "ProxyURL=user:secret@proxy:3128",
    "ProxyURL=socks5://user:secret@proxy:3128",
    "ProxyURL=http://user:secret",
    "ProxyURL=http://user:secret@proxy:x",
    "ProxyURL==http://user:secret@proxy",
    "ProxyURI=http://user:secret@proxy:3128",
    "ProxyURL http://proxy http://user:secret@proxy",
]


@pytest.mark.parametrize("option", SECRETS)
def test_a_password_has_no_place_there_and_is_not_repeated(option: str) -> None:
    for text, options in (("", (option,)), (option, ())):
        with pytest.raises(UsageError) as caught:
            config(text, "host", *options)
        assert "secret" not in str(caught.value)
        assert "Proxy" in str(caught.value)


def test_who_gives_a_password_is_told_what_to_do() -> None:
    with pytest.raises(UsageError) as caught:
        config("", "host", SECRETS[0])
    assert str(caught.value).startswith("-o ProxyURL: a password has no place here")
    assert "-o ProxyPasswordFile=FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "proxies"),
    [
        ("", None),
        ("ProxyURL none", ()),
        ("ProxyURL NONE\nProxyURL http://p:1", ()),
        ("ProxyURL http://u@p:1\nProxyURL none", (HttpProxy("p", 1, user="u"),)),
        ("Host x\nProxyURL http://p:1", None),
    ],
)
def test_the_keyword(text: str, proxies: object) -> None:
    assert config(text).get(keywords.PROXY_URL) == proxies


# -- the environment


def from_environment(host: str = "b.example", **environ: str) -> str:
    proxy = of_environment(environ, host)
    return proxy.where if proxy else ""


def test_which_variable_counts() -> None:
    all_four = {
        "https_proxy": "a:1", "HTTPS_PROXY": "b:1", "all_proxy": "c:1", "ALL_PROXY": "d:1",
    }  # fmt: skip
    for host in "abcd":
        assert from_environment(**all_four) == f"{host}:1"
        all_four[list(all_four)["abcd".index(host)]] = ""
    assert from_environment(**all_four) == ""
    assert from_environment(http_proxy="a:1", HTTP_PROXY="a:1") == ""


def test_a_variable_that_is_wrong_is_named_and_not_repeated() -> None:
    for value, kind in (
        ("http://u:secret@:1", UsageError),
        ("socks5h://u:secret@p", UnknownScheme),
    ):
        with pytest.raises(kind, match=r"^HTTPS_PROXY in the environment: ") as caught:
            from_environment(HTTPS_PROXY=value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1",
     "0.0.0.0", "::"],
)  # fmt: skip
def test_this_machine_is_not_behind_a_proxy(host: str) -> None:
    assert is_here(host)
    assert from_environment(host, https_proxy="p:1") == ""


@pytest.mark.parametrize(
    ("patterns", "host", "excepted"),
    [
        ("*", "b.example", True),
        ("b.example", "b.example", True),
        ("b.example", "B.Example.", True),
        ("example", "b.example", True),
        (".example", "b.example", True),
        (".b.example", "b.example", True),
        ("xample", "b.example", False),
        ("a, b.example", "b.example", True),
        ("a b.example", "b.example", True),
        ("", "b.example", False),
        (".", "b.example", False),
        (",,", "b.example", False),
        ("*.example", "b.example", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.11", False),
        ("0.0.1", "10.0.0.1", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.0.0/8", "10.2.0.0", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("10.0.0.0/99", "10.0.0.1", False),
    ],
)
def test_no_proxy(patterns: str, host: str, excepted: bool) -> None:
    assert from_environment(host, https_proxy="p:1", no_proxy=patterns) == "p:1" * (not excepted)
    assert from_environment(host, https_proxy="p:1", NO_PROXY=patterns) == "p:1" * (not excepted)


def test_the_lower_case_wins() -> None:
    for one, other in (("*", "x"), ("x", "*")):
        found = from_environment(https_proxy="p:1", no_proxy=one, NO_PROXY=other)
        assert found == "p:1" * (one == "x")
