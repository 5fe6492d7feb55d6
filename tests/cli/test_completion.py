"""The scripts of `--completion`, in the real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from relay.cli import agent, connect, server
from tests.programs.process import GUARD

PROGRAMS = {"relay-server": server, "relay-agent": agent, "relay-connect": connect}
SHELLS = ("bash", "zsh", "fish")

CONFIG = "Host gpu-one gpu-two *.example !no\nHost *\n User x\nhost third\n"

START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}
PREPARE = {
    "bash": "bind 'set enable-bracketed-paste off'; source {script}; PS1='ready'; echo\n",
    "zsh": "autoload -U compinit; compinit -D -u; source {script}; PS1='ready'; echo\n",
}

CASES = [
    ("relay-connect", "--keep-t", "--keep-trying"),
    ("relay-connect", "--log-format js", "--log-format json"),
    ("relay-connect", "gpu-t", "gpu-two"),
    ("relay-connect", "-J thi", "-J third"),
    ("relay-connect", "-i a-k", "-i a-key"),
    ("relay-connect", "-F an", r"-F an\ odd\ name"),
    ("relay-agent", "--endp", "--endpoint"),
    ("relay-agent", "-O sta", "-O status"),
    ("relay-server", "--gateway-ports cl", "--gateway-ports clientspecified"),
    ("relay-server", "--host-key a-k", "--host-key a-key"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(CONFIG)
    (tmp_path / "a-key").touch()
    (tmp_path / "an odd name").touch()
    return tmp_path


def find(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        missing = f"{shell} is not installed"
        pytest.fail(missing) if shell == "bash" and os.environ.get("CI") else pytest.skip(missing)
    return found


def script(program: str, shell: str, home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    with pytest.raises(SystemExit) as end:
        PROGRAMS[program].main(["--completion", shell])
    assert end.value.code == 0
    path = home / "script"
    path.write_text(capsys.readouterr().out)
    return path


class Terminal:
    """A shell that somebody types in."""

    def __init__(self, shell: str, home: Path) -> None:
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb"}
        pid, self._terminal = pty.fork()
        if not pid:
            os.chdir(home)
            os.execve(find(shell), [shell, *START[shell]], environment)
        self._pid = pid

    def type(self, text: str, until: str) -> str:
        os.write(self._terminal, text.encode())
        said, deadline = "", time.monotonic() + GUARD
        while not re.search(until, said):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._terminal], [], [], max(0, left))
            assert ready, f"does not say {until!r}: {said!r}"
            said += os.read(self._terminal, 65536).decode(errors="replace")
        return said

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize("shell", START)
@pytest.mark.parametrize(("program", "typed", "completed"), CASES)
def test_tab(
    shell: str, program: str, typed: str, completed: str, home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    find(shell)
    path = script(program, shell, home, capsys)
    terminal = Terminal(shell, home)
    try:
        terminal.type(PREPARE[shell].format(script=path), r"\nready|\n\rready|\rready")
        # The shell echoes what is typed; only the completion has the rest of the word.
        terminal.type(f"{program} {typed}\t", re.escape(completed[len(typed) :]))
    finally:
        terminal.close()


@pytest.mark.parametrize(("program", "typed", "completed"), CASES)
def test_fish(
    program: str, typed: str, completed: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(program, "fish", home, capsys)
    said = subprocess.run(
        [find("fish"), "--no-config", "-c", f"source {path}; complete -C '{program} {typed}'"],
        capture_output=True, text=True, timeout=GUARD, check=True, cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    word = completed.rpartition(" ")[2] if "\\" not in completed else r"an odd name"
    assert word in [line.partition("\t")[0] for line in said.stdout.splitlines()], said


def test_zsh_may_source_what_shtab_would_have_evaluated(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "== (eval|file|filecode) ]]" in script("relay-agent", "zsh", home, capsys).read_text()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_is_well_formed(
    program: str, shell: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([find(shell), "-n", script(program, shell, home, capsys)], check=True)


def test_patterns_of_ssh_config_are_no_hosts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script("relay-connect", "bash", home, capsys)
    said = subprocess.run(
        [find("bash"), "-c", f"source {path}; _relay_hosts ''"],
        capture_output=True, text=True, check=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert said.stdout.split()[:3] == ["gpu-one", "gpu-two", "third"]
