"""`--config`: every flag of relay-server as a key, and where a mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli import server
from relay.cli.server import _parser, read_settings
from relay.core.limits import NetBlockSize, Startups
from relay.settings.general import LogSettings
from relay.settings.option import changes
from relay.settings.server import Limits, ServerSettings

EVERY_KEY = """\
listen = ["127.0.0.1:0", "[::1]:2222"]
state-dir = "/s"
host-key = "/k"
host-certificate = "/k-cert.pub"
authorized-keys = "/a"
strict-modes = "no"
gateway-ports = "clientspecified"
privileged-ports = "yes"
share-services = ["gpu*:8000"]
ciphers = "aes256-gcm@openssh.com"
rekey-limit = "512M"
max-startups = "5:50:20"
per-source-max-startups = 7
per-source-net-block-size = "24:56"
login-grace-time = 2.5
max-auth-tries = 3
max-failed-tries = 0
legs-per-key = 4
services-per-key = 5
channels-per-leg = 6
waiting-per-leg = "7M"
waiting-per-process = "8M"
client-alive-interval = 2.5
client-alive-count-max = 0
drain = 30
hold = 5
http = "0.0.0.0:9222"
http-token-file = "/t"
busy-poll = 50
verbose = 1
log-format = "json"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def configured(*argv: str) -> ServerSettings:
    """What the program would start with."""
    return read_settings(_parser().read(argv))


def test_every_flag_is_a_key(file: Path) -> None:
    file.write_text(EVERY_KEY)
    assert configured("--config", str(file)) == ServerSettings(
        state_dir=Path("/s"),
        listen=(("127.0.0.1", 0), ("::1", 2222)),
        host_keys=(Path("/k"),),
        host_certificates=(Path("/k-cert.pub"),),
        authorized_keys=Path("/a"),
        strict_modes="no",
        gateway_ports="clientspecified",
        privileged_ports="yes",
        share_services=("gpu*:8000",),
        ciphers=("aes256-gcm@openssh.com",),
        rekey_limit=512 << 20,
        client_alive_interval=2.5,
        client_alive_count_max=0,
        drain=30,
        hold=5,
        http=("0.0.0.0", 9222),
        http_token_file=Path("/t"),
        busy_poll=50,
        limits=Limits(
            Startups(5, 50, 20), 7, NetBlockSize(24, 56), 2.5, 3, 0, 4, 5, 6, 7 << 20, 8 << 20
        ),
        log=LogSettings(verbose=1, log_format="json"),
    )
    flags = {
        flag.removeprefix("--")
        for flag in _parser()._option_string_actions
        if flag.startswith("--")
    }
    assert {line.split(" ")[0] for line in EVERY_KEY.splitlines()} == flags - NO_SETTINGS


NO_SETTINGS = {"completion", "config", "help", "json", "print-unit", "version", "watch"}
"""Flags that mean nothing in a file."""


def test_flags_win(file: Path) -> None:
    file.write_text(EVERY_KEY)
    config = configured("--drain", "1", "--config", str(file), "--listen", "b:1", "--listen", "b:2")
    assert config.drain == 1
    assert config.listen == (("b", 1), ("b", 2))
    assert config.limits.legs_per_key == 4


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing\n")
    assert configured("--config", str(file)) == configured()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\ndrains = 1", "{file}:2: drains: there is no such key; did you mean drain?"),
        ("x = 1", "{file}:1: x: there is no such key"),
        ("config = 'other'", "{file}:1: config: there is no such key"),
        ("\n[limits]\ndrain = 1", "{file}:2: limits: there is no such key"),
        ("limits.drain = 1", "{file}:1: limits: there is no such key"),
        ("#\n#\ndrain = 'soon'", "{file}:3: drain: 'soon': give SECONDS"),
        ("client-alive-interval = -1", "{file}:1: client-alive-interval: '-1': give SECONDS"),
        ("client-alive-count-max = -1", "{file}:1: client-alive-count-max: '-1': give NUMBER"),
        ("drain = -1", "{file}:1: drain: '-1': give SECONDS"),
        ("drain = [1]", "{file}:1: drain: give a text or a number"),
        ("drain = true", "{file}:1: drain: give a text or a number"),
        ("'listen' = ['2222']", "{file}:1: listen: '2222' is no address"),
        ("listen = [['a:1']]", "{file}:1: listen: give a text or a number, or a list of them"),
        ("gateway-ports = 'perhaps'", "{file}:1: gateway-ports: 'perhaps': give no, yes, client"),
        ("ciphers = 'none'", "{file}:1: ciphers: unknown cipher 'none'"),
        ("max-startups = '9:9'", "{file}:1: max-startups: '9:9': give begin:rate:full"),
        ("max-startups = '9:9:8'", "{file}:1: max-startups: '9:9:8': 1 <= begin <= full"),
        ("per-source-max-startups = 0", "{file}:1: per-source-max-startups: '0': give NUMBER"),
        (
            "per-source-net-block-size = '33'",
            "{file}:1: per-source-net-block-size: '33'",
        ),
        (
            "per-source-net-block-size = '9:'",
            "{file}:1: per-source-net-block-size: '9:'",
        ),
        ("legs-per-key = 0", "{file}:1: legs-per-key: '0': give NUMBER"),
        ("waiting-per-leg = 0", "{file}:1: waiting-per-leg: '0': give SIZE"),
        ("waiting-per-leg = '1X'", "{file}:1: waiting-per-leg: '1X': give a size"),
        ("verbose = 'much'", "{file}:1: verbose: give how often"),
        ("drain = 1\ndrain = 2", "{file}:2: Cannot overwrite a value"),
        ("drain = 1\nlisten = [", "{file}:2: Invalid value"),
        ("drain =\n", "{file}:1: Invalid value"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(SystemExit) as caught:
        server.main(["--config", str(file)])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"relay-server: {words.format(file=file)}")
    assert err.count("\n") == 1


def test_a_file_that_cannot_be_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content, problem in ((None, "No such file or directory"), (b"\xff", "not UTF-8")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SystemExit):
            server.main(["--config", str(file)])
        assert f"{file}: {problem}" in capsys.readouterr().err


def test_what_can_change_at_run_time() -> None:
    before = configured("--listen", "b:1", "--legs-per-key", "7")
    after = configured("--listen", "b:2", "--legs-per-key", "8", "--drain", "1")
    assert changes(before, after) == [
        ("listen", "b:1", "b:2", False),
        ("legs-per-key", "7", "8", True),
        ("drain", "10", "1", True),
    ]
    assert not changes(after, after)
