"""`--print-unit`: a file that systemd takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.cli import agent, connect, server
from relay.cli.units import unit

MAINS: dict[str, Callable[[list[str]], int]] = {
    "relay-server": server.main,
    "relay-agent": agent.main,
    "relay-connect": connect.main,
}


@pytest.mark.parametrize("program", MAINS)
def test_the_flag(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        MAINS[program](["--print-unit", "-v"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == unit(program, ["-v"])


@pytest.mark.parametrize("program", MAINS)
@pytest.mark.parametrize("flags", [[], ["-v", "a b", 'quote"', "100%", "$HOME", "back\\slash"]])
def test_systemd_finds_no_fault_with_it(program: str, flags: list[str], tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = next(line for line in unit(program, []).splitlines() if line.startswith("ExecStart="))
    path = command.removeprefix("ExecStart=").split(" ")[0]
    file = tmp_path / f"{program}.service"
    file.write_text(unit(program, flags).replace(path, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_server_keeps_its_state_where_systemd_makes_room_for_it() -> None:
    assert "--state-dir %S/relay-server --drain 5" in unit("relay-server", ["--drain", "5"])
    assert "%S" not in unit("relay-server", ["--state-dir", "/s"])
