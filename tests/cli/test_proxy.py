"""By which proxy a leg goes: ProxyURL, the environment, and what wins over both."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from relay.cli.client_config import client_config
from relay.cli.ssh_files import load
from relay.errors import UsageError
from relay.sshconfig.client import ClientConfig
from relay.sshconfig.proxy import HttpProxy
from tests.programs.chain import find

P = "ProxyURL=http://p:1"


def client(*options: str, host: str = "b.example", text: str = "") -> ClientConfig:
    """By these options, and a file with this text."""
    file = "none"
    if text:
        Path("config").write_text(text)
        file = "config"

    def flags(config: object) -> None:
        for option in options:
            config.option(option)  # type: ignore[attr-defined]

    config = load(host, file, flags)
    result = client_config(config, file)
    client.passed_over = config.passed_over  # type: ignore[attr-defined]
    return result


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_keyword_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client().http_proxy is None
    assert client(P).http_proxy == HttpProxy("p", 1)
    monkeypatch.setenv("HTTPS_PROXY", "http://u:secret@e:2")
    found = client().http_proxy
    assert found == HttpProxy("e", 2, user="u", password="secret", named_by="HTTPS_PROXY")
    assert "secret" not in repr(client())
    assert client(P).http_proxy == HttpProxy("p", 1)
    assert client("ProxyURL=none").http_proxy is None
    monkeypatch.setenv("NO_PROXY", ".example")
    assert client().http_proxy is None
    assert client(P).http_proxy == HttpProxy("p", 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "::1"])
def test_this_machine_is_reached_as_it_is(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://e:2")
    assert client(host=host).http_proxy is None
    assert client(f"HostName={host}").http_proxy is None
    assert client(P, host=host).http_proxy == HttpProxy("p", 1)


@pytest.mark.parametrize("way", ["ProxyCommand=nc %h %p", "ProxyJump=j"])
def test_proxy_command_and_proxy_jump_win(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://e:2")
    for options in ([way], [P, way], [way, P]):
        assert client(*options).http_proxy is None
    none = way.partition("=")[0] + "=none"
    proxy = client(none).http_proxy
    assert proxy is not None
    assert proxy.where == "e:2"


def test_the_first_jump_host_is_reached_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what is dialled from here."""
    monkeypatch.setenv("HTTPS_PROXY", "http://e:2")
    first, second = client("ProxyJump=j,k").proxy_jump
    assert first.http_proxy == HttpProxy("e", 2, named_by="HTTPS_PROXY")
    assert second.http_proxy is None
    text = "Host j k\n ProxyURL http://p:1"
    first, second = client("ProxyJump=j,k", text=text).proxy_jump
    assert first.http_proxy == HttpProxy("p", 1)
    assert second.http_proxy is None


def test_the_file_with_the_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "ProxyPasswordFile=~/%h"
    url = "ProxyURL=http://u@p:1"
    expected = HttpProxy("p", 1, user="u", password_file=home / "b.example")
    assert client(url, file).http_proxy == expected
    assert client(file).http_proxy is None
    with pytest.raises(UsageError, match="names a user: name a file with the password"):
        client(url)
    with pytest.raises(UsageError, match="ProxyURL names no user: give http://user@proxy:3128"):
        client(P, file)
    monkeypatch.setenv("ALL_PROXY", "http://u:secret@e:2")
    found = client(file).http_proxy
    assert found is not None
    assert (found.password, found.password_file) == ("", home / "b.example")
    monkeypatch.setenv("ALL_PROXY", "http://u@e:2")  # As curl: an empty password.
    assert client().http_proxy == HttpProxy("e", 2, user="u", named_by="ALL_PROXY")


def test_a_variable_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://u:secret@e:2")
    assert client().http_proxy is None
    (told,) = client.passed_over  # type: ignore[attr-defined]
    assert told.startswith("ALL_PROXY in the environment: only http:// and https://")
    assert "secret" not in told
    monkeypatch.setenv("ALL_PROXY", "http://u:secret@:2")
    with pytest.raises(UsageError, match=r"^ALL_PROXY in the environment: no host") as caught:
        client()
    assert "secret" not in str(caught.value)


def test_a_file_for_ssh_too() -> None:
    """ssh refuses a keyword that it does not know, unless the file says otherwise first."""
    text = "IgnoreUnknown ProxyURL,ProxyPasswordFile\nProxyURL http://p:1\n"
    assert client(text=text).http_proxy == HttpProxy("p", 1)
    command = [find("ssh"), "-F", "config", "-G", "b"]
    assert subprocess.run(command, check=True, capture_output=True).stdout
