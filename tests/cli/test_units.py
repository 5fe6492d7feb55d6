"""`--print-unit`: a file that systemd takes, or an error that says what to do.

(Whether what is printed starts is shown in tests/programs/test_printed_units.py.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli import agent, connect, server
from relay.cli.service import quoted
from relay.errors import UsageError
from tests.programs.service import Unit

MAINS: dict[str, Callable[[list[str]], int]] = {
    "relay-server": server.main,
    "relay-agent": agent.main,
    "relay-connect": connect.main,
}

NEW = ["-o", "StrictHostKeyChecking=accept-new"]
R = ["-R", "gpu1:8000:localhost:8000"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Who prints: with a key, and a known_hosts that names b:2222."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    for name in ("key", "other key"):
        (tmp_path / name).touch(mode=0o600)
        key.write_private_key(tmp_path / name)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    public = key.export_public_key().decode()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[b]:2222 {public}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], program: str, *flags: str) -> str:
    with pytest.raises(SystemExit) as caught:
        MAINS[program](["--print-unit", *flags])
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    return str(out)


def refused(capsys: pytest.CaptureFixture[str], program: str, *flags: str) -> str:
    with pytest.raises(SystemExit) as caught:
        MAINS[program]([*flags, "--print-unit"])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith(f"{program}: ")
    assert err.count("\n") == 1
    return str(err)


def line(text: str, key: str) -> list[str]:
    return [one.partition("=")[2] for one in text.splitlines() if one.startswith(f"{key}=")]


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("relay-server", []),
        ("relay-server", ["--share-services", "a b\"c'%$x\\\\:8000", "-vv", "--drain", "5"]),
        ("relay-server", ["--listen", "0.0.0.0:22", "--host-key", "other key"]),
        ("relay-agent", [*NEW, *R, "-i", "other key", "--endpoint", "gpu1", "100%$@b"]),
        ("relay-connect", [*NEW, "-i", "key", "-L", "/run/relay-connect/a b%%:gpu1:8000", "b"]),
    ],
)
def test_systemd_finds_no_fault_with_it(
    program: str, flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = printed(capsys, program, *flags)
    assert not text.count("%%d")
    Unit.parse(text)
    if shutil.which("systemd-analyze") is None:
        missing = "systemd-analyze is not installed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    file = tmp_path / f"{program}.service"
    file.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_flags_of_readme(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    text = printed(capsys, "relay-agent", "-p", "2222", "-i", "key", *R, "-v", "--share", "user@b")
    (command,) = line(text, "ExecStart")
    _, _, arguments = command.partition(" ")
    assert arguments == (
        "-i %d/key -o UserKnownHostsFile=%d/known_hosts -R gpu1:8000:localhost:8000 --share "
        "-p 2222 --verbose user@b"
    )
    assert line(text, "LoadCredential") == [
        f"key:{home}/key", f"known_hosts:{home}/.ssh/known_hosts"
    ]  # fmt: skip
    assert line(text, "StateDirectory") == ["relay-agent"]
    assert line(text, "Environment") == ["HOME=%S/relay-agent"]


def test_the_user_is_who_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "me")
    text = printed(capsys, "relay-agent", "-p2222", "-ikey", *R, "b")
    assert " -l me " in line(text, "ExecStart")[0]


def test_two_keys_of_one_name_and_a_certificate(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    (home / "x").mkdir()
    shutil.copy(home / "key", home / "x" / "key")
    (home / "key-cert.pub").touch()
    flags = ["-p2222", "-i", "key", "-i", "x/key", "-i", "other key", *R, "u@b"]
    text = printed(capsys, "relay-agent", *flags)
    assert "-i %d/key -i %d/_key -i %d/other_key" in text
    assert line(text, "LoadCredential") == [
        f"key:{home}/key", f"key-cert.pub:{home}/key-cert.pub", f"_key:{home}/x/key",
        f"other_key:{home}/other key", f"known_hosts:{home}/.ssh/known_hosts",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "option",
    ["IdentityFile=key", ' identityfile "key"', '"IdentityFile" key', "IdentityFile2 = key"],
)
def test_a_file_after_o_has_its_full_path_too(
    option: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    text = printed(capsys, "relay-agent", "-p2222", "-o", option, *R, "u@b")
    assert "key" not in line(text, "ExecStart")[0].replace("%d/key", "")
    assert f"key:{home}/key" in line(text, "LoadCredential")


def test_the_systems_known_hosts_elsewhere(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    shutil.move(home / ".ssh" / "known_hosts", home / "hosts")
    flags = ["-p2222", "-ikey", "-oGlobalKnownHostsFile=hosts none_there", *R, "u@b"]
    text = printed(capsys, "relay-agent", *flags)
    assert "-o UserKnownHostsFile=none -o GlobalKnownHostsFile=%d/hosts " in text
    assert f"hosts:{home}/hosts" in line(text, "LoadCredential")


def test_an_at_sign_is_no_user(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "me")
    shutil.copy(home / "key", home / "me@here")
    text = printed(capsys, "relay-agent", "-p2222", "-i", "me@here", *R, "b")
    assert " -l me " in line(text, "ExecStart")[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_authorized_keys_of_somebody_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.service.TEMPORARY", ())
    monkeypatch.setattr("relay.cli.service._require_readable", lambda *_: None)
    Path("keys").touch()
    assert "--authorized-keys " in printed(capsys, "relay-server", "--authorized-keys", "keys")
    os.chown("keys", 1000, 1000)
    said = refused(capsys, "relay-server", "--authorized-keys", "keys")
    assert f"`chown root {Path('keys').absolute()}`" in said


def test_the_state_of_the_server(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    for flags in ([], ["--state-dir", "/var/lib/relay-server"]):
        text = printed(capsys, "relay-server", *flags)
        assert line(text, "StateDirectory") == ["relay-server"]
    text = printed(capsys, "relay-server", "--state-dir", "/var/lib/other")
    assert line(text, "StateDirectory") == ["other"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("relay-agent", "missing: [user@]host"),
        ("relay-agent b", "missing: -R"),
        ("relay-agent R b --no-such-flag", "unrecognized arguments"),
        ("relay-agent R -p 2222 b", "give -i FILE"),
        ("relay-agent R -p 2222 -i missing b", "missing: there is no such file"),
        ("relay-agent R -p 2222 -i %d/missing b", "/etc/relay-agent/missing: there is no such"),
        ("relay-agent R -p 2222 -i locked b", "the key has a passphrase"),
        ("relay-agent R -p 2222 -i .ssh/known_hosts b", "known_hosts: "),
        ("relay-agent R -i key b", "the host key of b:22 is not known in {}/.ssh/known_hosts"),
        ("relay-agent R -i key -J a -p 2222 b", "a jump host"),
        ("relay-agent R -i key -o ProxyCommand=nc -p 2222 b", "a ProxyCommand"),
        (
            "relay-agent R -i key -o ProxyURL=http://u@p -o ProxyPasswordFile=x -p 2222 b",
            "x: cannot",
        ),
        ("relay-agent R -i key -p 2222 -F config b", "put it into /etc/relay-agent"),
        ("relay-agent --endpoint x -i key -p 2222 --state-dir state b", "leave out --state-dir"),
        ("relay-connect -W a:1 -i key -p 2222 b", "no standard input for -W"),
        ("relay-connect -L ./a:b:1 -i key -p 2222 b", "in /run/relay-connect only"),
        ("relay-server --state-dir state", "cp -rT {}/state /var/lib/relay-server"),
        ("relay-server --config server.toml", "put it into /etc/relay-server"),
        ("relay-server --authorized-keys key", "put it into /etc/relay-server"),
        ("relay-server --host-key missing", "missing: there is no such file"),
        ("relay-server --authorized-keys /etc/shadow", "chmod o+r /etc/shadow"),
    ],
)
def test_what_would_not_start_is_not_printed(
    flags: str, words: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    for name in ("config", "server.toml"):
        (home / name).touch(mode=0o644)
    if "locked" in flags:
        locked = asyncssh.generate_private_key("ssh-ed25519")
        (home / "locked").touch(mode=0o600)
        locked.write_private_key(home / "locked", passphrase="x")
    program, *rest = flags.split()
    if not str(home).startswith(("/tmp", "/var/tmp", "/home", "/root")) and "put it" in words:
        pytest.skip("temporary files are elsewhere")
    argv = [word for one in rest for word in (R if one == "R" else [one])]
    assert words.format(home) in refused(capsys, program, *argv)


def test_what_only_the_user_has_configured(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    config = home / ".ssh" / "config"
    config.touch(mode=0o600)
    config.write_text("Host other\nPort 1")
    printed(capsys, "relay-agent", "-p2222", "-ikey", *R, "u@b")
    config.write_text("Host b\nPort 2222")
    assert "~/.ssh/config has a say" in refused(capsys, "relay-agent", "-ikey", *R, "u@b")
    config.write_text("RemoteForward gpu1:1 localhost:1")
    assert "~/.ssh/config has a say" in refused(capsys, "relay-agent", "-p2222", "-ikey", "u@b")


def test_a_proxy(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service does not see the environment of who prints its unit, and the unit no password."""
    flags = ["-p2222", "-ikey", *R, "u@b"]
    monkeypatch.setenv("HTTPS_PROXY", "http://d%5Cu@proxy:3128")
    (command,) = line(printed(capsys, "relay-agent", *flags), "ExecStart")
    assert " -o ProxyURL=http://d%%5Cu@proxy:3128 " in command
    monkeypatch.setenv("NO_PROXY", "b")
    assert "ProxyURL" not in printed(capsys, "relay-agent", *flags)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "http://u:secret@proxy:3128")
    problem = refused(capsys, "relay-agent", *flags)
    assert "add -o ProxyURL=http://u@proxy:3128 -o ProxyPasswordFile=FILE" in problem
    assert "secret" not in problem
    (home / "password").touch(mode=0o600)
    (home / "password").write_text("secret")
    url = "ProxyURL=http://u@proxy:3128"
    text = printed(capsys, "relay-agent", "-o", url, "-oProxyPasswordFile=~/password", *flags)
    (command,) = line(text, "ExecStart")
    assert f" -o {url} " in command
    assert " -o ProxyPasswordFile=%d/password " in command
    assert f"password:{home}/password" in line(text, "LoadCredential")
    assert "secret" not in text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\t")))
def test_a_word_comes_back_as_it_was(word: str) -> None:
    unit = Unit("x", {"ExecStart": [quoted(word).replace("$", "$$")]})
    assert unit.command == [word]


def test_a_line_does_not_end_in_a_word() -> None:
    for character in "\n\r\0":
        with pytest.raises(UsageError, match="control characters"):
            quoted(f"a{character}ExecStartPre=b")
