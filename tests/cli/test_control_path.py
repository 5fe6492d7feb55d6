"""Where the control socket is: ControlPath, -S, and what stands for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli import ssh_files
from relay.cli.client_config import read_config
from relay.cli.control_path import control_path, control_paths
from relay.cli.state_dir import default_state_dir
from relay.settings.connect import ConnectSettings
from relay.settings.option import assemble
from relay.sshconfig.client import ControlPath
from relay.sshconfig.config import Config

PROGRAM = "relay-connect"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(ssh_files, "SYSTEM_FOLDER", str(tmp_path / "system"))
    return tmp_path


def config(destination: str = "me@b", **given: object) -> Config:
    values = {"destination": destination, **given}
    return read_config(assemble(ConnectSettings, values))


def test_one_for_each_destination_and_program(home: Path) -> None:
    paths = [
        control_path(config(destination, **given), program)
        for destination, given, program in (
            ("me@b", {}, PROGRAM),
            ("me@b", {"port": ("2222",)}, PROGRAM),
            ("you@b", {}, PROGRAM),
            ("me@c", {}, PROGRAM),
            ("me@b", {"jump": ("c",)}, PROGRAM),
            ("me@b", {}, "relay-agent"),
        )
    ]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path is not None
        assert path.is_default
        assert path.path.parent == home / "ssh-relay"
    assert control_path(config("ssh://me@b:22"), PROGRAM) == paths[0]


@pytest.mark.parametrize("folder", ["relative", "/not/there", ""])
def test_without_a_runtime_folder(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    (path,) = control_paths(config(), PROGRAM)
    assert path.path.parent == default_state_dir(PROGRAM) / "control"


def test_one_that_was_started_in_another_way_is_found_too(home: Path) -> None:
    first, second = control_paths(config(), PROGRAM)
    assert first.path.parent == home / "ssh-relay"
    assert second.path.parent == default_state_dir(PROGRAM) / "control"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/a/%h-%p-%r", "/a/b-22-me"),
        ("~/x", "{home}/x"),
        ("${HOME}/%%", "{home}/%"),
        ("x", "{folder}/x"),
    ],
)
def test_a_path_of_ones_own(home: Path, given: str, path: str) -> None:
    expected = Path(path.format(home=home, folder=Path.cwd()))
    for way in ({"control_path": (given,)}, {"options": (f"ControlPath={given}",)}):
        assert control_path(config(**way), PROGRAM) == ControlPath(expected, is_default=False)


def test_none() -> None:
    assert control_path(config(control_path=("none",)), PROGRAM) is None


def test_in_a_file_it_is_not_that_of_ssh(home: Path) -> None:
    (home / "config").write_text("Host b\n ControlPath /a/%h\n")
    of_file = config(config_file=str(home / "config"))
    assert control_path(of_file, PROGRAM) == ControlPath(Path("/a/b.relay-connect"), False)
    # The command line goes before the file.
    of_flag = config(config_file=str(home / "config"), control_path=("/c",))
    assert control_path(of_flag, PROGRAM) == ControlPath(Path("/c"), False)
