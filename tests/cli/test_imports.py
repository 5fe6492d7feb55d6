"""A command line that only says something is not kept waiting for what it has no use for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = ("relay-server", "relay-agent", "relay-connect")

HEAVY = {"anyio", "asyncio", "asyncssh", "cryptography", "ssl", "uvloop"}
"""What a running program stands on; a third of a second, asyncssh and cryptography alone."""

SAYING = """
import sys
from importlib import import_module

module, *argv = sys.argv[1:]
try:
    import_module(module).main(argv)
except SystemExit:
    pass
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def imported(program: str, *argv: str, home: Path) -> set[str]:
    """Which packages a program has imported when it has said what it had to."""
    module = program.replace("relay-", "relay.cli.")
    done = subprocess.run(
        [sys.executable, "-c", SAYING, module, *argv],
        capture_output=True, text=True, check=True, env={"HOME": str(home)},
    )  # fmt: skip
    assert f"{module}\n" in done.stderr
    assert done.stdout or f"{program}: " in done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "--completion bash", "--no-such-flag", "--busy-poll soon"],
)
def test_what_is_said_at_once(program: str, words: str, tmp_path: Path) -> None:
    packages = imported(program, *words.split(), home=tmp_path)
    assert not packages & HEAVY


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("relay-server", "--config none.toml"),
        ("relay-server", "--config wrong.toml"),
        ("relay-agent", "-R nonsense b"),
        ("relay-agent", "b"),
        ("relay-agent", "-F none.config -R 1:b:2 b"),
        ("relay-connect", "-o Ciphers=none -L 1:b:2 b"),
        ("relay-connect", "-F wrong.config -L 1:b:2 b"),
    ],
)
def test_what_is_wrong_in_a_file_or_an_option(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text("drain = 'soon'")
    Path("wrong.config").write_text("Port ssh")
    assert not imported(program, *words.split(), home=tmp_path) & HEAVY


def test_who_checks_nothing_loads_nothing_for_it() -> None:
    script = "import sys, relay.agent.program; sys.exit('relay.agent.health' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("program", ["relay.agent.program", "relay.opener.program"])
def test_who_is_no_server_loads_none(program: str) -> None:
    script = f"import sys, {program}, relay.cli.operate, relay.cli.run, relay.cli.web\n"
    script += "sys.exit(bool({'relay.server', 'relay.web'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)
